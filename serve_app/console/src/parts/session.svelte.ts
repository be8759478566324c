/** Who is logged in. The cookie itself is out of a script's reach, so the service is asked. */
import { api, ApiError } from '../api/client'

const RETRY_MS = 2000

type State =
  | { is: 'unknown' }
  | { is: 'in'; username: string }
  | { is: 'out'; hasEnded: boolean }
  | { is: 'off'; detail: string } // no database, or no administrator: nobody can log in
  | { is: 'unreachable' }

class Session {
  state = $state<State>({ is: 'unknown' })

  async ask(): Promise<void> {
    try {
      const { username } = await api.get('/api/v1/admin/auth/session')
      this.state = { is: 'in', username }
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.state = { is: 'out', hasEnded: false }
      else if (error instanceof ApiError && error.status === 501) this.state = { is: 'off', detail: error.detail }
      else {
        this.state = { is: 'unreachable' } // the service, or the database that knows its sessions
        setTimeout(() => void this.ask(), RETRY_MS)
      }
    }
  }

  async logIn(username: string, password: string): Promise<void> {
    await api.post('/api/v1/admin/auth/login', { json: { username, password } })
    await this.ask()
  }

  async logOut(): Promise<void> {
    await api.post('/api/v1/admin/auth/logout')
    this.state = { is: 'out', hasEnded: false }
  }

  /** A call was refused: show the login, and the same page again after it. */
  ended(): void {
    if (this.state.is === 'in') this.state = { is: 'out', hasEnded: true }
  }
}

export const session = new Session()
