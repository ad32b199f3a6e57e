import { describe, expect, test } from 'vitest'
import { explained } from '../../src/engines/kafka/errors.ts'
import { causeOf, HttpFailure, Outage, Refusal, SendFailure } from '../../src/io/errors.ts'
import { openMetrics } from '../../src/status/metrics.ts'
import { LONG_CARD, prediction } from '../rows.ts'

describe('the cause of a retry', () => {
  const system = (code: string) => Object.assign(new Error('no'), { code })
  test.for<[string, Error]>([
    [
      'timeout',
      new Error('the model is too slow', {
        cause: new HttpFailure('no whole answer within 75 s', { kind: 'timeout' }),
      }),
    ],
    ['refused', new Outage('the model refuses everything', { cause: new Refusal('the model answered 400: …') })],
    ['http_503', new HttpFailure('the model answered so', { kind: 'status', status: 503 })],
    ['http_429', new HttpFailure('the producer answered so', { kind: 'status', status: 429 })],
    [
      'ECONNREFUSED',
      new Error('cannot reach the model', { cause: new HttpFailure('no', { kind: 'refused', code: 'ECONNREFUSED' }) }),
    ],
    ['other', new Error('cannot reach the model', { cause: new Error('connect ECONNREFUSED 127.0.0.1:9') })],
    ['http_503', new SendFailure('the webhook answered so', { scope: 'either', code: 'http_503' })],
    ['ENOSPC', new Error('cannot write the topics', { cause: system('ENOSPC') })],
    ['57P01', new Error('cannot write the topics', { cause: system('57P01') })],
    ['ECONNREFUSED', explained(new AggregateError([new Error('no', { cause: system('ECONNREFUSED') })]))],
    ['other', explained(new Error('no broker'))],
    ['other', new Error('something new')],
    ['other', system('not-a-code')],
    ['other', new SendFailure('the mail server refused the mail: 554 no', { scope: 'message' })],
  ])('is %s', ([cause, error]) => {
    expect(causeOf(error)).toBe(cause)
  })
  test('is never what a server says', () => {
    expect(causeOf(new Outage('the producer answered 500 (an HTML page)'))).toBe('other')
    expect(causeOf(Object.assign(new Error('no'), { code: String(LONG_CARD) }))).toBe('other')
  })
})

describe('calls', () => {
  test('are timed by how they end', async () => {
    const { timed, registry } = openMetrics()
    await timed('model', async (n: number) => n)(1)
    await expect(timed('model', () => Promise.reject(new Refusal('no')))()).rejects.toBeInstanceOf(Refusal)
    await expect(timed('model', () => Promise.reject(new Error('down')))()).rejects.toThrow('down')
    const text = await registry.metrics()
    for (const outcome of ['ok', 'refused', 'failed'])
      expect(text).toContain(`client_predict_call_duration_seconds_count{system="model",outcome="${outcome}"} 1`)
  })
})

test('no number has 11 digits in a row, and each is one still', async () => {
  const { text, gauge } = openMetrics()
  const numbers = [0.1 + 0.2, 2 ** 40, -1 / 3 / 1e7, 1e21 / 7, 12.5, 1764313742.123, Number.POSITIVE_INFINITY]
  const one = gauge('one', 'About 12', ['of'])
  for (const [n, value] of numbers.entries()) one.set({ of: `${LONG_CARD}, ${n}` }, value)
  const lines = (await text()).split('\n').filter((line) => line.startsWith('client_predict_one{'))
  expect(lines.join('\n')).not.toMatch(/\d{11}/)
  for (const [n, value] of numbers.entries()) {
    const [, read] = /^client_predict_one\{of="…4184, \d"\} (\S+)$/.exec(lines[n]!)!
    if (Number.isFinite(value)) expect(Math.abs(Number(read) / value - 1)).toBeLessThan(1e-8)
  }
})

describe('notifications', () => {
  const delivery = { accepted: ['a'], rejected: [], deferred: ['b'], said: 'sent' }
  const notifier = (send = async () => delivery) => ({ send, close() {} })
  test('are counted by kind once they are taken over, and the frauds in them', async () => {
    const metrics = openMetrics()
    const { send } = metrics.notifier('mail', notifier())
    const frauds = [prediction(1), prediction(2)]
    const signal = new AbortController().signal
    await send({ at: 1, frauds: [frauds[0]!] }, signal)
    await send({ at: 1, frauds }, signal)
    await send({ at: 1, frauds: [], notice: { subject: 's', lines: [] } }, signal)
    await metrics.notifier('webhook', notifier()).send({ at: 1, frauds }, signal)
    expect(await send({ at: 1, frauds }, signal, ['b'])).toEqual(delivery) // the rest of one that is counted
    const failing = metrics.notifier(
      'mail',
      notifier(() => Promise.reject(new Error('no'))),
    )
    await expect(failing.send({ at: 1, frauds }, signal)).rejects.toThrow('no')
    const text = await metrics.registry.metrics()
    for (const line of [
      'client_predict_mailed_total{channel="mail"} 3',
      'client_predict_mailed_total{channel="webhook"} 2',
      'client_predict_notifications_total{channel="mail",kind="alarm"} 1',
      'client_predict_notifications_total{channel="mail",kind="digest"} 1',
      'client_predict_notifications_total{channel="mail",kind="notice"} 1',
      'client_predict_notifications_total{channel="webhook",kind="digest"} 1',
      'client_predict_since_fetched_seconds_count{stage="alert"} 3',
    ])
      expect(text.split('\n')).toContain(line)
    expect(await metrics.totals()).toMatchObject({ mailed: 3 })
  })
})
