import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { COLUMNS } from '../../../src/columns.ts'
import { postgresStore } from '../../../src/engines/postgres/store.ts'
import { Refusal, reason } from '../../../src/io/errors.ts'
import type { Store } from '../../../src/record/store.ts'
import type { Prediction } from '../../../src/transaction.ts'
import { look, type Server, startPostgres } from '../../postgres.ts'
import { startProxy } from '../../proxy.ts'
import { storeSuite } from '../../record/suite.ts'
import { LONG_CARD, listeningLog, prediction, waitFor } from '../../rows.ts'

const server = await startPostgres()
afterAll(() => server[Symbol.asyncDispose](), 60_000)

storeSuite('PostgreSQL', async () => {
  const url = await server.database()
  return {
    async open() {
      const store = postgresStore(url)
      await store.insert([]) // the table comes with the first insert
      return store
    },
    sql: (text) => look(url, text),
    [Symbol.asyncDispose]: async () => {},
  }
})

/** A store of the database, closed when the test is over. */
function open(url: URL): Store {
  const store = postgresStore(url)
  onTestFinished(() => store.close())
  return store
}
const predictions = (count: number, from = 1) => Array.from({ length: count }, (_, i) => prediction(from + i))

/** As the first program left it. */
const TO_VERSION_1 = `ALTER TABLE predictions DROP CONSTRAINT predictions_fraud_confirmed_check, DROP COLUMN sampled, DROP COLUMN threshold;
  DROP INDEX predictions_time, predictions_card, predictions_last_four, predictions_alarms, predictions_reviewed;
  DROP TABLE reviews, exports, baselines; DROP FUNCTION reviews_stay();
  UPDATE client_predict_schema SET version = 1 WHERE part = 'predictions'`

