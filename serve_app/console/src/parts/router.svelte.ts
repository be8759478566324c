/** The page's address is its state: paths below /console, filters and page numbers in the query. */
const BASE = '/console'

class Router {
  url = $state.raw(new URL(location.href))
  /** Path below /console, cut at its slashes; empty for the dashboard. */
  parts = $derived(this.url.pathname.slice(BASE.length).split('/').filter(Boolean))

  constructor() {
    addEventListener('popstate', () => (this.url = new URL(location.href)))
    document.addEventListener('click', (event) => this.#follow(event))
  }

  go(href: string, options: { replace?: boolean } = {}): void {
    const next = new URL(href, location.href)
    const isSamePath = next.pathname === this.url.pathname
    history[options.replace ? 'replaceState' : 'pushState'](null, '', next)
    this.url = next
    if (!isSamePath) scrollTo(0, 0)
  }

  /** The current path with some of its query changed; an empty value takes a name away. */
  with(changes: Record<string, string | number>): string {
    const query = new URLSearchParams(this.url.search)
    for (const [name, value] of Object.entries(changes)) {
      if (value === '') query.delete(name)
      else query.set(name, String(value))
    }
    return this.url.pathname + (query.size ? `?${query}` : '')
  }

  get page(): number {
    const page = Number(this.url.searchParams.get('page') ?? 1)
    return Number.isInteger(page) && page > 0 ? page : 1
  }

  #follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    const link = event.target instanceof Element ? event.target.closest('a') : null
    if (!link || link.target || link.hasAttribute('download')) return
    const href = new URL(link.href)
    if (href.origin !== location.origin || !(href.pathname + '/').startsWith(`${BASE}/`)) return
    event.preventDefault()
    this.go(link.href)
  }
}

export const router = new Router()
export const to = {
  dashboard: BASE,
  images: `${BASE}/images`,
  image: (id: string) => `${BASE}/images/${id}`,
  jobs: `${BASE}/jobs`,
  job: (id: string) => `${BASE}/jobs/${id}`,
  keys: `${BASE}/keys`,
  test: `${BASE}/test`,
}
