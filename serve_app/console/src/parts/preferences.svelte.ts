/** What a person chose for this browser: language and theme. */
export type Language = 'en' | 'ko'
export type Theme = 'system' | 'light' | 'dark'

const LANGUAGE = 'face-api.language'
const THEME = 'face-api.theme'

function read(name: string): string | null {
  try {
    return localStorage.getItem(name)
  } catch {
    return null
  }
}

function write(name: string, value: string): void {
  try {
    localStorage.setItem(name, value)
  } catch {
    // Storage is forbidden: the choice lasts as long as the page.
  }
}

function firstLanguage(): Language {
  const kept = read(LANGUAGE)
  if (kept === 'en' || kept === 'ko') return kept
  return navigator.language.startsWith('ko') ? 'ko' : 'en'
}

function firstTheme(): Theme {
  const kept = read(THEME)
  return kept === 'light' || kept === 'dark' ? kept : 'system'
}

const system = matchMedia('(prefers-color-scheme: dark)')

class Preferences {
  language = $state<Language>(firstLanguage())
  theme = $state<Theme>(firstTheme())
  #isSystemDark = $state(system.matches)
  /** What is shown; `public/theme.js` said the same before the first paint. */
  shown = $derived<'light' | 'dark'>(this.theme === 'system' ? (this.#isSystemDark ? 'dark' : 'light') : this.theme)

  constructor() {
    system.addEventListener('change', () => {
      this.#isSystemDark = system.matches
      this.#show()
    })
  }

  setLanguage(language: Language): void {
    this.language = language
    write(LANGUAGE, language)
  }

  setTheme(theme: Theme): void {
    this.theme = theme
    write(THEME, theme)
    this.#show()
  }

  #show(): void {
    document.documentElement.dataset.theme = this.shown
  }
}

export const preferences = new Preferences()
