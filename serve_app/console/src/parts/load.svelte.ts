/** Data of a page: loaded when what it depends on changes, and again when the service is back. */
import { isAborted } from '../api/client'
import { connection } from './connection.svelte'

export class Loaded<T> {
  data = $state.raw<T>()
  error = $state.raw<unknown>()
  isLoading = $state(true)
  #again = $state(0)

  /**
   * @param fetcher Reads state and asks the service; runs again when that state changes.
   * @param everyMs Ask again after so long, unless nobody sees the page.
   */
  constructor(fetcher: (signal: AbortSignal) => Promise<T>, everyMs?: number) {
    $effect(() => {
      void connection.revision
      void this.#again
      const abort = new AbortController()
      let timer: ReturnType<typeof setTimeout> | undefined
      const run = async (isFirst: boolean): Promise<void> => {
        try {
          if (isFirst || !document.hidden) {
            this.data = await fetcher(abort.signal)
            this.error = undefined
          }
        } catch (error) {
          if (abort.signal.aborted || isAborted(error)) return
          this.error = error
        }
        if (abort.signal.aborted) return
        this.isLoading = false
        if (everyMs) timer = setTimeout(() => void run(false), everyMs)
      }
      this.isLoading = true
      void run(true)
      return () => {
        abort.abort()
        clearTimeout(timer)
      }
    })
  }

  again(): void {
    this.#again += 1
  }
}
