import { getEventListeners } from 'node:events'
import { setImmediate as hop, setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { isBug, Outage, reason, TakenOver } from '../../src/io/errors.ts'
import { seconds } from '../../src/io/text.ts'
import {
  backoff,
  consume,
  drainTimeout,
  leading,
  ofTopics,
  orAborted,
  reportFailure,
  retry,
  retryUntilReady,
  runLoop,
  type StageStatus,
  supervise,
} from '../../src/run/loop.ts'
import { openTurns } from '../../src/run/turns.ts'
import { seeded } from '../../src/simulate/random.ts'
import type { Batch, Lease, Reader, Topics } from '../../src/topic/topic.ts'
import type { Transaction } from '../../src/transaction.ts'
import { listeningLog, tempDir, transaction, waitFor } from '../rows.ts'
import { sqliteTopics } from '../topic/asked.ts'

/** What a stage is given, and what it said. */
function stage() {
  const { log, lines } = listeningLog()
  const stopping = new AbortController()
  const warnings = () => lines.filter(({ level }) => level === 'warn').map(({ msg }) => msg)
  const failures = () => lines.filter(({ level }) => level !== 'info').map(({ msg }) => msg)
  const stop = () => stopping.abort(new Error('stopped'))
  return { stage: { log, stop: stopping.signal }, stop, lines, warnings, failures }
}
const down = () => new Error('cannot reach the model', { cause: new Error('connect ECONNREFUSED') })
const bug = () => new TypeError("Cannot read properties of undefined (reading 'x')")
/** An action that fails so often, then does its work. */
function failing(times: number, error: () => unknown = down) {
  const calls: number[] = []
  return Object.assign(
    async () => {
      calls.push(performance.now())
      if (calls.length <= times) throw error()
      if (calls.length > 100) throw new TypeError('this does not end')
    },
    { calls },
  )
}
const settledWithin = async (ms: number, promise: Promise<unknown>) => {
  const begun = performance.now()
  await promise
  expect(performance.now() - begun).toBeLessThan(ms)
}

/** What Node throws when a text would be longer than any can be. */
function tooLong(): unknown {
  try {
    return 'x'.repeat(2 ** 30)
  } catch (error) {
    return error
  }
}

describe('the pause after failures', () => {
  test('doubles from a quarter of a second up to a minute, half of it by chance', () => {
    for (const [failures, full] of [
      [1, 250],
      [2, 500],
      [3, 1000],
      [8, 32_000],
      [9, 60_000],
      [10, 60_000],
      [5000, 60_000],
    ] as const) {
      const pauses = Array.from({ length: 300 }, () => backoff(failures))
      expect(Math.min(...pauses)).toBeGreaterThanOrEqual(full / 2)
      expect(Math.max(...pauses)).toBeLessThanOrEqual(full)
      expect(Math.max(...pauses) - Math.min(...pauses)).toBeGreaterThan(full / 4)
    }
  })

  test('starts where it is told', () => {
    expect(backoff(1, 1000)).toBeGreaterThanOrEqual(500)
    expect(backoff(4, 1000, 3000)).toBeLessThanOrEqual(3000)
  })

  test('is said in seconds that a person can read', () => {
    expect([0, 249, 1000, 9999, 10_000, 59_600, 3_600_000].map(seconds)).toEqual([
      '0.0',
      '0.2',
      '1.0',
      '10.0',
      '10',
      '60',
      '3600',
    ])
  })
})

describe('an error', () => {
  test('is told with its causes in one line, nothing twice', () => {
    expect(reason(down())).toBe('cannot reach the model: connect ECONNREFUSED')
    expect(reason(new Error('a\n  b', { cause: new Error('a\n  b', { cause: new Error('c\r\nd') }) }))).toBe('a b: c d')
    expect(reason('a text')).toBe('a text')
    const nobody = Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }) // as Node says it of several addresses
    expect(reason(new Error('cannot reach the model', { cause: nobody }))).toBe('cannot reach the model: ECONNREFUSED')
    expect(reason(new Error('a', { cause: 'b' }))).toBe('a')
  })

  test.each([
    [bug(), true],
    [new RangeError('out of range'), true],
    [new ReferenceError('x is not defined'), true],
    [new SyntaxError('not valid'), true],
    [new Error('cannot write', { cause: new Error('x', { cause: bug() }) }), true],
    [tooLong(), false], // of data, not of the program
    [new Error('cannot write', { cause: tooLong() }), false],
    ['a text', true],
    [undefined, true],
    [down(), false],
    [new Outage('the model answered 503'), false],
    [new DOMException('aborted', 'AbortError'), false],
  ])('%s: a bug, %s', (error, expected) => {
    expect(isBug(error)).toBe(expected)
  })
})

