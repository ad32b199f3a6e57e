import type { IncomingMessage, ServerResponse } from 'node:http'
import { onTestFinished } from 'vitest'
import { httpServer } from '../rows.ts'

export type Registered = { [name: string]: { versions: string[]; aliases: { [alias: string]: string } } }
type Columns = readonly { name?: string; type?: string; required?: boolean }[]

/** As MLflow writes it: the text of the signature is folded at blanks. */
export const mlmodel = (columns: Columns | undefined) => {
  const inputs = JSON.stringify(columns ?? [])
    .replaceAll('":', '": ')
    .replaceAll(',"', ', "')
    .replaceAll('},{', '}, {')
  const folded = inputs.replaceAll("'", "''").replace(/(.{60,80}?) /g, '$1\n    ')
  return `artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.sklearn\n${
    columns ? `signature:\n  inputs: '${folded}'\n  outputs: '[{"type": "tensor"}]'\n  params: null\n` : ''
  }utc_time_created: '2026-11-28 03:52:25'\n`
}
export const some = (...names: string[]) => names.map((name) => ({ type: 'double', name, required: true }))

/** MLflow's registry as 2.14 and 3.17 answer, as far as it is asked; `ill` answers in its place. */
export async function fakeRegistry(
  models: Registered = { fraud: { versions: ['7', '8'], aliases: { champion: '7' } } },
) {
  const state: {
    models: Registered
    columns: { [name: string]: Columns | undefined }
    ill: ((request: IncomingMessage, response: ServerResponse) => unknown) | undefined
  } = { models, columns: {}, ill: undefined }
  const asked: string[] = []
  const absent = (status: number, code: string) => ({ status, said: { error_code: code, message: 'not found' } })
  const NONE = absent(404, 'RESOURCE_DOES_NOT_EXIST')
  function answer(path: string, given: URLSearchParams): { status: number; said: unknown } {
    const name = given.get('name') ?? /name='(.*)'/.exec(given.get('filter') ?? '')?.[1] ?? ''
    const model = state.models[name]
    const version = (number: string) => ({
      status: 200,
      said: { model_version: { name, version: number, run_id: 'r' } },
    })
    if (path === 'registered-models/search')
      return { status: 200, said: { registered_models: Object.keys(state.models).map((name) => ({ name })) } }
    if (path === 'model-versions/search')
      return { status: 200, said: { model_versions: model?.versions.map((version) => ({ version })) } }
    if (!model) return NONE
    if (path === 'registered-models/get')
      return {
        status: 200,
        said: {
          registered_model: { aliases: Object.entries(model.aliases).map(([alias, version]) => ({ alias, version })) },
        },
      }
    if (path === 'registered-models/alias') {
      const number = model.aliases[given.get('alias')!]
      return number ? version(number) : absent(400, 'INVALID_PARAMETER_VALUE')
    }
    const wanted = given.get('version')!
    if (path === 'model-versions/get') return model.versions.includes(wanted) ? version(wanted) : NONE
    const named = `${name}/${wanted}`
    return named in state.columns ? { status: 200, said: mlmodel(state.columns[named]) } : NONE
  }
  const server = await httpServer(({ request }, response) => {
    asked.push(`${request.headers.authorization ?? ''} ${request.url}`)
    if (state.ill) return state.ill(request, response)
    const url = new URL(request.url!, 'http://x')
    const { status, said } = answer(url.pathname.replace(/^\/(api\/2\.0\/mlflow\/)?/, ''), url.searchParams)
    response.writeHead(status).end(typeof said === 'string' ? said : JSON.stringify(said))
  })
  onTestFinished(() => server[Symbol.asyncDispose]())
  return Object.assign(server, { state, asked })
}
