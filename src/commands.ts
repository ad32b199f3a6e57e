import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { openBeside, openReviewed, placesOf } from './beside.ts'
import { ConfigError, environment, readConfig, unknownNames } from './config/read.ts'
import type { Check } from './doctor/doctor.ts'
import { logger } from './io/log.ts'
import { plural } from './io/text.ts'
import { championOf, pairOf } from './models.ts'
import type { Stopping } from './start.cjs'
import { openStore, openTopics } from './wiring.ts'
import { careRules, openReviews } from './wiring-desk.ts'

/** What stands behind the name of a command: words, options by name, and which flags. */
export type Given = { words: readonly string[]; options: { [name: string]: string | undefined }; flags: Set<string> }
export type Command = {
  usage: string
  meaning: string
  /** options with a value */
  values?: readonly string[]
  /** options without one */
  flags?: readonly string[]
  /** Are these words right? None are, unless it says so. */
  words?(words: readonly string[]): boolean
  /** It stops in good order when it is asked to; others a signal may end in the middle. */
  stops?: true
  /** Resolves with the exit code. Throws UsageError when it does not understand what is given. */
  run(given: Given, stopping: Stopping): Promise<number>
}

/** What was given makes no sense; the message says what does. */
export class UsageError extends Error {}

/** The commands beside the worker itself. All work while it runs. */
export const COMMANDS: Record<string, Command> = {
  doctor: {
    usage: 'doctor [--offline] [--send] [--json]',
    meaning: 'try every outside system (--send: with a test mail)',
    flags: ['offline', 'send', 'json'],
    run: doctorCommand,
  },
  audit: { usage: 'audit', meaning: 'prove that nothing is lost, or say what is', run: auditCommand },
  replay: {
    usage: 'replay --stage record|score [--from …] [--to …] [--into …] [--source topics|database]',
    meaning: 'write rows anew from the topic; judge history with another model, and compare the two',
    values: ['stage', 'from', 'to', 'into', 'source'],
    stops: true,
    run: replayCommand,
  },
  backup: {
    usage: 'backup FOLDER [--keep N]',
    meaning: 'copy both SQLite files, while the worker writes; --keep: each time into a new folder there, and keep N',
    values: ['keep'],
    words: (words) => words.length === 1,
    run: backupCommand,
  },
  restore: {
    usage: 'restore FOLDER [--replace]',
    meaning: 'put a backup back, while no worker runs, and audit it; --replace: what is there is moved away',
    flags: ['replace'],
    words: (words) => words.length === 1,
    run: restoreCommand,
  },
  archive: {
    usage: 'archive [--restore FILE]',
    meaning: 'move rows that are older than ROWS_KEEP_DAYS into yearly Parquet files; put those of a file back',
    values: ['restore'],
    stops: true,
    run: async ({ options: { restore } }, { signal }) => (await import('./archive-command.ts')).run(restore, signal),
  },
  alarms: {
    usage: 'alarms [--limit N]',
    meaning: 'list the alarms that nobody has judged yet, the largest first',
    values: ['limit'],
    run: alarmsCommand,
  },
  export: {
    usage: 'export --validated|--truth [--from …] [--to …] [--since-last] --into FILE|-',
    meaning: 'write what people have judged as the trainer reads it; --truth: and what the producer says',
    values: ['from', 'to', 'into'],
    flags: ['validated', 'truth', 'since-last'],
    run: exportCommand,
  },
  label: {
    usage: 'label import FILE|- | label export',
    meaning: 'take verdicts from a CSV, e.g. chargebacks; print all there are',
    words: ([action, ...files]) =>
      (action === 'import' && files.length === 1) || (action === 'export' && files.length === 0),
    run: labelCommand,
  },
  desk: {
    usage: 'desk password NAME [--lead]',
    meaning: 'read a password from the standard input, and print the entry of REVIEWERS',
    flags: ['lead'],
    words: ([action, name = '', ...rest]) =>
      action === 'password' && /^(?!.*\d{11})[\w.@+-]{1,60}$/.test(name) && rest.length === 0,
    run: deskCommand,
  },
  model: {
    usage: 'model status | model promote NAME | model rollback',
    meaning: 'say which model judges and how the challenger compares; make the challenger the champion; take that back',
    words: (words) => /^(status|rollback|promote \S+)$/.test(words.join(' ')),
    run: async ({ words: [action, name] }) => (await import('./model-command.ts')).modelCommand(action!, name),
  },
  quality: {
    usage: 'quality [--json]',
    meaning: 'say how good each model is: frauds caught and missed, false alarms, money',
    flags: ['json'],
    run: qualityCommand,
  },
  'dead-letters': {
    usage: 'dead-letters [retry [id…] | discard id…]',
    meaning: 'list what was set aside, and why; put it back; cross it out',
    words: ([action, ...ids]) => action === undefined || action === 'retry' || (action === 'discard' && ids.length > 0),
    run: deadLettersCommand,
  },
  simulate: {
    usage: 'simulate --rows N [--seed S]',
    meaning: 'print simulated, labelled history as CSV, to train a model on',
    values: ['rows', 'seed'],
    run: simulateCommand,
  },
}

