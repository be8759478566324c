/** Short messages about what was just done. */
const SHOWN_MS = 5000

interface Toast {
  id: number
  text: string
  isBad: boolean
}

class Toasts {
  items = $state<Toast[]>([])
  #next = 0

  say(text: string): void {
    this.#add(text, false)
  }

  bad(text: string): void {
    this.#add(text, true)
  }

  #add(text: string, isBad: boolean): void {
    const id = this.#next++
    this.items = [...this.items.slice(-2), { id, text, isBad }]
    setTimeout(() => (this.items = this.items.filter((item) => item.id !== id)), SHOWN_MS)
  }
}

export const toasts = new Toasts()
