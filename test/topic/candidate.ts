import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Lease, LeaseName, Topics } from '../../src/topic/topic.ts'
import { waitFor } from '../rows.ts'

/**
 * Who leads under the name whenever it can, and does nothing: ended with the topics, or earlier. `again`: tries again when
 * nobody can tell who leads, as the worker does.
 */
export function candidate({ lead }: Pick<Topics, 'lead'>, name: LeaseName, { again = false } = {}) {
  const stop = new AbortController()
  const leases: Lease[] = []
  let failure: { error: unknown } | undefined
  const leading = (): Promise<void> =>
    lead(name, stop.signal, async (lease) => {
      leases.push(lease)
      if (!lease.stop.aborted) await once(lease.stop, 'abort')
    }).catch(async (error) => {
      if (!again || stop.signal.aborted) failure = { error }
      else await sleep(100).then(leading)
    })
  const ended = leading()
  return {
    /** one for each term */
    leases,
    /** The lease of its nth term. */
    term: (n = 1) =>
      waitFor(`term ${n}`, () => {
        if (failure) throw failure.error
        return leases[n - 1]
      }),
    async end() {
      stop.abort(new Error('stopped'))
      await ended
    },
  }
}
