import type { Logger } from 'pino'
import type { Feature } from '../columns.ts'
import { isBug, Outage, reason } from '../io/errors.ts'
import type { Topics } from '../topic/topic.ts'
import { namedAs, type openRegistry } from './registry.ts'

type Noted = { name: string; columns: Feature[] }
export type ColumnsOptions = {
  registry: Pick<ReturnType<typeof openRegistry>, 'inputs'>
  topics: Pick<Topics, 'append' | 'state'>
  log: Logger
}

/**
 * The columns that a version of a model wants, by its signature: asked for once, and noted, so that a registry that is away
 * changes nothing for a version that was known before. Nothing else is ever sent: who knows of no columns waits.
 */
export function signedColumns({ registry, topics, log }: ColumnsOptions) {
  const known = new Map<string, Feature[]>()
  async function learn(name: string): Promise<Feature[]> {
    const key = `columns/${namedAs(name).registered}`
    const noted = (await topics.state(key, { exact: true })).get(key) as Noted[] | undefined
    const before = noted?.find((one) => one.name === name)?.columns
    const columns = await ask(name).catch((error) => {
      if (!before || isBug(error) || (error instanceof Outage && error.cure)) throw error
      log.warn(`${reason(error)}: ${name} is sent the columns that it was sent before`)
      return before
    })
    if (before?.join() === columns.join()) return columns
    const was = before ? `, and were ${before.join(', ')}` : ''
    log[before ? 'warn' : 'info'](`the columns of ${name} are, by its signature, ${columns.join(', ')}${was}`)
    await topics.append(
      {},
      {
        [key]: [{ name, columns }, ...(noted ?? []).filter((one) => one.name !== name)].slice(0, KEPT),
      },
    )
    return columns
  }
  async function ask(name: string) {
    const { registered, version } = namedAs(name)
    if (version) return registry.inputs(registered, version)
    throw new Outage(`MODEL_FEATURES=auto: it is not known yet which version ${name} is`)
  }
  return async (name: string): Promise<readonly Feature[]> => {
    const found = known.get(name) ?? (await learn(name))
    known.set(name, found)
    return found
  }
}

/** versions of a model whose columns are kept */
const KEPT = 10
