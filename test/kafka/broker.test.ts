import { readFileSync } from 'node:fs'
import { Admin, Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { expect, test } from 'vitest'
import { startKafka } from './broker.ts'

const MINUTE = 60_000
type Connection = Omit<ConstructorParameters<typeof Admin>[0], 'clientId'>

test('keeps what was written while it is stopped', { timeout: 5 * MINUTE }, async () => {
  await using kafka = await startKafka()
  const connection = { bootstrapBrokers: kafka.brokers }
  await create(connection)
  await write(connection, 'first')
  await kafka.node(0).stop()
  await expect(write({ ...connection, retries: 0 }, 'never')).rejects.toThrow()
  await kafka.node(0).start()
  await write(connection, 'second')
  expect(await read(connection, 2)).toEqual(['first', 'second'])
})

test('lets in who has the password, over TLS', { timeout: 5 * MINUTE }, async () => {
  const sasl = { user: 'worker', password: 'p@:/?#%"\\ x' }
  await using kafka = await startKafka({ sasl, tls: true })
  const pem = (path: string) => readFileSync(path, 'utf8')
  const connection = {
    bootstrapBrokers: kafka.brokers,
    tls: { ca: pem(kafka.tls!.ca) },
    sasl: { mechanism: 'SCRAM-SHA-512' as const, username: sasl.user, password: sasl.password },
  }
  await create(connection)
  await write(connection, 'secret')
  expect(await read(connection, 1)).toEqual(['secret'])
  const refused = { ...connection, retries: 0 }
  await expect(write({ ...refused, sasl: { ...connection.sasl, password: 'wrong' } }, 'never')).rejects.toThrow()
  await expect(write({ ...refused, tls: { ca: pem(kafka.tls!.otherCa) } }, 'never')).rejects.toThrow()
})

async function create(connection: Connection) {
  const admin = new Admin({ clientId: 'test', ...connection })
  await admin.createTopics({ topics: ['lines'], partitions: 1, replicas: 1 })
  await admin.close()
}

async function write(connection: Connection, value: string) {
  const producer = new Producer({ clientId: 'test', serializers: stringSerializers, ...connection })
  try {
    await producer.send({ messages: [{ topic: 'lines', value }] })
  } finally {
    await producer.close()
  }
}

async function read(connection: Connection, count: number): Promise<string[]> {
  const consumer = new Consumer({ clientId: 'test', groupId: 'g', deserializers: stringDeserializers, ...connection })
  const values: string[] = []
  for await (const { value } of await consumer.consume({ topics: ['lines'], mode: 'earliest' }))
    if (values.push(value) === count) break
  await consumer.close(true)
  return values
}
