import { expect, test } from 'vitest'
import { maskCards } from '../../src/card.ts'
import { readConfig } from '../../src/config/read.ts'
import { httpServer, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')

test.for([
  ['PRODUCER_HEADERS', '{"Authorization":"Bearer sesame-open-77"}', ['sesame-open-77', 'Bearer sesame-open-77']],
  ['PRODUCER_HEADERS', '{"X-Api-Key":"k(1)+[23]"}', ['k(1)+[23]']],
  ['PRODUCER_HEADERS', '{"Cookie":"theme=dark; session=abc123def"}', ['abc123def']],
  ['MODEL_HEADERS', `{"authorization":"Basic ${base64('joe:swordfish')}"}`, ['swordfish', base64('joe:swordfish')]],
  ['PRODUCER_URL', 'http://joe:tunafish@127.0.0.1/x', ['tunafish', base64('joe:tunafish')]],
  ['PRODUCER_URL', 'http://127.0.0.1/x?api_key=abcdefgh', ['abcdefgh']],
  ['DATABASE_URL', 'postgres://me:pa%40ss-word@host/db', ['pa@ss-word', 'pa%40ss-word']],
  ['TOPICS_URL', 'postgres://me:trouts@host/db', ['trouts']],
  ['ALERT_WEBHOOK_URL', 'https://hooks.slack.com/services/T00AB/B00CD0/aBcDeFgH', ['B00CD0', 'aBcDeFgH']],
  ['STATUS_TOKEN', 'f00dfacef00dface', ['f00dfacef00dface']],
  ['DESK_TOKEN', 'a long phrase, of words', ['a long phrase, of words']],
] as const)('what %s keeps secret is in no text that is shown: %s', ([name, value, secrets]) => {
  readConfig({ [name]: value })
  for (const secret of secrets) {
    expect(maskCards(`unknown key "${secret}", ${secret}; ${secret}`)).toBe('unknown key "***", ***; ***')
    expect(maskCards(`${secret}x`)).not.toBe('***x') // a word that only begins like it
  }
})

test('words of the program and of harmless headers stay legible', () => {
  readConfig({
    PRODUCER_HEADERS: '{"Accept":"application/json","Authorization":"Bearer x-1"}',
    PRODUCER_URL: 'http://127.0.0.1/payments?format=jsonlines',
    DATABASE_URL: 'postgres://postgres:postgres@localhost/payments',
    ALERT_WEBHOOK_URL: 'https://hooks.slack.com/services/T1/B1/x',
  })
  const text = 'postgres://localhost/payments, bearer, Bearer, application/json, jsonlines, services, hooks.slack.com'
  expect(maskCards(text)).toBe(text)
})

test('a producer that repeats its token in an error, or a model, has it in no log line and on no page', async () => {
  await using dir = await tempDir()
  await using producer = await httpServer((_request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end('{"error":"the token open-sesame-8 has expired"}')
  })
  await using worker = startWorker(dir.path, {
    PRODUCER_URL: producer.url.href,
    PRODUCER_HEADERS: '{"Authorization":"Bearer open-sesame-8"}',
    LOG_LEVEL: 'debug',
  })
  await waitFor('the failure', () => worker.text().includes('has expired') || undefined, 20_000)
  const page = /http:\/\/127\.0\.0\.1:\d+\//.exec(worker.text())?.[0]
  const shown = await (await fetch(`${page}`)).text()
  expect(shown).toContain('the token *** has expired')
  expect(worker.text() + shown).not.toContain('open-sesame')
})
