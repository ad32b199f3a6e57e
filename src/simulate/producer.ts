import { stringify } from '../io/json.ts'
import { type Loopback, loopback } from './loopback.ts'
import { population } from './population.ts'
import { seeded } from './random.ts'

const BLATANT = 900 // dollars; hardly an honest purchase reaches it in the categories that thieves prefer

/**
 * Stands in for the payments API: `GET {url}/current-transactions` answers one new row a call, as a JSON string that
 * holds a JSON document, `current_time` in ms of now. There is no limit of calls. The first fraud is the 6th to 8th
 * row and a blatant one, so that whoever tries the worker sees an alarm within seconds; afterwards about every 25th
 * row is fraud (`fraudShare` 0.04), regularly enough that nobody waits long.
 */
export async function simulatedProducer({ seed = 1, fraudShare = 0.04 } = {}): Promise<Loopback> {
  const world = population(seed)
  const random = seeded(~seed)
  const gap = () => Math.max(1, Math.round(random.uniform(0.8, 1.2) / fraudShare))
  let index = 0
  let nextFraud = fraudShare > 0 ? Math.min(gap(), random.integer(6, 8)) - 1 : Number.POSITIVE_INFINITY
  let alarmed = false

  function nextRow() {
    if (index < nextFraud) return world.transaction(Date.now(), false)
    nextFraud += gap()
    let row = world.transaction(Date.now(), true)
    while (!alarmed && row.amt < BLATANT) row = world.transaction(Date.now(), true)
    alarmed = true
    return row
  }

  return loopback(({ method, path }) => {
    if (method !== 'GET' || path !== '/current-transactions') return undefined
    const row = nextRow()
    const document = { columns: Object.keys(row), index: [index++], data: [Object.values(row)] }
    return { body: JSON.stringify(stringify(document)) }
  })
}
