/** Numbers, sizes and times as people of the chosen language write them. */
import { t } from './index.svelte'

export function number(value: number, digits = 0): string {
  return value.toLocaleString(t().locale, { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** 12,345 whole; larger numbers short, as in 1.2M. */
export function short(value: number): string {
  if (value < 100_000) return number(value)
  return value.toLocaleString(t().locale, { notation: 'compact', maximumFractionDigits: 1 })
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB']

/** Bytes in steps of 1,000, as disks and browsers count. */
export function bytes(value: number): string {
  let step = 0
  let rest = value
  while (rest >= 999.5 && step < UNITS.length - 1) {
    rest /= 1000
    step += 1
  }
  return `${number(rest, step > 0 && rest < 99.95 ? 1 : 0)} ${UNITS[step]}`
}

export function ms(value: number): string {
  if (value >= 9_999.5) return `${number(value / 1000, 1)} s`
  return `${number(value, value < 99.95 ? 1 : 0)} ms`
}

export function time(date: Date): string {
  return date.toLocaleTimeString(t().locale, { hour: 'numeric', minute: '2-digit' })
}

export function dateTime(iso: string): string {
  return new Date(iso).toLocaleString(t().locale, {
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  })
}

const AGES: [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
]

/** How long ago, in the largest unit that fits. */
export function age(iso: string): string {
  const seconds = Math.max(0, (Date.now() - new Date(iso).getTime()) / 1000)
  const words = new Intl.RelativeTimeFormat(t().locale, { numeric: 'auto', style: 'short' })
  for (const [unit, length] of AGES) {
    if (seconds >= length) return words.format(-Math.floor(seconds / length), unit)
  }
  return words.format(0, 'second')
}
