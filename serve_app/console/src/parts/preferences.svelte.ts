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

class Preferences {
  language = $state<Language>(firstLanguage())
  theme = $state<Theme>(firstTheme())

  setLanguage(language: Language): void {
    this.language = language
    write(LANGUAGE, language)
  }

  setTheme(theme: Theme): void {
    this.theme = theme
    write(THEME, theme)
    if (theme === 'system') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = theme
  }
}

export const preferences = new Preferences()
