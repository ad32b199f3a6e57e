import type { openTail, Placed } from './tail.ts'
import type { Batch, Notes, openArrivals, Reader, Records, TopicName, Writes } from './topic.ts'

/** How long a waiting reader may sleep through a record that another process appended, in ms. */
const LOOK_AGAIN = 1000

/** What a reader asks of its file. */
type Place<R> = {
  position(): number
  page(after: number, limit: number): Placed<R>[]
  /** Says of what goes wrong where it did. */
  look<V>(work: () => V): V
  /** One transaction, which moves the position to `last`, if there is one. `patient`: it may wait for another one. */
  pass(last: number | undefined, writes: Writes, notes: Notes, patient: boolean): Promise<void>
  arrivals: ReturnType<typeof openArrivals>
  tail: ReturnType<typeof openTail<never>> | undefined
}

/** Reads from what is at hand, or else from the file. */
export function sqliteReader<T extends TopicName>({
  position,
  page,
  look,
  pass,
  arrivals,
  tail,
}: Place<Records[T]>): Reader<Records[T]> {
  let cursor = position()

  const read: Reader<Records[T]>['read'] = async (limit, signal, { again = false } = {}) => {
    if (again) cursor = look(position)
    let all = tail?.endsWith(cursor) // what is behind it only another process has appended: a wait may show
    for (;;) {
      signal.throwIfAborted()
      const known: Placed<Records[T]>[] = tail?.after(cursor, limit) ?? []
      const none = known.length === 0
      const rows = none && all ? known : look(() => (none ? page(cursor, limit) : known))
      if (rows.length > 0) {
        cursor = rows.at(-1)!.offset
        return batch(rows)
      }
      await arrivals.wait(LOOK_AGAIN, signal)
      all = false
    }
  }
  function batch(rows: Placed<Records[T]>[]): Batch<Records[T]> {
    let done = 0
    return {
      records: rows.map(({ record }) => record),
      async commit(count, writes = {}, notes) {
        const last = count === 0 ? undefined : rows[done + count - 1]
        if (count < 0 || (count > 0 && !last))
          throw new RangeError(`cannot commit ${count} of ${rows.length - done} records`)
        // Where more is known to wait behind these, it would wait with them.
        const all = last?.offset === cursor && tail?.endsWith(cursor)
        const patient = all === true && !notes && !Object.values(writes).some((records) => records.length > 0)
        await pass(last?.offset, writes, notes ?? {}, patient)
        done += count
      },
    }
  }
  return { read }
}
