import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../rows.ts'
import { type Environment, quiet, run } from './environment.ts'

const START = 120_000 // ms; the first import of MLflow compiles hundreds of files

export type Report = { mlflow: string; rows: number; frauds: number; precision: number; recall: number }

/** Trains on a labelled history and saves the model in four shapes, a folder each, below `folder`. */
export async function train(env: Environment, history: string, folder: string): Promise<Report> {
  return JSON.parse(await run(env.python, join(import.meta.dirname, 'train.py'), history, folder))
}

export type Served = { url: string; [Symbol.asyncDispose](): Promise<void> }

/** `mlflow models serve` on 127.0.0.1, at a free port unless one is given, ready when it resolves. Disposing ends all of its processes. */
export function serve(env: Environment, model: string, tracking?: string, port?: number): Promise<Served> {
  const args = ['models', 'serve', '-m', model, '-h', '127.0.0.1', '--env-manager', 'local']
  return started(env, { args, health: '/ping', tracking, ...(port !== undefined && { port }) })
}

/** `mlflow server`, tracking and registry, with what it keeps in `folder`. Disposing kills it. */
export function track(env: Environment, folder: string, port: number): Promise<Served> {
  // The SQLAlchemy that pip finds for 2.14.1 is one that it cannot use.
  const store = env.version.startsWith('2.') ? `${folder}/runs` : `sqlite:///${folder}/mlflow.db`
  const kept = ['--backend-store-uri', store, '--artifacts-destination', `${folder}/artifacts`]
  return started(env, { args: ['server', ...kept, '-h', '127.0.0.1', '--workers', '1'], health: '/health', port })
}

type Start = { args: readonly string[]; health: string; port?: number; tracking?: string | undefined }
async function started(env: Environment, { args, health, port: given, tracking }: Start): Promise<Served> {
  const folder = mkdtempSync(join(tmpdir(), 'mlflow-serve-'))
  const path = join(folder, 'server.log')
  const port = given ?? (await freePort())
  const output = openSync(path, 'a')
  const child = spawn(env.python, [join(import.meta.dirname, 'until_eof.py'), env.mlflow, ...args, '-p', `${port}`], {
    cwd: folder,
    stdio: ['pipe', output, output],
    // MLflow looks its server program up in PATH.
    env: {
      ...quiet,
      PATH: `${join(env.mlflow, '..')}${delimiter}${process.env.PATH}`,
      MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false', // the newest would start eight processes that nobody here asks for
      MLFLOW_TRACKING_URI: tracking ?? `file:${folder}/mlruns`,
    },
  })
  closeSync(output)
  const ended = once(child, 'close')
  const end = async () => {
    child.stdin!.end()
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
  const url = `http://127.0.0.1:${port}`
  try {
    await ready(`${url}${health}`, child)
  } catch (cause) {
    const tail = readFileSync(path, 'utf8').slice(-4000)
    await end()
    throw new Error(`mlflow ${args.join(' ')} did not start:\n${tail}`, { cause })
  }
  return { url, [Symbol.asyncDispose]: end }
}

async function ready(url: string, child: ChildProcess) {
  for (const deadline = Date.now() + START; Date.now() < deadline; await sleep(100)) {
    if (child.exitCode !== null) throw new Error(`it ended with exit code ${child.exitCode}`)
    const response = await fetch(url, { signal: AbortSignal.timeout(5000) }).catch(() => undefined)
    if (response?.ok) return
  }
  throw new Error(`no answer at ${url} within ${START / 1000} s`)
}