describe('forever', () => {
  test('waits at least as long as it is told to, and says so', async () => {
    const { stage: given, stop, warnings } = stage()
    const step = failing(1)
    const begun = performance.now()
    await runLoop(
      given,
      async () => {
        await step()
        stop()
      },
      () => 700,
    )
    expect(performance.now() - begun).toBeGreaterThanOrEqual(699)
    expect(warnings()).toEqual(['cannot reach the model: connect ECONNREFUSED; retrying in 0.7 s'])
  })

  test('repeats its step until stopped', async () => {
    const { stage: given, stop, lines } = stage()
    let steps = 0
    await runLoop(given, async () => {
      if (++steps === 5) stop()
      if (steps > 100) throw bug()
    })
    expect(steps).toBe(5)
    expect(lines).toEqual([])
  })

  test('does nothing when it is stopped already', async () => {
    const { stage: given, stop } = stage()
    stop()
    const step = failing(0)
    await runLoop(given, step)
    expect(step.calls).toEqual([])
  })

  test('tells since when it has failed, and why at last, until it works', async () => {
    const { stage: given, stop } = stage()
    const health: StageStatus = {}
    const seen: unknown[] = []
    const before = Date.now()
    await runLoop({ ...given, health }, async () => {
      seen.push(health.failing)
      if (seen.length < 3) throw new Error(`down ${seen.length}`)
      if (seen.length === 4) stop()
    })
    expect(seen).toEqual([
      undefined,
      { since: expect.any(Number), reason: 'down 1' },
      { since: (seen[1] as { since: number }).since, reason: 'down 2' },
      undefined,
    ])
    expect((seen[1] as { since: number }).since).toBeGreaterThanOrEqual(before)
  })

  test('keeps its last failure in mind, says since when it works again, and tells of each failure that is tried again', async () => {
    const { stage: given, stop } = stage()
    const told: unknown[] = []
    const health: StageStatus = { since: 1, retrying: (error) => void told.push(reason(error)) }
    const before = Date.now()
    const states: StageStatus[] = []
    await runLoop({ ...given, health }, async () => {
      states.push({ ...health })
      if (states.length === 2 || states.length === 3) throw new Error(`down ${states.length}`)
      if (states.length === 5) stop()
    })
    expect(told).toEqual(['down 2', 'down 3'])
    expect(states[1]!.since).toBe(1) // it had worked all the time
    expect(states[4]!.since).toBeGreaterThanOrEqual(before)
    expect(states[4]!.last).toMatchObject({ reason: 'down 3' })
    expect(states[4]!.last!.at).toBeGreaterThanOrEqual(before)
  })

  test('begins with a short pause again when a step has lasted: it has worked in between', async () => {
    const { stage: given, stop, failures } = stage()
    vi.spyOn(performance, 'now').mockImplementation(() => now)
    onTestFinished(() => void vi.restoreAllMocks())
    let [now, steps] = [0, 0]
    await runLoop(given, async () => {
      if (++steps === 5) return stop()
      if (steps === 4) now += 60_001
      throw new Error('down')
    })
    expect(failures().map((line) => Number(/in ([\d.]+) s/.exec(line)![1]))).toEqual([
      expect.closeTo(0.2, 0),
      expect.closeTo(0.4, 0),
      expect.closeTo(0.8, 0),
      expect.closeTo(0.2, 0),
    ])
    expect(Number(/in ([\d.]+) s/.exec(failures()[3]!)![1])).toBeLessThanOrEqual(0.25)
  })

  test('says a failure in full once, what happens next with it, and when it works again', async () => {
    const { stage: given, stop, lines } = stage()
    const step = failing(2)
    await runLoop(given, async () => {
      await step()
      if (step.calls.length === 4) stop()
    })
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      ['warn', expect.stringMatching(/^cannot reach the model: connect ECONNREFUSED; retrying in 0\.[1-3] s$/)],
      ['debug', expect.stringMatching(/^cannot reach the model: connect ECONNREFUSED; retrying in 0\.[2-5] s$/)],
      ['info', expect.stringMatching(/^works again after 2 failed attempts in 0\.[3-9] s$/)],
    ])
    const [first, second, third] = step.calls
    expect(second! - first!).toBeGreaterThanOrEqual(120)
    expect(third! - second!).toBeGreaterThanOrEqual(245)
  })

  test('says for how long it failed, and that it works again only where it said that it failed', async () => {
    const { stage: given, stop, lines } = stage()
    const step = failing(3)
    let rounds = 0
    await runLoop(given, async () => {
      await step()
      if (++rounds === 2 || rounds === 3) throw down() // which was said within this minute
      if (rounds === 5) stop()
    })
    const said = lines.filter(({ level }) => level === 'info').map(({ msg }) => msg)
    expect(said).toEqual([expect.stringMatching(/^works again after 3 failed attempts in /)])
    const [first, , , last] = step.calls
    expect(Number(/ in ([\d.]+) s$/.exec(said[0]!)![1])).toBeGreaterThanOrEqual((last! - first!) / 1000 - 0.1)
    const another = stage()
    await runLoop({ log: given.log, stop: another.stage.stop }, async () => {
      if (++rounds === 8) return another.stop()
      throw down()
    })
    expect(lines.filter(({ level }) => level === 'info')).toHaveLength(1)
  })

  test('says a failure that goes on once a minute, how often and since when; another one in full', async () => {
    const { stage: given, stop, warnings } = stage()
    let [now, steps] = [Date.parse('2026-01-01T12:03:00'), 0]
    vi.spyOn(Date, 'now').mockImplementation(() => now)
    vi.spyOn(Math, 'random').mockReturnValue(0)
    onTestFinished(() => void vi.restoreAllMocks())
    await runLoop(given, async () => {
      now += 20_000
      if (++steps === 6) return stop()
      throw steps === 3 ? new Error('other') : down()
    })
    expect(warnings().map((line) => line.replace(/[\d.]+ s$/, ''))).toEqual([
      'cannot reach the model: connect ECONNREFUSED; retrying in ',
      'other; retrying in ',
      'still: cannot reach the model: connect ECONNREFUSED, 3 times since 12:03; npm run doctor says more',
    ])
  })

  test('counts failures in a row only', async () => {
    const { stage: given, stop, warnings, failures, lines } = stage()
    let n = 0
    await runLoop(given, async () => {
      if (++n === 6) stop()
      if (n % 2 === 1) throw down()
    })
    const said = failures()
    expect(said).toHaveLength(3)
    for (const failure of said) expect(failure).toMatch(/retrying in 0\.[1-3] s$/)
    expect(warnings()).toHaveLength(1) // however often it works in between
    expect(lines).toHaveLength(3) // one failure alone is not worth a line when it is over
  })

  test('waits at least as long as the outage says', async () => {
    const { stage: given, stop, warnings } = stage()
    const step = failing(1, () => new Outage('the model answered 503', { wait: 600 }))
    await runLoop(given, async () => {
      await step()
      stop()
    })
    expect(step.calls[1]! - step.calls[0]!).toBeGreaterThanOrEqual(595)
    expect(warnings()).toEqual(['the model answered 503; retrying in 0.6 s'])
  })

  test('ends at once when stopped in a pause', async () => {
    const { stage: given, stop, warnings } = stage()
    const ended = runLoop(given, async () => {
      throw new Outage('the model answered 429', { wait: 3_600_000 })
    })
    await waitFor('the pause', () => warnings().length)
    expect(warnings()).toEqual(['the model answered 429; retrying in 3600 s'])
    stop()
    await settledWithin(1000, ended)
    expect(getEventListeners(given.stop, 'abort')).toEqual([])
  })

  test('says nothing of a step that the stop has cut off', async () => {
    const { stage: given, stop, lines } = stage()
    await runLoop(given, async () => {
      stop()
      given.stop.throwIfAborted()
    })
    expect(lines).toEqual([])
  })

  test('throws a bug instead of trying again', async () => {
    const { stage: given, lines } = stage()
    const step = failing(9, bug)
    await expect(runLoop(given, step)).rejects.toThrow(TypeError)
    expect(step.calls).toHaveLength(1)
    expect(lines).toEqual([])
  })
})

