import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Admin, Producer } from '@platformatic/kafka'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type KafkaTopicsOptions, kafkaTopics } from '../../src/engines/kafka/topics.ts'
import { reason } from '../../src/io/errors.ts'
import type { Batch } from '../../src/topic/topic.ts'
import type { Prediction, Transaction } from '../../src/transaction.ts'
import { held, listeningLog, prediction, transaction, waitFor } from '../rows.ts'
import { asked, type AskedReader as Reader, type AskedTopics as Topics } from '../topic/asked.ts'
import { candidate } from '../topic/candidate.ts'
import { startKafka } from './broker.ts'
import { API, nothing, request, startProxied } from './relay.ts'

const opened = (options: KafkaTopicsOptions) => kafkaTopics(options).then(asked)

const MINUTE = 60_000
vi.setConfig({ testTimeout: 3 * MINUTE })

let cluster: Awaited<ReturnType<typeof startProxied>>
beforeAll(async () => {
  cluster = await startProxied()
}, 5 * MINUTE)
afterAll(() => cluster[Symbol.asyncDispose]())
/** For tests that leave the proxy as it is when they fail. */
function mended() {
  afterEach(() => {
    cluster.proxy.cut()
    cluster.proxy.mend()
  })
}

let runs = 0
function place({ brokers = cluster.brokers, finished = onTestFinished } = {}) {
  const prefix = `run${runs++}-`
  const { log, text } = listeningLog()
  const own = { brokers, prefix, log, worker: true, partitions: 1 }
  return {
    prefix,
    text,
    options: own,
    async open(options: Partial<KafkaTopicsOptions> = {}): Promise<Topics> {
      const topics = await opened({ ...own, ...options })
      finished(() => topics.close())
      return topics
    },
  }
}

const number = ({ trans_num }: { trans_num: string }) => Number(trans_num.slice('trans-'.length))
const numbers = (records: readonly { trans_num: string }[]) => records.map(number)
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
const soon = (ms = MINUTE) => AbortSignal.timeout(ms)
const predicted = (records: readonly Transaction[]) => records.map((t): Prediction => ({ ...prediction(0), ...t }))

const card = (n: number) => 4_000_000_000_000n + BigInt(n % 5)
const ofFewCards = (n: number) => transaction(n, { cc_num: card(n) })
/** Everything from 0 on is there once, and each card's in order. */
function expectAll(found: readonly number[], count: number, where = '') {
  expect(
    found.toSorted((a, b) => a - b),
    where,
  ).toEqual(range(0, count))
  for (const first of range(0, 5)) {
    const own = found.filter((n) => card(n) === card(first))
    expect(own).toEqual(own.toSorted((a, b) => a - b))
  }
}

/**
 * A flow as the worker's: one side appends, one hands over from transactions to predictions, one notes how far it has
 * come with predictions. Each tries again what has failed, until it works.
 */
function flow(topics: Topics) {
  const stop = new AbortController()
  const failures: unknown[] = []
  const [handedOver, noted]: [number[], number[]] = [[], []]
  let appended = 0
  let full = false
  async function insist(step: () => Promise<void>) {
    while (!stop.signal.aborted)
      try {
        return await step()
      } catch (error) {
        if (stop.signal.aborted) return
        failures.push(error)
        await sleep(100)
      }
  }
  async function appending() {
    for (; !full; appended++) {
      await insist(() => topics.append({ transactions: [ofFewCards(appended)] }))
      await sleep(10)
    }
  }
  async function reading<T extends Transaction>(
    reader: Reader<T>,
    done: number[],
    commit: (batch: Batch<T>) => Promise<void>,
  ) {
    while (!stop.signal.aborted)
      await insist(async () => {
        const batch = await reader.read(7, stop.signal)
        try {
          await commit(batch)
          done.push(...numbers(batch.records))
        } catch (error) {
          reader.rewind()
          throw error
        }
      })
  }
  const score = topics.reader('transactions', 'score')
  const alert = topics.reader('predictions', 'alert')
  const loops = Promise.all([
    appending(),
    reading(score, handedOver, ({ records, commit }) => commit(records.length, { predictions: predicted(records) })),
    reading(alert, noted, ({ records, commit }) =>
      commit(records.length, {}, { alert: noted.length + records.length }),
    ),
  ])
  return {
    failures,
    /** Resolves when so many more have come to the end. */
    goesOn(more = 20) {
      const enough = noted.length + more
      return waitFor('the flow', () => noted.length >= enough, MINUTE)
    },
    /** Ends it when nothing is left: everything has come through once, in order. */
    async finish() {
      full = true
      await waitFor('the rest', () => noted.length >= appended, MINUTE)
      await sleep(300) // what comes twice would come now
      stop.abort(new Error('stopped'))
      await loops
      for (const topic of ['transactions', 'predictions'] as const) {
        const all = await Array.fromAsync(topics.scan(topic))
        const where = all.map(({ id, record }) => `${id} ${record.trans_num}`).join(', ')
        const why = failures.map((error) => `\n${reason(error)}`).join('')
        expectAll(numbers(all.map(({ record }) => record)), appended, `${topic}: ${where}${why}`)
      }
      expectAll(handedOver, appended)
      expectAll(noted, appended)
      expect(await topics.noted('alert')).toBe(appended)
      expect([await score.lag(), await alert.lag()]).toEqual([0, 0])
      for (const error of failures)
        expect(reason(error)).toMatch(/^(cannot work with Kafka at \S+: |another process has taken over as \w+$)/)
    },
  }
}

