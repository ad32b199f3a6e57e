import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { startProxy } from '../proxy.ts'
import { startKafka } from './broker.ts'

/** A broker that clients reach by way of a proxy and a relay, wherever they learn of it; `beside` leads past both. */
export async function startProxied() {
  const servers = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  const [client, broker, controller] = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  const relay = await startRelay(client!)
  const proxy = await startProxy({ port: relay.port })
  const kafka = await startKafka({
    properties: {
      listeners: `CLIENT://127.0.0.1:${client},BROKER://127.0.0.1:${broker},CONTROLLER://127.0.0.1:${controller}`,
      'advertised.listeners': `CLIENT://127.0.0.1:${proxy.port},BROKER://127.0.0.1:${broker}`,
      'controller.quorum.voters': `0@127.0.0.1:${controller}`,
    },
  })
  return {
    kafka,
    node: kafka.node(0),
    proxy,
    relay,
    brokers: [`127.0.0.1:${proxy.port}`],
    beside: [`127.0.0.1:${broker}`],
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]()
      await relay[Symbol.asyncDispose]()
      await kafka[Symbol.asyncDispose]()
    },
  }
}

/** A request of this kind that names `text` (https://kafka.apache.org/protocol#protocol_api_keys). */
export const request = (api: keyof typeof API, text: string) => (bytes: Buffer) =>
  bytes.length > 6 && bytes.readInt16BE(4) === API[api] && bytes.includes(text)
export const API = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  OffsetFetch: 9,
  Heartbeat: 12,
  CreateTopics: 19,
  InitProducerId: 22,
  AddOffsetsToTxn: 25,
  EndTxn: 26,
  TxnOffsetCommit: 28,
  IncrementalAlterConfigs: 44,
  DescribeProducers: 61,
}

/** What happens to a request: it is answered at once, held for ms or until then, lost, its answer is seen, or nothing. */
type Rule = (frame: Buffer, client: Socket) => Buffer | number | Promise<void> | Loss | Seen | undefined
type Seen = (answer: Buffer) => void
type Loss = { lost: 'requests' | 'answers'; silently: boolean }

/** A way to the broker that knows requests from each other, and loses what it is told to lose. */
export async function startRelay(port: number) {
  const rules = new Set<Rule>()
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const broker = connect(port, '127.0.0.1')
    const expected = new Map<number, Loss | Seen>()
    const end = () => {
      client.destroy()
      broker.destroy()
    }
    for (const socket of [client, broker])
      sockets.add(
        socket
          .on('error', end)
          .on('close', end)
          .on('close', () => sockets.delete(socket)),
      )
    const asks = frames((frame) => {
      const rule = Array.from(rules, (rule) => rule(frame, client)).find((found) => found !== undefined)
      if (Buffer.isBuffer(rule)) setTimeout(() => client.write(rule), 200)
      else if (typeof rule === 'number') setTimeout(() => broker.write(frame), rule)
      else if (rule instanceof Promise) rule.then(() => broker.write(frame))
      else if (typeof rule === 'function' || rule?.lost !== 'requests') {
        if (rule) expected.set(frame.readInt32BE(8), rule)
        broker.write(frame)
      } else if (!rule.silently) end()
    })
    const answers = frames((frame) => {
      const rule = expected.get(frame.readInt32BE(4))
      if (typeof rule === 'function') rule(frame)
      if (typeof rule !== 'object') client.write(frame)
      else if (!rule.silently) end()
    })
    client.on('data', asks)
    broker.on('data', answers)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const rule = (rule: Rule) => {
    rules.add(rule)
    return { [Symbol.dispose]: () => void rules.delete(rule) }
  }
  return {
    port: (server.address() as AddressInfo).port,
    rule,
    /** `first` resolves when one comes. The connection is lost with it, unless it is lost silently. */
    lose(lost: Loss['lost'], match: (frame: Buffer) => boolean, { silently = false } = {}) {
      const first = Promise.withResolvers<void>()
      const ended = rule((frame) => {
        if (!match(frame)) return undefined
        first.resolve()
        return { lost, silently }
      })
      return { ...ended, first: first.promise }
    },
    /** `first` resolves when one comes; all of them wait for `release`. */
    hold(match: (frame: Buffer) => boolean) {
      const [first, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      const ended = rule((frame) => {
        if (!match(frame)) return undefined
        first.resolve()
        return released.promise
      })
      return { ...ended, first: first.promise, release: released.resolve }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await once(server.close(), 'close')
    },
  }
}
/** Cuts a stream into messages: a length of 4 bytes, and so many bytes. */
function frames(take: (frame: Buffer) => void) {
  let held = Buffer.alloc(0)
  return (chunk: Buffer) => {
    held = Buffer.concat([held, chunk])
    while (held.length > 4 && held.length >= 4 + held.readInt32BE(0)) {
      const frame = held.subarray(0, 4 + held.readInt32BE(0))
      held = held.subarray(frame.length)
      take(frame)
    }
  }
}
/** The answer to a fetch (from version 12 on) that has neither an error, nor a session, nor a partition. */
export function nothing(correlationId: number) {
  const answer = Buffer.alloc(21)
  answer.writeInt32BE(17, 0)
  answer.writeInt32BE(correlationId, 4)
  answer.writeInt8(1, 19) // an empty array
  return answer
}
/** The answer to a heartbeat (from version 4 on) of somebody whom the broker does not know. */
export function unknownMember(correlationId: number) {
  const answer = Buffer.alloc(16)
  answer.writeInt32BE(12, 0)
  answer.writeInt32BE(correlationId, 4)
  answer.writeInt16BE(25, 13) // UNKNOWN_MEMBER_ID, after no tags and a throttle time of 0 ms
  return answer
}