describe('eventually', () => {
  test('tries until it works, says so, and resolves with what it got', async () => {
    const { stage: given, lines } = stage()
    const action = failing(2)
    expect(await retryUntilReady(given, () => action().then(() => 'opened'))).toBe('opened')
    expect(action.calls).toHaveLength(3)
    expect(lines.map(({ msg }) => msg.replace(/[\d.]+ s$/, ''))).toEqual([
      'cannot reach the model: connect ECONNREFUSED; retrying in ',
      'cannot reach the model: connect ECONNREFUSED; retrying in ',
      'works again after 2 failed attempts in ',
    ])
  })

  test('resolves with nothing when it is stopped meanwhile', async () => {
    const { stage: given, stop, warnings } = stage()
    const opening = retryUntilReady(given, failing(99))
    await waitFor('the pause', () => warnings().length)
    stop()
    await settledWithin(1000, opening)
    expect(await opening).toBe(undefined)
  })

  test('throws at once what trying again cannot heal', async () => {
    const { stage: given, warnings } = stage()
    const action = failing(9)
    await expect(retryUntilReady(given, action, (error) => error instanceof Error)).rejects.toThrow('model')
    await expect(retryUntilReady(given, failing(9, bug))).rejects.toThrow(TypeError)
    expect(action.calls).toHaveLength(1)
    expect(warnings()).toEqual([])
  })
})