describe('the flow goes on by itself, with nothing lost, doubled or swapped', () => {
  mended()

  test('when the broker is stopped and started, and killed and started', async () => {
    const running = flow(await place({ brokers: cluster.beside }).open())
    await running.goesOn()
    await cluster.node.stop()
    await sleep(1000)
    await cluster.node.start()
    await running.goesOn()
    await cluster.node.kill()
    await cluster.node.start()
    await running.goesOn()
    await running.finish()
  })

  test('when the broker is frozen, for a moment and for longer', async () => {
    const running = flow(await place({ brokers: cluster.beside }).open())
    await running.goesOn()
    cluster.node.freeze()
    await sleep(3000)
    cluster.node.thaw()
    await running.goesOn()
    cluster.node.freeze()
    await sleep(8000)
    cluster.node.thaw()
    await running.goesOn()
    await running.finish()
  })

  test('when connections are cut', async () => {
    const running = flow(await place().open())
    for (const pause of [0, 0, 500, 3000]) {
      await running.goesOn()
      cluster.proxy.cut()
      await sleep(pause)
      cluster.proxy.mend()
    }
    await running.goesOn()
    await running.finish()
  })

  test('when the network goes silent for longer than a session, and when it has lost what it held', async () => {
    const topics = await place().open()
    const fetching = candidate(topics, 'fetch', { again: true })
    onTestFinished(() => fetching.end())
    await fetching.term()
    const running = flow(topics)
    await running.goesOn()
    cluster.proxy.freeze()
    await sleep(8000)
    cluster.proxy.thaw()
    await running.goesOn()
    await fetching.term(2) // another process may have had it
    cluster.proxy.freeze()
    await sleep(2000)
    cluster.proxy.cut()
    cluster.proxy.mend()
    await running.goesOn()
    await running.finish()
  })
})