async function doctorCommand({ flags }: Given): Promise<number> {
  const { describeCheck, doctor } = await import('./doctor/doctor.ts')
  const json = flags.has('json')
  const checks: Check[] = []
  const tell = (check: Check) => {
    checks.push(check)
    if (!json) console.log(describeCheck(check, process.stdout.isTTY && !process.env.NO_COLOR))
  }
  try {
    const env = environment()
    const config = readConfig(env)
    const from = existsSync('.env') ? `${resolve('.env')} and the environment` : 'the environment, no .env here'
    tell({ name: 'settings', state: 'ok', text: `from ${from}; folder ${process.cwd()}` })
    for (const text of unknownNames(env)) tell({ name: 'settings', state: 'note', text })
    const log = logger('silent') // what goes wrong is told by the checks
    for await (const check of doctor({
      config,
      env,
      openTopics: () => openTopics(config, log, { worker: false }),
      openStore: () => openStore(config, log),
      openReviews: () => openReviews(config),
      offline: flags.has('offline'),
      send: flags.has('send'),
      waiting: (text) => console.error(text),
    }))
      tell(check)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    for (const text of error.lines) tell({ name: 'settings', state: 'wrong', text })
  }
  const ok = checks.every(({ state }) => state !== 'wrong')
  if (json) console.log(JSON.stringify({ ok, checks }, undefined, 2))
  return ok ? 0 : 1
}

async function auditCommand(): Promise<number> {
  const { audit } = await import('./commands/audit.ts')
  await using beside = await openBeside()
  const { topics, config } = beside
  const { lines, holds } = await audit({ topics, store: await beside.store(), retentionDays: config.RETENTION_DAYS })
  console.log(lines.join('\n'))
  return holds ? 0 : 1
}

async function replayCommand(
  { options: { stage, from, to, into, source } }: Given,
  stopping: Stopping,
): Promise<number> {
  if (stage !== 'record' && stage !== 'score') throw new UsageError('replay wants --stage record or --stage score')
  if (stage === 'record' && (into ?? source) !== undefined)
    throw new UsageError('--into and --source go with --stage score alone')
  if (source !== undefined && source !== 'topics' && source !== 'database')
    throw new UsageError('--source wants topics or database')
  const { replayCommand: run } = await import('./replay-command.ts')
  return run({ stage, from, to, into, source }, stopping)
}

async function backupCommand({ words: [folder], options: { keep } }: Given): Promise<number> {
  if (keep !== undefined && !/^[1-9]\d{0,3}$/.test(keep)) throw new UsageError('--keep wants a whole number')
  const { backup } = await import('./commands/backup.ts')
  const { rotate } = await import('./commands/rotate.ts')
  const lines = keep ? await rotate(folder!, placesOf(), Number(keep)) : await backup(folder!, placesOf())
  console.log(lines.join('\n'))
  return 0
}

async function restoreCommand({ words: [folder], flags }: Given): Promise<number> {
  const { restore } = await import('./commands/restore.ts')
  console.log((await restore(folder!, placesOf(), { replace: flags.has('replace') })).join('\n'))
  return auditCommand()
}

async function alarmsCommand({ options: { limit = '20' } }: Given): Promise<number> {
  if (!/^[1-9]\d{0,4}$/.test(limit)) throw new UsageError('--limit wants a whole number')
  const { alarmLines } = await import('./commands/alarms.ts')
  await using open = await openReviewed()
  const { DESK_URL: url, TIME_ZONE: zone } = open.config
  const [queue, counts] = [await open.reviews.queue('alarms', Number(limit)), await open.reviews.counts()]
  console.log(alarmLines(queue, counts, zone, url).join('\n'))
  return 0
}

