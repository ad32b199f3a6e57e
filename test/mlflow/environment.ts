import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { disposable } from '../outside.ts'

/** 2.14.1 is what the first project serves with; `newest` is whatever pip finds today. */
export type Release = '2.14.1' | 'newest'
/** A Python environment with MLflow in it. */
export type Environment = { version: string; python: string; mlflow: string }

/** MLflow 2.14.1 leaves its own requirements open, and the newest of these would break it. */
const PINNED = [
  'mlflow==2.14.1',
  'scikit-learn==1.9.1',
  'imbalanced-learn==0.14.2',
  'pandas==2.3.3',
  'numpy==1.26.4',
  'setuptools==80.9.0',
]
const NEWEST_IS_STALE = 30 * 86_400_000 // ms
const OLDER_TRIES = 5
const windows = process.platform === 'win32'

/** Installs MLflow into the user's cache folder, once: minutes the first time, nothing afterwards. */
export async function environment(release: Release): Promise<Environment> {
  const home = join(cacheFolder(), `mlflow-${release}`)
  const marker = join(home, 'complete.json') // written last: without it the install is a half one
  const bin = (name: string) => (windows ? join(home, 'Scripts', `${name}.exe`) : join(home, 'bin', name))
  const pip = (...args: string[]) => run(bin('python'), '-m', 'pip', '--disable-pip-version-check', ...args)
  mkdirSync(cacheFolder(), { recursive: true })
  using _alone = await locked(`${home}.lock`)
  const found = complete(marker, release)
  if (!found) {
    rmSync(home, { recursive: true, force: true })
    await makeVenv(await basePython(release), home)
    if (release === 'newest') await installNewest(pip)
    else await pip('install', ...PINNED)
    const version = await run(bin('python'), '-c', "from importlib.metadata import version; print(version('mlflow'))")
    writeFileSync(marker, JSON.stringify({ version: version.trim(), wanted: wanted(release) }))
  }
  return { version: (found ?? complete(marker, release))!, python: bin('python'), mlflow: bin('mlflow') }
}

/** Two files of tests may want the same install. A lock of SQLite is gone with the process that has it. */
async function locked(path: string) {
  const db = disposable(new DatabaseSync(path))
  for (;;)
    try {
      db.exec('BEGIN EXCLUSIVE')
      return db
    } catch (error) {
      if ((error as { errcode?: number }).errcode !== BUSY) throw error
      await sleep(200)
    }
}
const BUSY = 5

export function cacheFolder() {
  const base = windows ? process.env.LOCALAPPDATA : process.env.XDG_CACHE_HOME
  return join(base || join(homedir(), windows ? 'AppData/Local' : '.cache'), 'client-predict')
}

/** What the marker must name: changed pins are a new install. */
const wanted = (release: Release) => (release === 'newest' ? release : PINNED.join(' '))

function complete(marker: string, release: Release): string | undefined {
  try {
    const { version, wanted: had } = JSON.parse(readFileSync(marker, 'utf8'))
    const stale = release === 'newest' && Date.now() - statSync(marker).mtimeMs > NEWEST_IS_STALE
    return had === wanted(release) && !stale ? version : undefined
  } catch {
    return undefined
  }
}

/** The newest release can be published in part (one of its packages missing): then the next older one it is. */
async function installNewest(pip: (...args: string[]) => Promise<string>) {
  const install = (mlflow: string) => pip('install', mlflow, 'imbalanced-learn')
  try {
    await install('mlflow')
  } catch (error) {
    const listed = await pip('index', 'versions', 'mlflow').catch(() => '')
    const older =
      /Available versions: (.*)/
        .exec(listed)?.[1]
        ?.split(', ')
        .slice(1, 1 + OLDER_TRIES) ?? []
    for (const version of older) {
      const done = await install(`mlflow==${version}`).catch(() => undefined)
      if (done !== undefined) return
    }
    throw error
  }
}

/** 2.14.1 wants numpy 1.26, which has no wheels for Python 3.13; scikit-learn 1.9 wants 3.11. */
export async function basePython(release: Release): Promise<string> {
  const fits = release === 'newest' ? (minor: number) => minor >= 10 : (minor: number) => minor === 11 || minor === 12
  const given = process.env.PYTHON
  const seen: string[] = []
  for (const python of given ? [given] : ['python3', 'python', 'python3.12', 'python3.11']) {
    const version = await run(python, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])').catch(() => undefined)
    const [major, minor] = (version ?? '').split('.').map(Number)
    if (major === 3 && fits(minor!)) return python
    seen.push(`${python}: ${version?.trim() ?? 'not there'}`)
  }
  const range = release === 'newest' ? '3.10 or newer' : '3.11 or 3.12'
  throw new Error(`MLflow (${release}) needs Python ${range}; set PYTHON to one (${seen.join(', ')})`)
}

export async function makeVenv(python: string, home: string) {
  try {
    await run(python, '-m', 'venv', home)
  } catch (cause) {
    throw new Error(`${python} cannot make a virtual environment: are venv and pip installed (python3-venv)?`, {
      cause,
    })
  }
}

/** Runs a program to its end and gives its standard output; its last lines of error are in the error. */
export async function run(program: string, ...args: string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: quiet })
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} failed:\n${err.slice(-4000)}`)
  return out
}

/** Python and MLflow without their advice, and without a word to the outside. */
export const quiet = {
  ...process.env,
  PYTHONWARNINGS: 'ignore',
  PYTHONUNBUFFERED: '1',
  GIT_PYTHON_REFRESH: 'quiet',
  MLFLOW_DISABLE_TELEMETRY: 'true',
  DO_NOT_TRACK: 'true',
}
