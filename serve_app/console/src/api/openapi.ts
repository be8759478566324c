/** What the service says of /mask in its own document: parameters with their ranges, and samples to paste. */
export interface Parameter {
  name: string
  standard: string | number
  minimum?: number
  maximum?: number
  isInteger: boolean
  choices?: string[]
}

export interface Sample {
  label: string
  source: string
}

interface Schema {
  type?: string
  enum?: string[]
  pattern?: string
  examples?: string[]
  default?: string | number | boolean
  minimum?: number
  maximum?: number
  anyOf?: Schema[]
}

interface Operation {
  parameters: { name: string; in: string; schema: Schema }[]
  'x-codeSamples': Sample[]
}

/** Which the test page has no use for: it stores nothing. */
const OF_STORED = ['store', 'receipt']

let document: Promise<Operation> | undefined

async function read(): Promise<Operation> {
  const response = await fetch('/openapi.json')
  const body = (await response.json()) as { paths: Record<string, { post: Operation }> }
  return body.paths['/api/v1/mask']!.post
}

/** Asked once; a failure is asked again. */
export async function maskOperation(): Promise<{ parameters: Parameter[]; samples: Sample[] }> {
  document ??= read().catch((error: unknown) => {
    document = undefined
    throw error
  })
  const operation = await document
  const parameters = operation.parameters
    .filter(({ name, in: where }) => where === 'query' && !OF_STORED.includes(name))
    .flatMap(({ name, schema }) => shown(name, schema))
  return { parameters, samples: operation['x-codeSamples'] }
}

/** A number with a default, a choice, or yes and no; '' leaves one that may be left out to the service. */
function shown(name: string, schema: Schema): Parameter[] {
  const plain = schema.anyOf?.find(({ type }) => type !== 'null')
  const fixed = schema.type === 'boolean' ? ['false', 'true'] : schema.enum
  const choices = plain ? (plain.enum ?? (plain.pattern ? schema.examples : undefined)) : fixed
  if (plain ? !choices : !choices && schema.type !== 'integer' && schema.type !== 'number') return []
  return [
    {
      name,
      standard: typeof schema.default === 'boolean' ? String(schema.default) : (schema.default ?? ''),
      minimum: schema.minimum,
      maximum: schema.maximum,
      isInteger: schema.type === 'integer',
      choices: plain && choices ? ['', ...choices] : choices,
    },
  ]
}

type Values = Record<string, string | number>

/** Samples with this address and these parameters in place of their own. */
export function filled(samples: readonly Sample[], values: Values, mediaType: string): Sample[] {
  const query = new URLSearchParams(Object.entries(values).map(([name, value]) => [name, String(value)]))
  const python = Object.entries(values).map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`)
  return samples.map(({ label, source }) => ({
    label,
    source: source
      .replace(/(\/api\/v1\/mask)\?[\w=&.-]*/, (_, path: string) => (query.size ? `${path}?${query}` : path))
      .replace(/params=\{[^}]*\}/, () => `params={${python.join(', ')}}`)
      .replaceAll('http://127.0.0.1:8000', location.origin)
      .replaceAll('image/jpeg', mediaType),
  }))
}
