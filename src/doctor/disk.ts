import { open, readFile, realpath, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Config } from '../config/settings.ts'
import { type Finding, failure, note, ok, skipped, type Target, wrong } from './check.ts'
import { judgeDyno, judgeMount, mountOf } from './mounts.ts'

const WITHIN = 60_000
const SYNCS = 20
const PAGE = 4096
/** ms that one write to the disk may take, in the middle of them: beyond the first it is slow, beyond the second broken */
const [SLOW, STUCK] = [50, 1000]
const MB = 1_000_000

/** One for each folder that the stages of this process write in. */
export function disks(config: Config, env: NodeJS.ProcessEnv): Target[] {
  const { TOPICS_URL, DATABASE_URL, STAGES, SMTP_URL } = config
  const files = { TOPICS_URL, ...(STAGES.includes('record') && { DATABASE_URL }) }
  const used = Object.entries(files).flatMap(([setting, place]) =>
    place.engine === 'sqlite' ? [{ setting, folder: resolve(dirname(place.path)) }] : [],
  )
  if (!SMTP_URL && STAGES.includes('alert')) used.push({ setting: 'SMTP_URL', folder: resolve('outbox') })
  return [...Map.groupBy(used, ({ folder }) => folder)].map(([folder, uses]) => {
    const settings = uses.map(({ setting }) => setting)
    return { name: 'disk', within: WITHIN, look: () => look(folder, settings, config, env) }
  })
}

async function look(folder: string, settings: string[], config: Config, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const setting = settings.join(' and ')
  const sqlite = String(settings) !== 'SMTP_URL'
  try {
    const there = await existing(folder)
    const findings = [await speed(there), await room(there, sqlite ? config.DISK_RESERVE_MB : 0)]
    if (sqlite) findings.push(await lasting(there, setting, env.DYNO, config))
    return [inOneLine(folder, findings)]
  } catch (error) {
    return [failure(error, setting, folder)]
  }
}

/** The worst first; what is wrong with the disk is told with what is right. */
function inOneLine(folder: string, findings: readonly Finding[]): Finding {
  const grave = ['wrong', 'note', 'ok', 'skipped']
  const ordered = findings.toSorted((a, b) => grave.indexOf(a.state) - grave.indexOf(b.state))
  const cure = ordered.flatMap((found) => found.cure ?? []).join('; ')
  const text = `${folder}: ${ordered.map((found) => found.text).join(', ')}`
  return { state: ordered[0]!.state, text, ...(cure && { cure }) }
}

/** The folder, or the one in which it will be made. */
async function existing(folder: string): Promise<string> {
  const found = await stat(folder).catch(() => undefined)
  return found?.isDirectory() || dirname(folder) === folder ? realpath(folder) : existing(dirname(folder))
}

/** How long the disk takes to have a page for certain: each commit waits for it. */
async function speed(folder: string): Promise<Finding> {
  const path = join(folder, `.client-predict-doctor-${process.pid}-${crypto.randomUUID()}`)
  const times: number[] = []
  try {
    await using file = await open(path, 'wx', 0o600)
    for (let i = 0; i < SYNCS; i++) {
      const began = performance.now()
      await file.write(Buffer.alloc(PAGE, i), 0, PAGE, i * PAGE)
      await file.sync()
      times.push(performance.now() - began)
    }
  } finally {
    await rm(path, { force: true })
  }
  return judgeSpeed(times)
}

export function judgeSpeed(times: readonly number[]): Finding {
  const sorted = times.toSorted((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)]!
  const text = `fsync in ${milliseconds(median)} (worst ${milliseconds(sorted.at(-1)!)})`
  if (median <= SLOW) return ok(text)
  const cure = 'each commit waits that long: put the SQLite files on a faster disk (SSD)'
  return (median > STUCK ? wrong : note)(`slow: ${text}`, cure)
}
const milliseconds = (ms: number) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`

async function room(folder: string, reserve: number): Promise<Finding> {
  const { bavail, bsize } = await statfs(folder)
  return judgeRoom(Math.floor((bavail * bsize) / MB), reserve)
}

/** In MB. */
export function judgeRoom(free: number, reserve: number): Finding {
  const text = `${free < 10_000 ? `${free} MB` : `${Math.round(free / 1000)} GB`} free`
  if (free < reserve)
    return wrong(`only ${text}, and DISK_RESERVE_MB=${reserve}: nothing is fetched`, 'make room on this disk')
  if (free < 2 * reserve)
    return note(`only ${text}; below DISK_RESERVE_MB=${reserve} the fetching stops`, 'make room soon')
  return ok(text)
}

/** Whether what is written here is there tomorrow, and SQLite can work on it at all. */
async function lasting(folder: string, setting: string, dyno = '', config: Config): Promise<Finding> {
  const { ALLOW_EPHEMERAL: ephemeral, NODE_ENV } = config
  if (dyno.trim()) return judgeDyno(setting, ephemeral)
  const mount = mountOf(folder, await readFile('/proc/self/mountinfo', 'utf8').catch(() => ''))
  if (!mount) return skipped('kind of disk not known here')
  return judgeMount(mount, setting, ephemeral || NODE_ENV !== 'production')
}
