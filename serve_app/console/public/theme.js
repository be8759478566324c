// Before the first paint, so that no theme flashes the other one.
let theme = null
try {
  theme = localStorage.getItem('face-api.theme')
} catch {
  // Storage may be forbidden; the system's theme will do.
}
if (theme !== 'light' && theme !== 'dark') theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
document.documentElement.dataset.theme = theme
