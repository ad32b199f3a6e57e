import { getEventListeners } from 'node:events'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { isBug, Outage, reason } from '../../src/io/errors.ts'
import { seconds } from '../../src/io/text.ts'
import {
  backoff,
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
import type { Lease, Topics } from '../../src/topic/topic.ts'
import { waitFor } from '../rows.ts'
import { bug, down, stage } from './stage.ts'

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

  test('throws a bug at once', async () => {
    const { stage: given } = stage()
    const action = failing(9, bug)
    await expect(retry(given, action)).rejects.toThrow(bug() as Error)
    expect(action.calls).toHaveLength(1)
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
