/** Calls of the admin API, typed by its own OpenAPI document. */
import type { components, paths } from './schema'
import { connection } from '../parts/connection.svelte'
import { session } from '../parts/session.svelte'

export type Schemas = components['schemas']
export type Health = Schemas['HealthResponse']
export type Stats = Schemas['StatsResponse']
export type Hourly = Schemas['HourlyResponse']
export type Usage = Schemas['UsageResponse']
export type StoredImage = Schemas['StoredImageResponse']
export type ImageDetail = Schemas['StoredImageDetailResponse']
export type Job = Schemas['JobResponse']
export type JobDetail = Schemas['JobDetailResponse']
export type Detection = Schemas['Detection']
export type ApiKey = Schemas['ApiKeyResponse']
export type CreatedKey = Schemas['ApiKeyCreatedResponse']
export type DetectAnswer = Schemas['DetectResponse']
export type MaskAnswer = Schemas['MaskResponse']
export type Page<T> = { items: T[]; total: number; page: number; per_page: number; pages: number }

type Method = 'get' | 'post' | 'patch' | 'delete'
type PathsOf<M extends Method> = { [P in keyof paths]: paths[P] extends Record<M, object> ? P : never }[keyof paths]
type Ok<R> = R extends { responses: infer A }
  ? A extends { 200: { content: { 'application/json': infer B } } }
    ? B
    : A extends { 201: { content: { 'application/json': infer C } } }
      ? C
      : void
  : never
type Answer<P extends keyof paths, M extends Method> = M extends keyof paths[P] ? Ok<paths[P][M]> : never

interface Options {
  path?: Record<string, string>
  query?: Record<string, string | number | boolean | null | undefined>
  body?: BodyInit | null
  json?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** The service answered, but not with what was asked for. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly retryAfterS: number,
    readonly isRateLimit: boolean,
  ) {
    super(detail)
  }
}

/** Nothing answered. */
export class Unreachable extends Error {}

export function isAborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError'
}

function url(path: string, options: Options): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(options.path?.[name] ?? ''))
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(options.query ?? {})) {
    if (value !== null && value !== undefined && value !== '') query.set(name, String(value))
  }
  return query.size ? `${filled}?${query}` : filled
}

async function send(method: string, path: string, options: Options): Promise<Response> {
  const init: RequestInit = { method, signal: options.signal ?? null, headers: { ...options.headers } }
  if (options.json !== undefined) {
    init.body = JSON.stringify(options.json)
    init.headers = { ...init.headers, 'Content-Type': 'application/json' }
  } else if (options.body !== undefined) {
    init.body = options.body
  }
  let response: Response
  try {
    response = await fetch(url(path, options), init)
  } catch (error) {
    if (isAborted(error)) throw error
    connection.lost()
    throw new Unreachable(String(error))
  }
  connection.answered()
  return response
}

async function failure(response: Response): Promise<ApiError> {
  let detail = response.statusText
  try {
    detail = String(((await response.json()) as { detail?: string }).detail ?? detail)
  } catch {
    // Something between us and the service answered; its status will do.
  }
  const retryAfterS = Number(response.headers.get('Retry-After') ?? 0)
  return new ApiError(response.status, detail, retryAfterS, response.headers.has('RateLimit-Limit'))
}

async function call<P extends keyof paths, M extends Method>(
  method: M,
  path: P,
  options: Options = {},
): Promise<Answer<P, M>> {
  const response = await send(method.toUpperCase(), path, options)
  if (!response.ok) {
    const error = await failure(response)
    if (error.status === 401 && !path.includes('/auth/')) session.ended()
    throw error
  }
  return (response.status === 204 ? undefined : await response.json()) as Answer<P, M>
}

export const api = {
  get: <P extends PathsOf<'get'>>(path: P, options?: Options) => call('get', path, options),
  post: <P extends PathsOf<'post'>>(path: P, options?: Options) => call('post', path, options),
  patch: <P extends PathsOf<'patch'>>(path: P, options?: Options) => call('patch', path, options),
  delete: <P extends PathsOf<'delete'>>(path: P, options?: Options) => call('delete', path, options),
}

/** /health answers 503 with the same body while something is not ready. */
export async function readHealth(signal?: AbortSignal): Promise<Health> {
  const response = await send('GET', '/health', { signal })
  if (response.ok || response.status === 503) return (await response.json()) as Health
  throw await failure(response)
}

/** Where a stored picture is shown from: this origin, scaled, in a format every browser knows. */
export function preview(kind: 'images' | 'jobs', id: string, side: number, of?: 'original' | 'result'): string {
  return url(`/api/v1/admin/${kind}/{id}/preview`, { path: { id }, query: { side, of } })
}

export function content(kind: 'images' | 'jobs', id: string): string {
  return url(`/api/v1/admin/${kind}/{id}/content`, { path: { id } })
}
