/** Whether the service answers at all; while it does not, it is asked until it does. */
const RETRY_MS = 2000

class Connection {
  isDown = $state(false)
  /** Grows each time the service is back, so that what was missed is loaded again. */
  revision = $state(0)
  #timer: ReturnType<typeof setTimeout> | undefined

  lost(): void {
    this.isDown = true
    this.#timer ??= setTimeout(() => void this.#probe(), RETRY_MS)
  }

  answered(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (!this.isDown) return
    this.isDown = false
    this.revision += 1
  }

  async #probe(): Promise<void> {
    this.#timer = undefined
    try {
      await fetch('/livez')
      this.answered()
    } catch {
      this.lost()
    }
  }
}

export const connection = new Connection()
