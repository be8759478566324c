import { preferences } from '../parts/preferences.svelte'
import { en, type Text } from './en'
import { ko } from './ko'

const TEXTS: Record<'en' | 'ko', Text> = { en, ko }

/** The texts in the chosen language; reading it in a template follows the choice. */
export function t(): Text {
  return TEXTS[preferences.language]
}