describe.concurrent('a commit of which nobody knows whether the broker has heard it', () => {
  type Work = { topics: Topics; batch: Batch<Transaction> }
  const works: [string, (work: Work) => Promise<void>][] = [
    ['that appends', ({ topics }) => topics.append({ predictions: [prediction(0), prediction(1)] })],
    ['that hands over', ({ batch }) => batch.commit(2, { predictions: [prediction(0), prediction(1)] })],
    ['that moves the position', ({ batch }) => batch.commit(2)],
  ]
  async function begin(finished: typeof onTestFinished) {
    const where = place({ finished })
    const topics = await where.open()
    await topics.append({ transactions: range(0, 3).map((n) => transaction(n)) })
    const score = topics.reader('transactions', 'score')
    let batch = await score.read(3, soon())
    while (batch.records.length < 3) {
      score.rewind()
      batch = await score.read(3, soon())
    }
    return { ...where, work: { topics, batch } }
  }
  const outcome = async ({ topics }: Work) => ({
    predictions: numbers((await held(topics, 'predictions')) as Transaction[]),
    lag: await topics.reader('transactions', 'score').lag(),
  })
  const wanted = (name: string) => ({
    predictions: name === 'that moves the position' ? [] : [0, 1],
    lag: name === 'that appends' ? 3 : 1,
  })

  test.for(works)('%s: it has, and it is done, once', async ([name, run], { onTestFinished }) => {
    const { prefix, work } = await begin(onTestFinished)
    using _ = cluster.relay.lose('answers', request('EndTxn', prefix))
    await run(work)
    expect(await outcome(work)).toEqual(wanted(name))
  })

  test.for(works)('%s: it has not, so it fails, and can be done again', async ([name, run], { onTestFinished }) => {
    const { prefix, work } = await begin(onTestFinished)
    {
      using losing = cluster.relay.lose('requests', request('EndTxn', prefix))
      const failed = expect(run(work)).rejects.toThrow('cannot work with Kafka at')
      await losing.first
      await publish(`${prefix}predictions`, 'what comes after it is no proof')
      await failed
    }
    expect(await outcome(work)).toEqual({ predictions: [], lag: 3 })
    await run(work)
    expect(await outcome(work)).toEqual(wanted(name))
  })

  test('an end that was sent twice, as its answer took too long, does not end what comes next', async ({
    onTestFinished,
  }) => {
    const { prefix, open } = place({ finished: onTestFinished })
    const topics = await open()
    const [begun, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const ends: Buffer[] = []
    using _ = cluster.relay.rule((frame) => {
      if (!request('EndTxn', prefix)(frame)) return undefined
      ends.push(frame)
      if (ends.length === 1) return { lost: 'requests', silently: true } // for so long
      if (ends.length > 2) begun.resolve()
      return ends.length > 2 ? go.promise : undefined
    })
    await topics.append({ predictions: [prediction(0)] })
    expect(ends.length).toBe(2)
    const next = topics.append({ predictions: [prediction(1)] })
    await begun.promise // all but its end is done
    const [host, port] = cluster.beside[0]!.split(':')
    const broker = connect(Number(port), host!)
    onTestFinished(() => void broker.destroy())
    broker.write(ends[0]!)
    await once(broker, 'data') // which says whether it was heard
    const meanwhile = numbers((await held(topics, 'predictions')) as Transaction[])
    go.resolve()
    await next
    expect(meanwhile).toEqual([0])
    expect(numbers((await held(topics, 'predictions')) as Transaction[])).toEqual([0, 1])
  })

  test('of foreign messages: they are set aside later, once', async ({ onTestFinished }) => {
    const { prefix, open } = place({ finished: onTestFinished })
    const topics = await open()
    const alert = topics.reader('predictions', 'alert')
    await publish(`${prefix}predictions`, 'x')
    {
      using _ = cluster.relay.lose('requests', request('EndTxn', prefix))
      await expect(alert.read(10, soon())).rejects.toThrow('cannot work with Kafka at')
    }
    await topics.append({ predictions: [prediction(1)] })
    const batch = await alert.read(10, soon())
    expect(numbers(batch.records)).toEqual([1])
    await batch.commit(1)
    expect((await held(topics, 'dead-letters')).length).toBe(1)
  })

  test('of foreign messages, when the read is aborted meanwhile: they are set aside once', async ({
    onTestFinished,
  }) => {
    const { prefix, open } = place({ finished: onTestFinished })
    const topics = await open()
    const alert = topics.reader('predictions', 'alert')
    await publish(`${prefix}predictions`, 'x')
    const stop = new AbortController()
    {
      using losing = cluster.relay.lose('answers', request('EndTxn', prefix), { silently: true })
      const reading = alert.read(10, stop.signal).catch((error) => error)
      await losing.first
      stop.abort(new Error('stopped'))
      expect(await reading).toBe(stop.signal.reason)
    }
    await topics.append({ predictions: [prediction(1)] })
    const batch = await alert.read(10, soon())
    expect(numbers(batch.records)).toEqual([1])
    await batch.commit(1)
    expect((await held(topics, 'dead-letters')).length).toBe(1)
  })

  test('is asked about until that is known, and it is said', async ({ onTestFinished }) => {
    const { prefix, work, text } = await begin(onTestFinished)
    const [, append] = works[0]!
    {
      using _ = cluster.relay.lose('requests', request('EndTxn', prefix))
      using _new = cluster.relay.lose('requests', request('InitProducerId', prefix))
      const failed = expect(append(work)).rejects.toThrow('cannot work with Kafka at')
      await waitFor('a word', () => text(), MINUTE)
      expect(text()).toMatch(
        /^did Kafka at \S+ do the last commit\? .+; nothing is repeated before that is known; asking again in \d\.\d s/,
      )
      _new[Symbol.dispose]()
      await failed
    }
    expect(await outcome(work)).toEqual({ predictions: [], lag: 3 })
  })

  test('is said to be unknown as soon as a question has had no answer, not after seven', async ({ onTestFinished }) => {
    const { prefix, open, text } = place({ finished: onTestFinished })
    const topics = await open()
    let questions = 0
    const silence = cluster.relay.rule((frame) => {
      if (!request('DescribeProducers', prefix)(frame)) return undefined
      questions++
      return { lost: 'requests', silently: true }
    })
    const appending = topics.append({ transactions: [transaction(1)] })
    await waitFor('a word', () => text().includes('do the last commit?'), MINUTE)
    expect(questions).toBeLessThan(4)
    silence[Symbol.dispose]()
    await appending
    expect(numbers(await held(topics, 'transactions'))).toEqual([1])
  })
})

describe.concurrent('what a killed process left unfinished', () => {
  const append = 'await topics.append({ transactions: [transaction(7)] })'
  /** Runs this in a process that is killed when it has done all but the last of a commit. */
  async function kill(work: string, prefix: string, finished: typeof onTestFinished) {
    using losing = cluster.relay.lose('requests', request('EndTxn', prefix), { silently: true })
    const child = another(work, prefix, { session: 3000, finished })
    await losing.first
    await child.kill()
  }

  test.for([
    ['an append', `await new Promise((resolve) => topics.lead('fetch', never, resolve)); ${append}`],
    [
      'a commit',
      "const batch = await topics.reader('transactions', 'score').read(1, never); await batch.commit(1, { predictions: [prediction(7)] })",
    ],
  ])('is not waited for longer than for the process: %s', async ([, work], { onTestFinished }) => {
    const { prefix, open } = place({ brokers: cluster.beside, finished: onTestFinished })
    const topics = await open({ session: 3000 })
    await topics.append({ transactions: [transaction(0)] })
    await kill(work!, prefix, onTestFinished)
    const killed = performance.now()
    await candidate(topics, 'fetch').term()
    await topics.append({ transactions: [transaction(1)] })
    const score = topics.reader('transactions', 'score')
    const found: number[] = []
    while (found.length < 2) {
      const batch = await score.read(10, soon())
      await batch.commit(batch.records.length, { predictions: predicted(batch.records) })
      found.push(...numbers(batch.records))
    }
    const batch = await topics.reader('predictions', 'alert').read(1, soon())
    expect(performance.now() - killed).toBeLessThan(10_000) // then the brokers would have aborted it
    expect([found, numbers(batch.records)]).toEqual([[0, 1], [0]])
    expect(numbers((await held(topics, 'predictions')) as Transaction[])).toEqual([0, 1])
  })

  test('is over soon even if nobody takes its place', async ({ onTestFinished }) => {
    const { prefix, open } = place({ brokers: cluster.beside, finished: onTestFinished })
    const topics = await open()
    await kill(append, prefix, onTestFinished)
    await topics.append({ transactions: [transaction(1)] })
    const batch = await topics.reader('transactions', 'score').read(10, soon(40_000)) // 10 s, looked at every 10 s
    expect(numbers(batch.records)).toEqual([1])
  })
})

async function publish(topic: string, text: string) {
  const producer = new Producer({ clientId: 'test', bootstrapBrokers: cluster.beside })
  await producer.send({ messages: [{ topic, value: Buffer.from(text) }] })
  await producer.close()
}

test('brokers that let nobody take large records are worked with, and it is said what that means', async () => {
  const { prefix, open, text } = place()
  let refused = 0
  using _ = cluster.relay.rule((frame) => {
    const asks = (['CreateTopics', 'IncrementalAlterConfigs'] as const).some((api) => request(api, prefix)(frame))
    const at = frame.indexOf('max.message.bytes')
    if (!asks || at < 0) return undefined
    refused++
    frame.write('max.message.never', at) // which they refuse as they refuse a size
    return undefined
  })
  const topics = await open()
  await topics.append({ transactions: [transaction(1)] })
  expect(numbers((await held(topics, 'transactions')) as Transaction[])).toEqual([1])
  expect(refused).toBe(8) // four topics, made and told
  expect(text()).toContain(
    `the Kafka topic ${prefix}dead-letters takes no record of more than 1048588 bytes: of a larger one only the beginning is kept, in dead-letters; set its max.message.bytes to 100000000`,
  )
})

test('however many partitions there are, so many bytes are fetched ahead, and each partition has its turn', async () => {
  const topics = await place().open({ partitions: 24, session: 30_000 }) // or a busy machine reads some anew
  const wide = (n: number) => ({ ...transaction(n), cc_num: 4_000_000_000_000n + BigInt(n), job: 'x'.repeat(90_000) })
  for (const n of range(0, 10)) await topics.append({ transactions: range(30 * n, 30 * (n + 1)).map(wide) })
  const score = topics.reader('transactions', 'score')
  expect(await score.lag()).toBe(300) // all of it can be read
  let bytes = 0
  const count = (answer: Buffer) => {
    bytes += answer.length
  }
  using _ = cluster.relay.rule((frame) => (frame.readInt16BE(4) === API.Fetch ? count : undefined))
  const { records } = await score.read(1, soon())
  await sleep(1000) // for a fetch that would follow
  expect(records.length).toBe(1)
  expect(bytes).toBeGreaterThan(1_000_000)
  expect(bytes).toBeLessThan(11_000_000) // 8 MiB, and a record
  const found = numbers(records)
  while (found.length < 300) found.push(...numbers((await score.read(300, soon())).records))
  expect(found.sort((a, b) => a - b)).toEqual(range(0, 300))
})

describe('in the middle of an outage', () => {
  mended()

  test('who stands by says so too, and has its turn after it', async () => {
    const { open } = place()
    const first = await open({ session: 3000 })
    await candidate(first, 'alert').term()
    const told: unknown[] = []
    const second = await open({ session: 3000, standby: (...event) => told.push(event) })
    const waiting = second.lead('alert', soon(), async () => {})
    await waitFor('the second to stand by', () => told.length > 0)
    cluster.proxy.cut()
    await expect(waiting).rejects.toThrow('cannot work with Kafka at')
    expect(told).toEqual([
      ['alert', true],
      ['alert', false],
    ])
    cluster.proxy.mend()
    await first.close()
    await second.lead('alert', soon(), async () => {})
  })

  test('a reader that gets nothing from its connection says so, and starts over with another one', async () => {
    const { open, text, prefix } = place()
    let first: Socket | undefined
    using _ = cluster.relay.rule((frame, client) => {
      if (frame.readInt16BE(4) !== API.Fetch) return undefined
      first ??= client
      return client === first ? nothing(frame.readInt32BE(8)) : undefined
    })
    const topics = await open({ stuck: 1500 })
    const reading = topics.reader('transactions', 'score').read(1, soon())
    await topics.append({ transactions: [transaction(1)] })
    expect(numbers((await reading).records)).toEqual([1])
    expect(text()).toBe(
      `score got none of the 2 messages that ${prefix}transactions has for it, for 1.5 s; starting over with new connections`,
    )
  })

  test('what an aborted read has asked for too late changes nothing', async () => {
    const { prefix, open } = place()
    const topics = await open()
    await topics.append({ transactions: range(0, 3).map((n) => transaction(n)) })
    const score = topics.reader('transactions', 'score')
    const asks = request('OffsetFetch', `${prefix}client-predict-score`)
    let asked = 0
    using _ = cluster.relay.rule((frame) => (asks(frame) && asked++ === 0 ? 1500 : undefined))
    const stop = new AbortController()
    const reading = score.read(1, stop.signal).catch((error) => error)
    await waitFor('the question', () => asked)
    stop.abort(new Error('stopped'))
    expect(await reading).toBe(stop.signal.reason)
    const found: number[] = []
    for (const end = Date.now() + 3000; Date.now() < end; ) {
      const batch = await score.read(1, soon(Math.max(1, end - Date.now()))).catch(() => undefined)
      found.push(...numbers(batch?.records ?? []))
    }
    expect(found).toEqual([0, 1, 2])
  })

  test('reads are aborted at once, the topics are closed soon, and the process can end', async () => {
    const { prefix, open } = place()
    const topics = await open()
    await topics.append({ transactions: range(0, 3).map((n) => transaction(n)) })
    const child = another(
      `
      const score = topics.reader('transactions', 'score')
      const batch = await score.read(1, never)
      const scanning = topics.scan('transactions')
      await scanning.next()
      const stop = new AbortController()
      const reading = topics.reader('predictions', 'alert').read(1, stop.signal).catch((error) => error.message)
      say('ready')
      await told()
      const work = [topics.append({ transactions: batch.records }), batch.commit(1)]
      const ended = Promise.allSettled(work)
      await told()
      const began = performance.now()
      stop.abort(new Error('stopped'))
      say(await reading)
      const aborted = performance.now()
      await topics.close()
      say(JSON.stringify([aborted - began, performance.now() - aborted]))
      await scanning.return()
      const outcomes = await ended
      say(outcomes.map(({ status }) => status).join())
    `,
      prefix,
    )
    await child.said('ready')
    const asked = cluster.proxy.freezeBefore(request('EndTxn', prefix))
    child.tell('work')
    await asked
    child.tell('stop')
    await child.said('rejected,rejected')
    const [, message, times] = child.lines()
    expect(message).toBe('stopped')
    const [aborting, closing] = JSON.parse(times!)
    expect(aborting).toBeLessThan(1000)
    expect(closing).toBeLessThan(6000)
    expect(await child.ended).toBe(0)
    cluster.proxy.cut()
    cluster.proxy.mend()
    expect((await held(topics, 'transactions')).length).toBe(3)
  })
})

describe('three nodes', () => {
  test('go on without one, and with all of them after two were missing', { timeout: 5 * MINUTE }, async () => {
    await using three = await startKafka({ nodes: 3 })
    const { prefix, open, text } = place({ brokers: three.brokers })
    const topics = await open({ partitions: 6, replication: 3 })
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: three.brokers })
    const [{ configs } = { configs: [] }] = await admin.describeConfigs({
      resources: [
        { resourceType: 2, resourceName: `${prefix}transactions`, configurationKeys: ['min.insync.replicas'] },
      ],
    })
    expect(configs[0]?.value).toBe('2')
    const { topics: known } = await admin.metadata({ topics: [`${prefix}transactions`] })
    const leader = known.get(`${prefix}transactions`)!.partitions[0]!.leader
    await admin.close()
    const running = flow(topics)
    await running.goesOn()
    await three.node(leader).kill()
    await running.goesOn()
    await three.node((leader + 1) % 3).kill()
    const before = running.failures.length
    await waitFor('failures', () => running.failures.length > before, MINUTE)
    await Promise.all([leader, (leader + 1) % 3].map((id) => three.node(id).start()))
    await running.goesOn()
    await running.finish()
    expect(text()).not.toContain('removed')
  })
})

