import { open, readFile, realpath, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Config } from '../config/settings.ts'
import { type Finding, type Subject, wrong } from './check.ts'
import { judgeDyno, judgeMount, mountOf } from './mounts.ts'

const WITHIN = 60_000
const SYNCS = 20
const PAGE = 4096
/** ms that one write to the disk may take, in the middle of them: beyond the first it is slow, beyond the second broken */
const [SLOW, STUCK] = [50, 1000]
const MB = 1_000_000

/** A folder that something is kept in, and the settings that say so. */
type Place = { folder: string; settings: string[]; sqlite: boolean }

/** One for each folder that the stages of this process write in. */
export function disks(config: Config, env: NodeJS.ProcessEnv): Subject[] {
  const { TOPICS_URL, DATABASE_URL, STAGES, SMTP_URL } = config
  const places = new Map<string, Place>()
  const add = (folder: string, setting: string, sqlite: boolean) => {
    const place = places.get(folder) ?? { folder, settings: [], sqlite: false }
    places.set(folder, { folder, settings: [...place.settings, setting], sqlite: place.sqlite || sqlite })
  }
  if (TOPICS_URL.engine === 'sqlite') add(resolve(dirname(TOPICS_URL.path)), 'TOPICS_URL', true)
  if (DATABASE_URL.engine === 'sqlite' && STAGES.includes('record'))
    add(resolve(dirname(DATABASE_URL.path)), 'DATABASE_URL', true)
  if (!SMTP_URL && STAGES.includes('alert')) add(resolve('outbox'), 'SMTP_URL', false)
  return [...places.values()].map((place) => ({ name: 'disk', within: WITHIN, look: () => look(place, config, env) }))
}

async function look({ folder, settings, sqlite }: Place, config: Config, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const setting = settings.join(' and ')
  try {
    const there = await existing(folder)
    const findings = [await speed(there), await room(there, sqlite ? config.DISK_RESERVE_MB : 0)]
    if (sqlite) findings.push(await lasting(there, setting, env.DYNO, config))
    return [inOneLine(folder, findings)]
  } catch (error) {
    return [wrong(error, setting, folder)]
  }
}

/** The worst first; what is wrong with the disk is told with what is right. */
function inOneLine(folder: string, findings: readonly Finding[]): Finding {
  const grave = { wrong: 0, note: 1, ok: 2, skipped: 3 }
  const ordered = findings.toSorted((a, b) => grave[a.state] - grave[b.state])
  const cures = ordered.flatMap(({ cure }) => cure ?? [])
  return {
    state: ordered[0]!.state,
    text: `${folder}: ${ordered.map(({ text }) => text).join(', ')}`,
    ...(cures.length > 0 && { cure: cures.join('; ') }),
  }
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
  if (median <= SLOW) return { state: 'ok', text }
  const cure = 'each commit waits that long: put the SQLite files on a faster disk (SSD)'
  return { state: median > STUCK ? 'wrong' : 'note', text: `slow: ${text}`, cure }
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
    return {
      state: 'wrong',
      text: `only ${text}, and DISK_RESERVE_MB=${reserve}: nothing is fetched`,
      cure: 'make room on this disk',
    }
  if (free < 2 * reserve)
    return {
      state: 'note',
      text: `only ${text}; below DISK_RESERVE_MB=${reserve} the fetching stops`,
      cure: 'make room soon',
    }
  return { state: 'ok', text }
}

/** Whether what is written here is there tomorrow, and SQLite can work on it at all. */
async function lasting(
  folder: string,
  setting: string,
  dyno = '',
  { ALLOW_EPHEMERAL, NODE_ENV }: Config,
): Promise<Finding> {
  if (dyno.trim()) return judgeDyno(setting, ALLOW_EPHEMERAL)
  const mountinfo = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '')
  const mount = mountOf(folder, mountinfo)
  return mount
    ? judgeMount(mount, setting, ALLOW_EPHEMERAL || NODE_ENV !== 'production')
    : { state: 'skipped', text: 'kind of disk not known here' }
}