async function exportCommand({ options: { from, to, into }, flags }: Given): Promise<number> {
  if (flags.has('validated') === flags.has('truth')) throw new UsageError('export wants --validated or --truth')
  if (flags.has('truth') && flags.has('since-last')) throw new UsageError('--since-last goes with --validated alone')
  if (!into) throw new UsageError('export wants --into, a file or - for the standard output')
  const { exportRows, openExport } = await import('./commands/export.ts')
  const { readRange } = await import('./commands/range.ts')
  const range = readRange(from, to)
  const time = (point: typeof range.from, otherwise: number) => {
    if (point && 'offset' in point) throw new UsageError('--from and --to want times')
    return point?.time ?? otherwise
  }
  const [first, end] = [time(range.from, 0), time(range.to, Number.MAX_SAFE_INTEGER)]
  await using open = await openReviewed()
  const since = flags.has('since-last') ? await open.reviews.lastExport() : undefined
  const kind = flags.has('truth') ? 'truth' : 'validated'
  const wanted = { kind, from: first, to: end, ...(since && { since }) } as const
  const { TOPICS_URL: topics, DATABASE_URL: database } = open.config
  await using output = await openExport(into, { topics, database })
  console.error((await exportRows(open.reviews, wanted, into, output)).join('\n'))
  return 0
}

async function qualityCommand({ flags }: Given): Promise<number> {
  const { openCare } = await import('./care/care.ts')
  const { qualityLines } = await import('./commands/quality.ts')
  await using open = await openReviewed()
  const { config, reviews } = open
  await using beside = config.CHALLENGER_NAME ? await openBeside() : undefined
  const pair = beside && pairOf(config, championOf(config, beside.log, beside.topics))
  const care = openCare({ reviews, rules: careRules(config), pair })
  const [quality, compared] = [await care.quality(), await care.compared()]
  const json = () => JSON.stringify({ ...quality, ...(compared && { compared }) }, undefined, 2)
  console.log(flags.has('json') ? json() : qualityLines(quality, compared).join('\n'))
  return 0
}

async function labelCommand({ words: [action, file] }: Given): Promise<number> {
  const { printLabels, takeLabels } = await import('./commands/label.ts')
  await using open = await openReviewed()
  return await (action === 'export' ? printLabels(open.reviews) : takeLabels(open.reviews, file!))
}

async function deskCommand({ words: [, name], flags }: Given): Promise<number> {
  const { reviewerEntry } = await import('./desk/keys.ts')
  if (process.stdin.isTTY) console.error('password, then Enter and Ctrl-D:')
  const password = readFileSync(0, 'utf8').replace(/\r?\n$/, '')
  if (password.length < 8) throw new UsageError('a password has 8 characters or more')
  console.log(await reviewerEntry(name!, password, flags.has('lead')))
  return 0
}

async function deadLettersCommand({ words: [action, ...ids] }: Given): Promise<number> {
  const { describeLetter, discardLetters, openLetters, retryLetters } = await import('./commands/dead-letters.ts')
  await using beside = await openBeside()
  const { topics } = beside
  if (action) {
    const { lines, stuck } =
      action === 'retry' ? await retryLetters(topics, await beside.store(), ids) : await discardLetters(topics, ids)
    console.log(lines.join('\n') || 'no dead letters')
    return stuck > 0 ? 1 : 0
  }
  const letters = await openLetters(topics)
  for (const [id, letter] of letters) console.log(describeLetter(id, letter))
  const found = `${plural(letters.size, 'dead letter')}; npm run dead-letters -- retry puts back what can pass by now`
  console.log(letters.size === 0 ? 'no dead letters' : found)
  return 0
}

async function simulateCommand({ options: { rows, seed = '1' } }: Given): Promise<number> {
  if (!/^[1-9]\d{0,8}$/.test(rows ?? '')) throw new UsageError('simulate wants --rows N, a whole number of rows')
  if (!/^\d{1,9}$/.test(seed)) throw new UsageError('--seed wants a whole number')
  const { pipeline } = await import('node:stream/promises')
  const { csv } = await import('./simulate/csv.ts')
  await pipeline(csv({ rows: Number(rows), seed: Number(seed) }), process.stdout).catch((error) => {
    if (error.code !== 'EPIPE') throw error // the reader, e.g. head, has had enough
  })
  return 0
}