describe('the table', { timeout: 120_000 }, () => {
  test('has proper types and its key', async () => {
    const url = await server.database()
    await open(url).insert([])
    const columns = await look(
      url,
      `SELECT column_name AS name, data_type AS type, is_nullable AS nullable FROM information_schema.columns
       WHERE table_name = 'predictions' ORDER BY ordinal_position`,
    )
    const named = (by: (column: Record<string, unknown>) => boolean) => columns.filter(by).map(({ name }) => name)
    const types: Record<string, string> = {
      'timestamp with time zone': 'trans_date_trans_time',
      date: 'dob',
      bigint: 'cc_num zip city_pop unix_time event_time fetched_at predicted_at reviewed_at',
      smallint: 'is_fraud prediction fraud_confirmed',
      'double precision': 'amt lat long merch_lat merch_long score sampled threshold',
    }
    for (const [type, names] of Object.entries(types)) expect(named((c) => c.type === type)).toEqual(names.split(' '))
    const others = COLUMNS.filter((column) => !Object.values(types).join(' ').split(' ').includes(column))
    expect(named(({ type }) => type === 'text')).toEqual(others)
    expect(named(({ nullable }) => nullable === 'NO')).toEqual(
      'trans_date_trans_time cc_num amt trans_num unix_time prediction event_time fetched_at predicted_at'.split(' '),
    )
    const [key] = await look(
      url,
      `SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE contype = 'p'
      AND conrelid = 'predictions'::regclass`,
    )
    expect(key).toEqual({ text: 'PRIMARY KEY (trans_num, event_time)' })
  })

  test('takes the times of the rows as UTC, wherever the server is', async () => {
    const url = await server.database()
    await server.sql(`ALTER DATABASE ${url.pathname.slice(1)} SET TimeZone = 'America/New_York'`)
    await open(url).insert([prediction(1)])
    const [row] = await look(
      url,
      'SELECT extract(epoch FROM trans_date_trans_time)::int AS at, unix_time FROM predictions',
    )
    expect(row).toEqual({ at: row!.unix_time, unix_time: BigInt(prediction(1).unix_time) })
  })

  test('takes a batch of any size, all or nothing, in statements of a size that a slow server does in time', async () => {
    const url = await server.database()
    const store = open(url)
    await store.insert([])
    await look(
      url,
      `CREATE TABLE statements (count bigint);
       CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN INSERT INTO statements SELECT count(*) FROM inserted; RETURN NULL; END';
       CREATE TRIGGER counted AFTER INSERT ON predictions REFERENCING NEW TABLE AS inserted
         FOR EACH STATEMENT EXECUTE FUNCTION counted()`,
    )
    const bad = { ...prediction(20_001), city: 'a\0b' }
    await expect(store.insert([...predictions(20_000), bad])).rejects.toThrow(Refusal)
    expect(await look(url, 'SELECT * FROM predictions')).toEqual([])
    await store.insert(predictions(20_001).reverse())
    const [{ most, all }] = (await look(url, 'SELECT max(count) AS most, sum(count) AS all FROM statements')) as [
      { most: bigint; all: string },
    ]
    expect(most).toBeLessThanOrEqual(5000)
    expect(Number(all)).toBe(20_001)
  })

  test('is made once by ten that start at the same time, and takes the rows of each', async () => {
    const url = await server.database()
    const stores = Array.from({ length: 10 }, () => open(url))
    await Promise.all(stores.map((store, n) => store.insert(predictions(20, 1 + n * 10))))
    expect(await look(url, 'SELECT count(*) AS n FROM predictions')).toEqual([{ n: 110n }])
    expect(await look(url, 'SELECT * FROM client_predict_schema')).toEqual([{ part: 'predictions', version: 5n }])
  })

  test('of version 1 keeps every verdict, and takes no other than 0, 1 or none from then on', async () => {
    const url = await server.database()
    await open(url).insert([prediction(1), prediction(2), prediction(3)])
    await look(
      url,
      `${TO_VERSION_1};
       UPDATE predictions SET fraud_confirmed = 7 WHERE trans_num = 'trans-1';
       UPDATE predictions SET fraud_confirmed = 1 WHERE trans_num = 'trans-2'`,
    )
    const found = await look(url, 'SELECT * FROM predictions ORDER BY trans_num')
    const before = found.map((row) => ({ ...row, sampled: null, threshold: null }))
    await open(url).insert([])
    expect(await look(url, 'SELECT * FROM predictions ORDER BY trans_num')).toEqual(before)
    for (const verdict of ['0', '1', 'NULL'])
      await look(url, `UPDATE predictions SET fraud_confirmed = ${verdict} WHERE trans_num = 'trans-3'`)
    for (const verdict of ['2', '-1', '32767'])
      await expect(look(url, `UPDATE predictions SET fraud_confirmed = ${verdict}`)).rejects.toThrow('check constraint')
  })

  test('of version 1, where there are many rows, has its indexes made, and the log says before how long that takes', async () => {
    const url = await server.database()
    await open(url).insert([prediction(1)])
    await look(
      url,
      `${TO_VERSION_1};
       INSERT INTO predictions SELECT (jsonb_populate_record(p, jsonb_build_object('trans_num', n, 'job', repeat('y', 1000)))).*
         FROM predictions AS p, generate_series(1, 20000) AS n`,
    )
    const { log, text } = listeningLog()
    const store = postgresStore(url, log)
    onTestFinished(() => store.close())
    await store.insert([])
    expect(text()).toMatch(/^the desk's indexes of 2\d MB of rows are made now, once; that takes about 1\.\d s$/m)
    expect(await look(url, "SELECT 1 AS n FROM pg_indexes WHERE indexname = 'predictions_card'")).toEqual([{ n: 1n }])
  })

  test('of a newer program is refused, and left as it is', async () => {
    const url = await server.database()
    await open(url).insert([])
    await look(url, 'UPDATE client_predict_schema SET version = 6')
    const failure = await open(url)
      .insert([prediction(1)])
      .catch((error) => error)
    expect(failure).not.toBeInstanceOf(Refusal)
    expect(reason(failure)).toBe(
      `cannot record in PostgreSQL at 127.0.0.1:${server.port}${url.pathname}: predictions has schema version 6 and ` +
        'this program knows version 5: update the program, or use another database',
    )
    expect(await look(url, 'SELECT * FROM predictions')).toEqual([])
  })

  test('is still filled when a newer program comes while it is in use', async () => {
    const url = await server.database()
    const store = open(url)
    await store.insert([prediction(1)])
    await look(url, 'UPDATE client_predict_schema SET version = 6')
    await store.insert([prediction(2)])
    expect(await look(url, 'SELECT trans_num FROM predictions')).toHaveLength(2)
  })

  test('that cannot be made says nothing of the rows', async () => {
    const url = await server.database()
    await look(url, 'CREATE TABLE client_predict_schema (part text PRIMARY KEY, version integer CHECK (version > 5))')
    const failure = await open(url)
      .insert([prediction(1)])
      .catch((error) => error)
    expect(failure).not.toBeInstanceOf(Refusal)
    expect(reason(failure)).toMatch(
      /^cannot record in PostgreSQL at .*: new row for relation .* violates check constraint/,
    )
  })

  test('is made again when the database is another one', async () => {
    const url = await server.database()
    const store = open(url)
    await store.insert([prediction(1)])
    await look(url, 'DROP TABLE predictions, client_predict_schema, client_predict_commits')
    await expect(store.insert([prediction(2)])).rejects.not.toBeInstanceOf(Refusal)
    await store.insert([prediction(2)])
    expect(await look(url, 'SELECT trans_num FROM predictions')).toEqual([{ trans_num: 'trans-2' }])
  })
})

describe('rows', { timeout: 120_000 }, () => {
  test('are inserted by fifty thousand at a time', async () => {
    const url = await server.database()
    await open(url).insert(predictions(50_000))
    expect(await look(url, 'SELECT count(*) AS n, sum(event_time) AS sum FROM predictions')).toEqual([
      { n: 50_000n, sum: String(predictions(50_000).reduce((sum, { event_time }) => sum + BigInt(event_time), 0n)) },
    ])
  })

  test.for(['03/04/1980', '29/02/1980', 'today', 'infinity', '1980-1-1', ''])(
    'a day of birth of an earlier release that is %j is no day: nothing is interpreted',
    async (dob) => {
      const url = await server.database()
      await open(url).insert([prediction(1, { dob }), prediction(2)])
      const rows = await look(url, 'SELECT dob::text FROM predictions ORDER BY trans_num')
      expect(rows).toEqual([{ dob: null }, { dob: '1980-02-29' }])
    },
  )

  test('that two processes insert in opposite orders do not block each other', async () => {
    const url = await server.database()
    const [one, other] = [open(url), open(url)]
    const rows = predictions(20_000)
    await Promise.all([one.insert([]), other.insert([])])
    await Promise.all([one.insert(rows), other.insert(rows.toReversed())])
    expect(await look(url, 'SELECT count(*) AS n FROM predictions')).toEqual([{ n: 20_000n }])
  })

  test.for<[string, Partial<Record<keyof Prediction, unknown>>, string]>([
    ['text for a number', { zip: `${LONG_CARD}x` }, 'invalid input syntax for type bigint: …'],
    ['quotes in it', { zip: `x" ${LONG_CARD} "y` }, 'invalid input syntax for type bigint: …'],
    ['lines and quotes in it', { zip: `x"\n${LONG_CARD}\n"y` }, 'invalid input syntax for type bigint: …'],
    ['the name of a column', { zip: '"zip" Ada "zip"' }, 'invalid input syntax for type bigint: …'],
    ['a number too large', { cc_num: LONG_CARD * 10n }, 'value … is out of range for type bigint'],
    ['a flag that is none', { is_fraud: 70_000 }, 'value … is out of range for type smallint'],
    ['a day that is none', { dob: '1980-02-30' }, 'date/time field value out of range: …'],
    ['nothing', { amt: null }, 'null value in column amt of relation predictions violates not-null constraint'],
    ['NUL', { merchant: 'a\0b' }, 'unsupported Unicode escape sequence'],
    ['half of a character', { merchant: 'a\ud83d' }, 'invalid input syntax for type json'],
  ])('%s: refused with what the server says, without the values', async ([, changes, said]) => {
    const url = await server.database()
    const bad = prediction(1, { cc_num: LONG_CARD, ...(changes as Partial<Prediction>) })
    const failure = await open(url)
      .insert([bad])
      .catch((error) => error)
    expect(failure).toBeInstanceOf(Refusal)
    expect(failure.message).toBe(`the database refused the row: ${said}`)
  })

  test('are refused with the name of a constraint that somebody has added', async () => {
    const url = await server.database()
    const store = open(url)
    await store.insert([])
    await look(url, 'ALTER TABLE predictions ADD CONSTRAINT small_amounts CHECK (amt < 1000)')
    await expect(store.insert([prediction(1, { amt: 1000 })])).rejects.toThrow(
      /^the database refused the row: new row for relation predictions violates check constraint small_amounts$/,
    )
  })

  test('are refused without their values in whatever language the server speaks', async () => {
    const url = await server.database()
    const store = open(url)
    await store.insert([])
    await look(
      url,
      `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         RAISE EXCEPTION 'ungültige Eingabesyntax für Typ bigint: »%«', NEW.cc_num USING ERRCODE = '22P02';
       END $$;
       CREATE TRIGGER refuse BEFORE INSERT ON predictions FOR EACH ROW EXECUTE FUNCTION refuse()`,
    )
    await expect(store.insert([prediction(1)])).rejects.toThrow(/: ungültige Eingabesyntax für Typ bigint: …$/)
  })

  test('that may not be written are no refusal', async () => {
    const url = await server.database()
    const store = open(url)
    await store.insert([])
    await look(url, 'REVOKE INSERT ON predictions FROM worker')
    const failure = await store.insert([prediction(1)]).catch((error) => error)
    expect(failure).not.toBeInstanceOf(Refusal)
    expect(reason(failure)).toBe(
      `cannot record in PostgreSQL at 127.0.0.1:${server.port}${url.pathname}: permission denied for table predictions`,
    )
  })

  test('that a server fails to write are no refusal', async () => {
    const url = await server.database()
    const store = open(url)
    await store.insert([])
    await look(
      url,
      `CREATE TABLE answer (code text);
       CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         RAISE EXCEPTION 'not now' USING ERRCODE = (SELECT code FROM answer);
       END $$;
       CREATE TRIGGER fail BEFORE INSERT ON predictions FOR EACH ROW EXECUTE FUNCTION fail()`,
    )
    // It only reads since it failed over, is in a conflict with another one, has no room, gives up, is at fault.
    for (const code of ['25006', '40P01', '53100', '57014', 'XX002']) {
      await look(url, `DELETE FROM answer; INSERT INTO answer VALUES ('${code}')`)
      const failure = await store.insert([prediction(1)]).catch((error) => error)
      expect(failure, code).not.toBeInstanceOf(Refusal)
      expect(reason(failure), code).toMatch(/^cannot record in PostgreSQL at .*: not now$/)
    }
  })
})

describe('a database that is not there', { timeout: 120_000 }, () => {
  test('is no mistake at the start, and is used when it comes', async () => {
    await using own = await startPostgres()
    const url = await own.database()
    await own.stop()
    const store = open(url)
    await expect(store.insert([prediction(1)]).catch(reason)).resolves.toBe(
      `cannot record in PostgreSQL at 127.0.0.1:${own.port}${url.pathname}: connect ECONNREFUSED 127.0.0.1:${own.port}`,
    )
    await own.start()
    await store.insert([prediction(1)])
    expect(await look(url, 'SELECT trans_num FROM predictions')).toEqual([{ trans_num: 'trans-1' }])
  })

  test.for<[string, Partial<URL>, RegExp]>([
    ['a wrong password', { password: 'secret' }, /: password authentication failed for user "worker"$/],
    ['a missing database', { pathname: '/missing' }, /: database "missing" does not exist$/],
  ])('%s is an outage that says so, once and without the password', async ([, changes, said]) => {
    const url = Object.assign(await server.database(), changes)
    const failure = await open(url)
      .insert([prediction(1)])
      .catch((error) => error)
    expect(failure).not.toBeInstanceOf(Refusal)
    expect(reason(failure)).toMatch(said)
    expect(reason(failure).match(/PostgreSQL at/g)).toHaveLength(1)
    expect(reason(failure)).not.toContain('secret')
  })
})

test('while it is not known whether rows were recorded, the log says so; they are there once', {
  timeout: 120_000,
}, async () => {
  const url = await server.database()
  await using proxy = await startProxy(server)
  const { log, text } = listeningLog()
  const store = postgresStore(proxy.through(url), log)
  onTestFinished(() => store.close())
  await store.insert([])
  const committing = proxy.freezeAnswersTo((bytes) => bytes.includes('COMMIT'))
  const inserted = store.insert(predictions(10))
  await committing
  await waitFor('the rows', async () => (await look(url, 'SELECT FROM predictions')).length)
  proxy.cut()
  await waitFor('a line', text)
  expect(text()).toMatch(/^did PostgreSQL at .* do the last commit\?/)
  proxy.mend()
  await inserted
  expect(await look(url, 'SELECT FROM predictions')).toHaveLength(10)
})

test('closed, it leaves no connection behind', { timeout: 120_000 }, async () => {
  const url = await server.database()
  const store = open(url)
  await store.insert([prediction(1)])
  await store.close()
  const ours = "SELECT FROM pg_stat_activity WHERE application_name = 'client-predict' AND datname = current_database()"
  await waitFor('its end', async () => (await look(url, ours)).length === 0)
  await expect(store.insert([prediction(2)])).rejects.toThrow('cannot record')
})

describe('rows, while the database is', { timeout: 120_000 }, () => {
  /** Inserts batch after batch, each until it is done, as the stage does. */
  function keepInserting(store: Store) {
    const state = { done: 0, failures: [] as string[] }
    let stopped = false
    const ended = (async () => {
      while (!stopped) {
        try {
          await store.insert(predictions(50, 1 + state.done))
          state.done += 50
        } catch (error) {
          if (error instanceof Refusal) throw error
          state.failures.push(reason(error))
          await sleep(20)
        }
      }
    })()
    return {
      state,
      /** Resolves when another few batches are done. */
      goesOn: () => {
        const from = state.done
        return waitFor('more rows', () => state.done >= from + 200, 60_000)
      },
      async stop() {
        stopped = true
        await ended
      },
    }
  }
  async function under(disturb: (own: Server, round: number) => Promise<void>) {
    await using own = await startPostgres()
    const url = await own.database()
    const work = keepInserting(open(url))
    await work.goesOn()
    for (let round = 0; round < 3; round++) {
      await sleep(Math.random() * 20) // wherever it is
      await disturb(own, round)
      await work.goesOn()
    }
    await work.stop()
    expect(await look(url, 'SELECT count(*) AS n, max(event_time) AS last FROM predictions')).toEqual([
      { n: BigInt(work.state.done), last: BigInt(prediction(work.state.done).event_time) },
    ])
    return work.state
  }

  test('stopped and started, are there once', async () => {
    const { failures } = await under(async (own, round) => {
      await own.stop(round === 1 ? 'immediate' : 'fast')
      await own.start()
    })
    expect(failures.join('\n')).toMatch(/cannot record in PostgreSQL at/)
  })

  test('killed and started, are there once', async () => {
    await under(async (own) => {
      await own.kill()
      await own.start()
    })
  })

  test('frozen for a while, are there once and nothing fails', async () => {
    const { failures } = await under(async (own) => {
      own.freeze()
      await sleep(1000)
      own.thaw()
    })
    expect(failures).toEqual([])
  })

  test('cut off from here, are there once', async () => {
    await using own = await startPostgres()
    await using proxy = await startProxy(own)
    const url = await own.database()
    const work = keepInserting(open(proxy.through(url)))
    await work.goesOn()
    for (const fail of [proxy.cut, proxy.freeze, proxy.cut, proxy.freeze]) {
      await sleep(Math.random() * 20)
      fail()
      await sleep(300)
      proxy.cut()
      proxy.mend()
      await work.goesOn()
    }
    await work.stop()
    expect(await look(url, 'SELECT count(*) AS n FROM predictions')).toEqual([{ n: BigInt(work.state.done) }])
  })
})
