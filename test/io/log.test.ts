import { spawn, spawnSync } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { scrub } from '../../src/io/log.ts'
import { LONG_CARD } from '../rows.ts'

const CARD = String(LONG_CARD)
const SHORT_CARD = '41739265087' // 11 digits
const PRELUDE = `
  import { logger } from ${JSON.stringify(import.meta.resolve('../../src/io/log.ts'))}
  const CARD = ${CARD}n, TEXT = '${CARD}', SHORT = ${SHORT_CARD}
  const axiosError = Object.assign(new Error('Request failed for card ' + TEXT), {
    name: 'AxiosError',
    config: { url: 'http://host/' + TEXT, data: '{"cc_num":' + TEXT + '}', headers: { Authorization: 'hunter2' } },
    request: { path: TEXT },
    response: { status: 400, data: { rows: [[CARD, TEXT, SHORT]] } },
  })
`

/** What a process prints that logs with the worker's logger. */
function printed(code: string): string {
  const { stdout, stderr, status } = run(code)
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
  return stdout
}
const run = (code: string) =>
  spawnSync(process.execPath, ['--input-type=module', '--eval', PRELUDE + code], {
    env: { NO_COLOR: '1', TZ: 'UTC' },
    encoding: 'utf8',
  })

type Line = Record<string, unknown> & { level: string; time: string; msg?: string }
/** Every line, which must be one JSON object. */
const logged = (code: string) =>
  printed(`const log = logger('trace');${code}`)
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)

/** Fails when the beginning of a card is there, in whatever form. */
function expectNoCard(output: string) {
  expect(output).not.toContain(CARD.slice(0, 9))
  expect(output).not.toContain(SHORT_CARD.slice(0, 9))
  expect(output).not.toContain('4.99234639') // as a number that has lost its end
}