/** A process of its own that runs this with `topics` of the same names, by way of the proxy. */
function another(
  work: string,
  prefix: string,
  { finished = onTestFinished, ...options }: { session?: number; finished?: typeof onTestFinished } = {},
) {
  const from = (path: string) => JSON.stringify(join(import.meta.dirname, path))
  const program = `
    import { createInterface } from 'node:readline'
    import { pino } from 'pino'
    import { kafkaTopics } from ${from('../../src/engines/kafka/topics.ts')}
    import { prediction, transaction } from ${from('../rows.ts')}
    const input = createInterface(process.stdin)[Symbol.asyncIterator]()
    const told = () => input.next().then(() => process.stdin.unref())
    const say = (text) => process.stdout.write(text + '\\n')
    const never = new AbortController().signal
    const options = ${JSON.stringify({ brokers: cluster.brokers, prefix, partitions: 1, worker: true, ...options })}
    const topics = await kafkaTopics({ ...options, log: pino({ level: 'silent' }) })
    ${work}
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    cwd: import.meta.dirname, // where it finds packages
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', (chunk) => {
    said += chunk
  })
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const lines = () => said.split('\n').slice(0, -1)
  const kill = async () => {
    child.kill('SIGKILL')
    await ended
  }
  finished(kill)
  return {
    lines,
    ended,
    kill,
    said: (line: string) => waitFor(`"${line}" after ${said}`, () => lines().includes(line), 30_000),
    tell: (text: string) => void child.stdin.write(`${text}\n`),
  }
}
