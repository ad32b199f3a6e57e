import { setImmediate as hop, setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { Outage, TakenOver } from '../../src/io/errors.ts'
import { consume } from '../../src/run/consume.ts'
import type { StageStatus } from '../../src/run/loop.ts'
import { openTurns } from '../../src/run/turns.ts'
import { seeded } from '../../src/simulate/random.ts'
import type { Batch, Reader } from '../../src/topic/topic.ts'
import type { Transaction } from '../../src/transaction.ts'
import { tempDir, transaction, waitFor } from '../rows.ts'
import { sqliteTopics } from '../topic/asked.ts'
import { bug, down, stage } from './stage.ts'

describe('consume', () => {
  /** Five transactions in a topic and a stage that consumes them. */
  async function consuming() {
    const stack = new AsyncDisposableStack()
    const dir = stack.use(await tempDir())
    const topics = await sqliteTopics({ path: dir.file('topics.db') })
    stack.defer(() => topics.close())
    const append = (...all: number[]) => topics.append({ transactions: all.map((n) => transaction(n)) })
    await append(0, 1, 2, 3, 4)
    const reader = topics.reader('transactions', 'score')
    return { ...stage(), reader, append, [Symbol.asyncDispose]: () => stack.disposeAsync() }
  }
  const numbers = (records: readonly { trans_num: string }[]) => records.map((r) => Number(r.trans_num.slice(6)))

  test('does batch after batch, as large as it is told at the time', async () => {
    await using world = await consuming()
    const batches: number[][] = []
    const limits = [1, 3, 10]
    await consume(
      world.stage,
      world.reader,
      () => limits[batches.length]!,
      async (batch) => {
        await batch.commit(batch.records.length)
        if (batches.push(numbers(batch.records)) === 3) world.stop()
      },
    )
    expect(batches).toEqual([[0], [1, 2, 3], [4]])
  })

  test('repeats what was not committed when the work fails, before anything else', async () => {
    await using world = await consuming()
    const batches: number[][] = []
    await consume(
      world.stage,
      world.reader,
      () => 3,
      async (batch) => {
        batches.push(numbers(batch.records))
        if (batches.length === 3) world.stop()
        await batch.commit(batches.length === 1 ? 1 : batch.records.length)
        if (batches.length === 1) throw down()
      },
    )
    expect(batches).toEqual([[0, 1, 2], [1, 2, 3], [4]])
    expect(world.warnings()).toHaveLength(1)
  })

  test('reads ahead, and passes over nothing when the work fails: what was read is read again', async () => {
    await using world = await consuming()
    const [done, told]: [number[], number[]] = [[], []]
    const random = seeded(7)
    let next = 5
    await consume(
      world.stage,
      world.reader,
      () => 1 + Math.floor(random.uniform() * 4),
      async ({ records, commit }) => {
        const some = random.uniform() < 0.3 ? Math.floor(random.uniform() * records.length) : records.length
        await sleep(random.uniform() < 0.5 ? 0 : 5) // so that the next ones are read, or not yet
        await commit(some)
        done.push(...numbers(records.slice(0, some)))
        if (done.length > next - 4 && next < 60) {
          const more = [next++, next++, next++, next++, next++]
          if (some < records.length)
            setTimeout(() => void world.append(...more), 40) // in the pause
          else await world.append(...more)
        }
        if (done.length === 60) world.stop()
        if (some < records.length) throw down()
      },
      (records) => told.push(...numbers(records)),
    )
    expect(done).toEqual(Array.from({ length: 60 }, (_, n) => n))
    expect(new Set(told).size).toBeGreaterThan(20)
  })

  test('reads ahead no more once the work has failed: what comes in the pause is read after what was not done', async () => {
    await using world = await consuming()
    const batches: number[][] = []
    await consume(
      world.stage,
      world.reader,
      () => 5,
      async ({ records, commit }) => {
        batches.push(numbers(records))
        if (batches.length === 1) await world.append(5, 6)
        if (batches.length === 2) {
          setTimeout(() => void world.append(7), 40)
          throw down()
        }
        await commit(records.length)
        if (batches.length === 3) world.stop()
      },
      () => {},
    )
    expect(batches).toEqual([
      [0, 1, 2, 3, 4],
      [5, 6],
      [5, 6, 7],
    ])
  })

  test('tells that its work fails, until it is done', async () => {
    await using world = await consuming()
    const health: StageStatus = {}
    const seen: (string | undefined)[] = []
    await consume(
      { ...world.stage, health },
      world.reader,
      () => 3,
      async (batch) => {
        seen.push(health.failing?.reason)
        if (seen.length < 3) throw new Error('down')
        await batch.commit(batch.records.length)
        if (seen.length === 4) world.stop()
      },
    )
    expect(seen).toEqual([undefined, 'down', 'down', undefined])
    const silent = async () => {
      throw new Error('the topics are away')
    }
    await using other = await consuming()
    const ended = consume(
      { ...other.stage, health },
      { ...other.reader, read: silent },
      () => 3,
      async () => {},
    )
    await waitFor('a failure', () => other.warnings().length > 0)
    other.stop()
    await ended
    expect(health.failing).toBe(undefined)
    expect(health.topics).toMatchObject({
      failing: { reason: 'the topics are away' },
      last: { reason: 'the topics are away' },
    })
  })

  test('that can read again says so, though the work still fails; the stop is no failure', async () => {
    await using world = await consuming()
    const health: StageStatus = {}
    let reads = 0
    const flaky: typeof world.reader.read = async (...args) => {
      if (++reads === 1) throw new Error('the topics are away')
      return world.reader.read(...args)
    }
    const ended = consume(
      { ...world.stage, health },
      { ...world.reader, read: flaky },
      () => 5,
      async (batch) => {
        expect(health.topics?.failing).toBe(undefined)
        await batch.commit(5) // and no more to read
      },
    )
    await waitFor('the work', () => reads === 3)
    const told: unknown[] = []
    health.retrying = (error) => void told.push(error)
    world.stop()
    await ended
    expect(told).toEqual([])
    expect(health.topics?.last?.reason).toBe('the topics are away')
  })

  test('whose turn is over leaves the batch to the next process, and stands by', async () => {
    await using world = await consuming()
    const batches: number[][] = []
    await consume(
      world.stage,
      world.reader,
      () => 3,
      async (batch) => {
        batches.push(numbers(batch.records))
        if (batches.length === 1) throw new TakenOver('score')
        world.stop()
      },
    )
    expect(batches).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ])
    expect(world.lines).toMatchObject([
      { level: 'info', msg: 'another process has taken over as score; it has what was in hand here' },
    ])
  })

  test('ends while it waits for records when it is stopped, without a word', async () => {
    await using world = await consuming()
    const ended = consume(
      world.stage,
      world.reader,
      () => 10,
      async (batch) => {
        await batch.commit(5)
        setImmediate(world.stop)
      },
    )
    await ended
    expect(world.lines).toEqual([])
  })

  test('leaves the position to the work: what it did not commit is there after a stop', async () => {
    await using world = await consuming()
    await consume(
      world.stage,
      world.reader,
      () => 10,
      async (batch) => {
        await batch.commit(2)
        world.stop()
        throw down()
      },
    )
    expect(await world.reader.lag()).toBe(3)
    const left = await world.reader.read(10, AbortSignal.timeout(5000), { again: true })
    expect(numbers(left.records)).toEqual([2, 3, 4])
  })

  test('reads on while it works, and cancels what was begun of that when the work fails', async () => {
    await using world = await consuming()
    const begun: { of: number[]; cancelled: AbortSignal }[] = []
    const worked: number[][] = []
    await consume(
      world.stage,
      world.reader,
      () => 1,
      async (batch) => {
        worked.push(numbers(batch.records))
        await vi.waitFor(() => expect(begun.length).toBe(Math.min(worked.length - 1, 2)))
        if (worked.length === 3) throw down()
        await batch.commit(1)
        if (worked.length > 3) world.stop()
      },
      (records, cancelled) => begun.push({ of: numbers(records), cancelled }),
    )
    expect(worked).toEqual([[0], [1], [2], [2]])
    expect(begun.map(({ of }) => of)).toEqual([[2], [3]])
    expect(begun[1]!.cancelled.aborted).toBe(true)
  })

  /** Hands out so many records at a time as it is asked for, while there are any; then waits for the stop. */
  function records(count: number) {
    let [cursor, position] = [0, 0]
    const asked: number[] = []
    const reader: Reader<Transaction> = {
      async read(limit, signal, { again = false } = {}) {
        if (again) cursor = position
        asked.push(limit)
        if (cursor === count)
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        const some = Array.from({ length: Math.min(limit, count - cursor) }, (_, i) => transaction(cursor + i))
        cursor += some.length
        const commit: Batch<Transaction>['commit'] = async (n) => {
          position += n
        }
        return { records: some, commit }
      },
    }
    return { reader, asked }
  }

  test('reads ahead as many batches as have no more records together than it is told, and one at least', async () => {
    for (const [most, ahead] of [
      [3, [2, 3, 4, 5, 6]],
      [0, [2, 3, 4]],
    ] as const) {
      const { stage: given, stop } = stage()
      const [told, seen]: [number[], number[][]] = [[], []]
      await consume(
        given,
        records(9).reader,
        () => 1,
        async (batch) => {
          await hop()
          await hop()
          seen.push([...told])
          await batch.commit(1)
          if (seen.length === 4) stop()
        },
        (some) => told.push(...numbers(some)),
        most,
      )
      const first = ahead.length - 2
      expect(seen).toEqual([[], ...[first, first + 1, first + 2].map((n) => ahead.slice(0, n))])
    }
  })

  test('hands what was begun of a batch to its work, and nothing of what was begun before a failure', async () => {
    const { stage: given, stop } = stage()
    const seen: [number[], string | undefined][] = []
    await consume(
      given,
      records(9).reader,
      () => 1,
      async (batch, _, early: string | undefined) => {
        seen.push([numbers(batch.records), early])
        await hop()
        await hop()
        if (seen.length === 4) throw down()
        await batch.commit(1)
        if (seen.length === 6) stop()
      },
      (some) => `begun of ${numbers(some)}`,
      9,
    )
    expect(seen).toEqual([
      [[0], undefined],
      [[1], undefined],
      [[2], 'begun of 2'],
      [[3], 'begun of 3'],
      [[3], undefined],
      [[4], undefined],
    ])
  })

  test('reads one more beside a record that was refused alone, and no more than it is told once that is done', async () => {
    const { stage: given, stop } = stage()
    const { reader, asked } = records(9)
    let done = 0
    await consume(
      given,
      reader,
      () => 1,
      async (batch) => {
        if (done++ === 0) throw new Outage('refuses everything', { alone: true })
        if (done === 3) throw new Outage('refuses everything')
        await batch.commit(batch.records.length)
        if (done === 5) stop()
      },
    )
    expect(asked).toEqual([1, 2, 1, 1, 1])
  })

  test('lets alarms go first where it has many records in hand', async () => {
    const { stage: given, stop } = stage()
    const turns = openTurns()
    let [first, batches, sent] = [0, 0, true]
    await consume(
      { ...given, turns },
      records(20 * 50).reader,
      () => 50,
      async (batch) => {
        if (batches > 0 && sent) first++
        sent = false
        void turns.alarm(async () => {
          for (let i = 0; i < 5; i++) await hop()
          sent = true
        })
        await batch.commit(50)
        if (++batches === 20) stop()
      },
    )
    expect(first).toBeGreaterThan(10) // each is waited for by the clock
  })

  test('has few records in hand without waiting for anybody', async () => {
    const { stage: given, stop } = stage()
    const turns = openTurns()
    const sending = Promise.withResolvers<void>()
    const sent = turns.alarm(() => sending.promise)
    let [batches, hops] = [0, 0]
    const counting = (async () => {
      for (; batches < 20; hops++) await hop()
    })()
    await consume(
      { ...given, turns },
      records(20 * 49).reader,
      () => 49,
      async (batch) => {
        await batch.commit(49)
        if (++batches === 20) stop()
      },
    )
    await counting
    expect(hops).toBeLessThan(5)
    sending.resolve()
    await sent
  })

  test('throws a bug in the work', async () => {
    await using world = await consuming()
    const consuming_ = consume(
      world.stage,
      world.reader,
      () => 10,
      async () => {
        throw bug()
      },
    )
    await expect(consuming_).rejects.toThrow(TypeError)
  })
})