describe('a card number is not in the log', () => {
  test('whatever it is in: text, number, bigint, object, array, map, set, key, buffer, child, error', () => {
    const output = printed(`
      const log = logger('trace')
      log.info('card ' + TEXT + ' and 4992 3463 9806 5154 184')
      log.info({ cc_num: CARD, text: TEXT, short: SHORT, lossy: Number(CARD), negative: -CARD }, TEXT)
      log.info({ a: { b: [{ c: [[{ d: CARD, e: TEXT, f: [SHORT] }]] }] } })
      log.info({ map: new Map([[TEXT, CARD], [CARD, { TEXT }]]), set: new Set([CARD, TEXT]), [TEXT]: 1 })
      log.info({ longs: new BigInt64Array([CARD]), row: Object.assign(Object.create(null), { cc_num: CARD }) })
      log.info('%s %d %i %j %o %O', TEXT, CARD, SHORT, { CARD }, { CARD: [CARD] }, [TEXT])
      log.info({ nested: { toJSON: () => ({ CARD: TEXT }) } }, 'own way to print')
      log.info([CARD, TEXT], TEXT)
      log.warn(axiosError)
      log.warn({ err: axiosError, error: axiosError, list: [axiosError] }, axiosError.message)
      log.error(new Error('cannot score', { cause: new Error('refused ' + TEXT, { cause: axiosError }) }))
      log.error(new AggregateError([axiosError], TEXT))
      log.error(Object.assign(new TypeError('x'), { cc_num: CARD }), 'with %s', axiosError)
      const { message, stack, config, response } = axiosError
      log.error({ err: { message, stack, config, response, isAxiosError: true } }, 'no instance of Error')
      log.child({ cc_num: CARD, deep: { list: [TEXT, CARD] }, err: axiosError }).child({ text: TEXT }).info('child')
      log.child({ stage: 'score' }, { msgPrefix: TEXT + ' ' }).info('prefixed')
      for (const level of ['trace', 'debug', 'fatal']) log[level](TEXT)
    `)
    expectNoCard(output)
    const lines = output.trimEnd().split('\n')
    expect(lines).toHaveLength(19)
    for (const line of lines) expect(JSON.parse(line)).toBeTypeOf('object')
    expect(output.match(/…4184/g)?.length).toBeGreaterThan(40)
  })

  test('in bytes, and in objects that spell it sign by sign', () => {
    expect(scrub(Buffer.from(CARD))).toBe('(19 bytes)')
    expect(scrub({ a: [new TextEncoder().encode(CARD), new ArrayBuffer(1)] })).toEqual({
      a: ['(19 bytes)', '(1 byte)'],
    })
    expect(scrub({ a: new String(CARD), b: Object(LONG_CARD), c: new Number(5) })).toEqual({
      a: '…4184',
      b: '…4184',
      c: 5,
    })
    expect(scrub(new URL(`http://user:sesame@host/${CARD}`))).toBe('host')
    expect(scrub({ at: new Date(0), never: new Date(Number.NaN) })).toEqual({
      at: '1970-01-01T00:00:00.000Z',
      never: null,
    })
  })

  test('whatever throws when it is read, goes round in a circle, or has no end', () => {
    const round = new Error(`round ${CARD}`)
    round.cause = new Error('and round', { cause: round })
    expect(scrub(round)).toMatchObject({ err: 'round …4184: and round' })
    const getter = {
      get a() {
        throw new Error(`no ${CARD}`)
      },
    }
    expect(scrub(getter)).toBe('(cannot be read: no …4184)')
    const circle: Record<string, unknown> = { TEXT: CARD }
    for (let n = 0; n < 50; n++) circle[`c${n}`] = circle
    const large = { rows: Array.from({ length: 100_000 }, () => ({ cc_num: LONG_CARD })), text: CARD.repeat(100_000) }
    for (const value of [circle, large, Array(1e6).fill(CARD)]) {
      const line = JSON.stringify(scrub(value))
      expect(line.length).toBeLessThan(200_000)
      expectNoCard(line)
    }
  })

  test('however deep it hides', () => {
    const lines = logged(`
      const nest = (depth, value) => (depth === 0 ? value : { in: [nest(depth - 1, value)] })
      for (let depth = 0; depth < 30; depth++) log.info({ at: nest(depth, { cc_num: CARD, TEXT }) })
    `)
    expect(lines).toHaveLength(30)
    expect(JSON.stringify(lines[1])).toContain('"cc_num":"…4184","TEXT":"…4184"')
    expectNoCard(JSON.stringify(lines))
  })

  test('on a terminal neither', () => {
    const output = printed(`
      process.stdout.isTTY = true
      const log = logger('trace')
      log.child({ stage: 'score', cc_num: CARD }).warn({ rows: [[CARD, TEXT]], err: axiosError }, 'card %s', TEXT)
    `)
    expectNoCard(output)
    expect(output).toContain('WARN: score: card …4184')
  })

  test('in any value', () => {
    const holder = fc.constantFrom<unknown>(LONG_CARD, CARD, `card ${CARD}.`, Number(LONG_CARD), Number(SHORT_CARD), [
      CARD,
    ])
    const { tree } = fc.letrec<{ tree: unknown; map: unknown }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 12, withCrossShrink: true },
        holder,
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(fc.oneof(fc.string(), fc.constant(CARD)), tie('tree'), { maxKeys: 3 }),
        tie('map'),
        fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true }),
        tie('tree').map((cause) => Object.assign(new Error(`for ${CARD}`, { cause }), { config: cause })),
      ),
      map: fc.array(fc.tuple(tie('tree'), tie('tree')), { maxLength: 3 }).map((entries) => new Map(entries)),
    }))
    fc.assert(
      fc.property(tree, (value) => {
        expectNoCard(JSON.stringify(scrub(value)) ?? '')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('an error', () => {
  test('becomes its messages and its stack, nothing else that it carries', () => {
    const [line] = logged(`log.error(new Error('cannot reach the model', { cause: axiosError }))`)
    expect(line).toEqual({
      level: 'error',
      time: expect.any(String),
      err: 'cannot reach the model: Request failed for card …4184',
      stack: expect.stringMatching(/^Error: cannot reach the model\n {4}at /),
    })
  })

  test('keeps its request and its headers out of the log, wherever it is', () => {
    const lines = logged(`
      log.error(axiosError)
      log.error({ err: axiosError, deep: { list: [axiosError], map: new Map([['a', axiosError]]) } }, 'failed')
      log.child({ err: axiosError }).error('failed')
      log.error('failed %o %j', axiosError, axiosError)`)
    expect(JSON.stringify(lines)).not.toMatch(/hunter2|http:|cc_num/)
    expect(lines[1]).toMatchObject({ msg: 'failed', deep: { list: [{ err: 'Request failed for card …4184' }] } })
  })

  test('of an unusual kind is logged too', () => {
    expect(scrub(Object.assign(new Error(CARD), { stack: undefined }))).toEqual({ err: '…4184', stack: '' })
    expect(scrub(new Error('a', { cause: CARD }))).toMatchObject({ err: 'a' })
    expectNoCard(JSON.stringify(scrub(runInNewContext(`Object.assign(new Error('${CARD}'), { cc: '${CARD}' })`))))
  })
})

describe('a line', () => {
  test('is one JSON object with level, time and message', () => {
    const [line, ...others] = logged(`log.info('scored 3 transactions, 1 fraud')`)
    expect(line).toEqual({ level: 'info', time: expect.any(String), msg: 'scored 3 transactions, 1 fraud' })
    expect(Math.abs(Date.parse(line!.time) - Date.now())).toBeLessThan(60_000)
    expect(line!.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(others).toEqual([])
  })

  test('leaves what is no card number as it is', () => {
    const value = {
      n: 12345,
      f: 39.7817,
      yes: true,
      no: null,
      list: ['a', 1],
      big: 5n,
      id: '0123456789',
      nothing: undefined,
    }
    expect(scrub(value)).toEqual({ ...value, big: '5' })
    expect(scrub({ map: new Map([['a', { b: 1 }]]), set: new Set(['c', 2]) })).toEqual({
      map: [['a', { b: 1 }]],
      set: ['c', 2],
    })
    const [line] = logged(
      `log.child({ stage: 'score' }).info({ n: 12345, f: 39.7817, list: [null, true] }, 'a "b"\\n%s', 'c')`,
    )
    expect(line).toMatchObject({ stage: 'score', n: 12345, f: 39.7817, list: [null, true], msg: 'a "b"\nc' })
  })

  test('is JSON whatever is logged', () => {
    const lines = logged(`
      const circle = { name: 'circle' }
      circle.self = circle
      circle.list = [circle]
      log.info(circle, 'round')
      log.info({ n: NaN, i: Infinity, b: 10n ** 40n, d: new Date(0), f() {}, s: Symbol('s'), u: undefined, '"': '\\u0000' })
      log.info({ level: 'mine', time: 'now', msg: 'then', __proto__: null }, 'reserved names')
      log.info(undefined)
      log.info(null, 'null')
      log.info(42)
      log.info('%d %s')`)
    expect(lines).toHaveLength(7)
    expect(lines[0]).toMatchObject({ name: 'circle', msg: 'round', self: { name: 'circle' } })
  })

  test('is written at its level and above', () => {
    const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal']
    const output = printed(`
      for (const level of [...${JSON.stringify(levels)}, 'silent']) {
        const log = logger(level)
        for (const at of ${JSON.stringify(levels)}) log[at](level)
      }`)
    const lines = output
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line)
    const written = levels.map((level) => lines.filter(({ msg }) => msg === level).map((line) => line.level))
    expect(written).toEqual(levels.map((_, i) => levels.slice(i)))
    expect(lines).toHaveLength(21)
  })

  test('is out before the call returns: none is lost to kill -9', async () => {
    const code = `const log = logger('info')
      for (let i = 1; i <= 1000; i++) log.info({ i }, 'line')
      process.kill(process.pid, 'SIGKILL')`
    const child = spawn(process.execPath, ['--input-type=module', '--eval', PRELUDE + code])
    const lines = (await text(child.stdout)).trimEnd().split('\n')
    expect(lines).toHaveLength(1000)
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ i: 1000, msg: 'line' })
  })

  test('is for people on a terminal: time, level, stage, message', () => {
    const output = printed(`
      process.stdout.isTTY = true
      const log = logger('info')
      log.child({ stage: 'alert' }).info('mailed to desk@example.com: Fraud alert')
      log.warn('MODEL_URL is not set')`)
    expect(output).toMatch(
      /^\[\d\d:\d\d:\d\d\] INFO: alert: mailed to desk@example\.com: Fraud alert\n\[\d\d:\d\d:\d\d\] WARN: MODEL_URL is not set\n$/,
    )
  })
})