test('a step that gets somewhere before it fails is tried again soon, however often that was', async () => {
  const { stage: given, stop, failures } = stage()
  let steps = 0
  await runLoop(given, async (answered) => {
    if (++steps === 12) return stop()
    if (steps > 1) answered()
    throw new Error('cut')
  })
  expect(failures().every((line) => /retrying in 0\.[1-4] s$/.test(line))).toBe(true)
})

describe('retry', () => {
  test('tries until it is done, and says so', async () => {
    const { stage: given, failures } = stage()
    const action = failing(2)
    await retry(given, action)
    expect(action.calls).toHaveLength(3)
    expect(failures()).toHaveLength(2)
    expect(failures()[1]).toMatch(/^cannot reach the model: connect ECONNREFUSED; retrying in 0\.[2-5] s$/)
  })

  test('fails while it tries, and works when it is done; what failed before it goes on to', async () => {
    const { stage: given } = stage()
    const health: StageStatus = {}
    await retry({ ...given, health }, failing(1))
    expect(health).toMatchObject({ failing: undefined, last: { reason: expect.stringContaining('cannot reach') } })
    reportFailure(health, new Error('something else'))
    await retry({ ...given, health }, failing(0))
    expect(health.failing?.reason).toBe('something else')
  })

  test('tries once even when stopped, as what is at stake exists nowhere else', async () => {
    const { stage: given, stop, lines } = stage()
    stop()
    const action = failing(0)
    await retry(given, action)
    expect(action.calls).toHaveLength(1)
    expect(lines).toEqual([])
  })

  test('gives up when it fails and was stopped some seconds ago, and says that', async () => {
    const { stage: given, stop, lines } = stage()
    stop()
    const since = Date.now()
    await expect(retry(given, failing(999))).rejects.toThrow('cannot reach the model')
    expect(Date.now() - since).toBeLessThan(4000)
    expect([lines.at(-1)?.level, lines.at(-1)?.msg]).toEqual([
      'error',
      'cannot reach the model: connect ECONNREFUSED; gave up, as the worker is stopping',
    ])
  })

  test('is stopped while it fails, and it could be done a moment later: nothing is lost', async () => {
    const { stage: given, stop } = stage()
    stop()
    const since = Date.now()
    await retry(given, async () => {
      if (Date.now() - since < 1000) throw new Error('database is locked')
    })
    expect(Date.now() - since).toBeLessThan(1500)
  })

  test('is stopped in a pause: tries one last time at once', async () => {
    const { stage: given, stop, warnings } = stage()
    const action = failing(1, () => new Outage('the disk is full', { wait: 3_600_000 }))
    const done = retry(given, action)
    await waitFor('the pause', () => warnings().length)
    stop()
    await settledWithin(1000, done)
    expect(action.calls).toHaveLength(2)
  })

  test('tries no more what another process has now', async () => {
    const { stage: given } = stage()
    const action = failing(9, () => new TakenOver('alert'))
    await expect(retry(given, action)).rejects.toThrow(TakenOver)
    expect(action.calls).toHaveLength(1)
  })

  test('throws a bug at once', async () => {
    const { stage: given } = stage()
    const action = failing(9, bug)
    await expect(retry(given, action)).rejects.toThrow(bug() as Error)
    expect(action.calls).toHaveLength(1)
  })
})

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
    const flaky: typeof world.reader.read = async (limit, signal) => {
      if (++reads === 1) throw new Error('the topics are away')
      return world.reader.read(limit, signal)
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
    expect(numbers((await world.reader.read(10, AbortSignal.timeout(5000))).records)).toEqual([2, 3, 4])
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
      async read(limit, signal) {
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
      async seekToEnd() {},
      rewind() {
        cursor = position
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

test('a failure that does not last is the last one, and no more; each is told', () => {
  const told: unknown[] = []
  const health: StageStatus = { retrying: (error) => void told.push(error) }
  const error = down()
  reportFailure(health, error, { lasting: false, now: 5 })
  expect(health).toMatchObject({ last: { at: 5, reason: 'cannot reach the model: connect ECONNREFUSED' } })
  expect([health.failing, told]).toEqual([undefined, [error]])
  reportFailure(undefined, error)
})

describe('reading and noting', () => {
  test('have a state of their own, and tell whoever the work tells', () => {
    const { stage: given } = stage()
    const retrying = () => {}
    const health: StageStatus = { retrying }
    const apart = ofTopics({ ...given, health })
    expect(apart.health).toBe(health.topics)
    expect(apart).toEqual({ ...given, health: { retrying } })
    expect(ofTopics({ ...given, health }).health).toBe(health.topics)
    const silent: StageStatus = {}
    expect(ofTopics({ ...given, health: silent }).health).toEqual({})
    expect('health' in ofTopics(given)).toBe(false)
  })
})

describe('leading', () => {
  test('does its work whenever it leads, and has worked once it does, however long that lasts', async () => {
    const { stage: given, stop, lines } = stage()
    const health: StageStatus = {}
    const lease = { lost: given.stop } as Lease
    const terms: unknown[] = []
    const lead: Topics['lead'] = async (name, signal, work) => {
      terms.push([name, signal === given.stop])
      if (terms.length < 3) throw down()
      await work(lease)
    }
    const seen: unknown[] = []
    await leading({ ...given, health }, { lead }, 'alert', async (its) => {
      seen.push([its === lease, health.failing])
      if (seen.length === 2) stop()
    })
    expect(terms).toEqual(Array(4).fill(['alert', true]))
    expect(seen).toEqual(Array(2).fill([true, undefined]))
    expect(health.since).toBeGreaterThan(0)
    expect(lines.at(-1)?.msg).toMatch(/^works again after 2 failed attempts in /)
  })
})

describe('together', () => {
  const until = (signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      if (signal.aborted) resolve()
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  const never = new AbortController().signal

  test('resolves when all loops have ended', async () => {
    const ended: number[] = []
    await supervise(never, [
      async () => void ended.push(1),
      async () => {
        await new Promise(setImmediate)
        ended.push(2)
      },
    ])
    expect(ended).toEqual([1, 2])
  })

  test('stops all loops when it is stopped', async () => {
    const stopping = new AbortController()
    const running = supervise(stopping.signal, [until, until])
    stopping.abort(new Error('stopped'))
    await running
  })

  test('stops the others when one fails, waits for them, and throws its error', async () => {
    let ended = false
    const failed = down()
    const running = supervise(never, [
      async () => {
        throw failed
      },
      async (stop) => {
        await until(stop)
        expect(stop.reason).toBe(failed)
        await new Promise(setImmediate)
        ended = true
      },
      async (stop) => {
        await until(stop)
        throw new Error('another, later')
      },
    ])
    await expect(running).rejects.toBe(failed)
    expect(ended).toBe(true)
  })

  test('throws nothing after a stop but a bug', async () => {
    const stopping = new AbortController()
    const ending = (error: () => Error) => async (stop: AbortSignal) => {
      await until(stop)
      throw error()
    }
    const [quiet, loud] = [
      supervise(stopping.signal, [ending(down)]),
      supervise(stopping.signal, [ending(down), ending(bug)]),
    ]
    stopping.abort(new Error('stopped'))
    await quiet
    await expect(loud).rejects.toThrow(TypeError)
  })
})

describe('grace', () => {
  test('is aborted with the same reason, some time after the signal', async () => {
    const stopping = new AbortController()
    using late = drainTimeout(stopping.signal, 150)
    const reason = new Error('stopped')
    const begun = performance.now()
    stopping.abort(reason)
    expect(late.signal.aborted).toBe(false)
    await waitFor('the end of the grace', () => late.signal.aborted)
    expect(performance.now() - begun).toBeGreaterThanOrEqual(145)
    expect(late.signal.reason).toBe(reason)
  })

  test('is given to what begins after the signal too', async () => {
    using late = drainTimeout(AbortSignal.abort(new Error('stopped')), 150)
    expect(late.signal.aborted).toBe(false)
    await waitFor('the end of the grace', () => late.signal.aborted)
  })

  test('leaves nothing behind when it is freed', async () => {
    const stopping = new AbortController()
    const unused = drainTimeout(stopping.signal, 20)
    unused[Symbol.dispose]()
    expect(getEventListeners(stopping.signal, 'abort')).toEqual([])
    const used = drainTimeout(stopping.signal, 20)
    using other = drainTimeout(stopping.signal, 60)
    stopping.abort(new Error('stopped'))
    used[Symbol.dispose]()
    await waitFor('the other one', () => other.signal.aborted)
    expect(used.signal.aborted).toBe(false)
  })
})

describe('work that cannot be stopped', () => {
  test('is not waited for when it is aborted, and leaves nothing on the signal', async () => {
    const stop = new AbortController()
    const reason = new Error('stopped')
    const waited = orAborted(stop.signal, new Promise(() => {}))
    stop.abort(reason)
    await expect(waited).rejects.toBe(reason)
    await expect(orAborted(stop.signal, Promise.reject(new Error('later')))).rejects.toBe(reason)
    expect(getEventListeners(stop.signal, 'abort')).toEqual([])
  })

  test('is waited for otherwise', async () => {
    const { signal } = new AbortController()
    expect(await orAborted(signal, Promise.resolve(1))).toBe(1)
    await expect(orAborted(signal, Promise.reject(down()))).rejects.toThrow('cannot reach the model')
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })
})
