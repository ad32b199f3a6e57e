import { readConfig } from '../../src/config/read.ts'
import type { Config } from '../../src/config/settings.ts'
import { type Check, type DoctorOptions, describeCheck, doctor } from '../../src/doctor/doctor.ts'
import { logger } from '../../src/io/log.ts'
import { openStore, openTopics } from '../../src/wiring.ts'
import { openReviews } from '../../src/wiring-desk.ts'
import { tempDir } from '../rows.ts'

export const ONLY_DISK_IN_MEMORY = { ALLOW_EPHEMERAL: '1' } // where /tmp is one

/** What the doctor says with these settings, its files in a folder that is gone afterwards. */
export async function consult(
  settings: Record<string, string> = {},
  options: Partial<DoctorOptions> = {},
  adjust: (config: Config) => void = () => {},
) {
  await using dir = await tempDir()
  const env = {
    TOPICS_URL: `sqlite:${dir.file('data/topics.db')}`,
    DATABASE_URL: `sqlite:${dir.file('data/fraud.db')}`,
    ...ONLY_DISK_IN_MEMORY,
    ...settings,
  }
  const config = readConfig(env)
  adjust(config)
  const log = logger('silent')
  const checks: Check[] = []
  for await (const check of doctor({
    config,
    env,
    openTopics: () => openTopics(config, log, { worker: false }),
    openStore: () => openStore(config, log),
    openReviews: () => openReviews(config),
    offline: false,
    send: false,
    ...options,
  }))
    checks.push(check)
  const of = (name: string) => checks.filter((check) => check.name === name)
  const lines = checks.map((check) => describeCheck(check, false).replaceAll(dir.path, ''))
  if (process.env.SHOW) console.log(lines.join('\n'))
  return { checks, of, lines, text: lines.join('\n'), failed: checks.some(({ state }) => state === 'wrong') }
}

/** Only what is said of one system, of a process that runs only its stage. */
export async function consultOn(
  name: 'producer' | 'model' | 'challenger' | 'registry' | 'mail' | 'webhook' | 'database',
  settings: Record<string, string>,
  options: Partial<DoctorOptions> = {},
  adjust?: (config: Config) => void,
) {
  const stage = {
    ...{ producer: 'fetch', model: 'score', challenger: 'shadow', registry: 'score' },
    ...{ mail: 'alert', webhook: 'alert', database: 'record' },
  }[name]
  const { checks, lines } = await consult({ STAGES: stage, ...settings }, options, adjust)
  const found = checks.filter((check) => check.name === name)
  return { ...found[0]!, all: found, lines: lines.filter((_, i) => checks[i]!.name === name) }
}
