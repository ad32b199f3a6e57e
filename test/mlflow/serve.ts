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

/** `mlflow models serve` on a free port of 127.0.0.1, ready when it resolves. Disposing ends all of its processes. */
export async function serve(env: Environment, model: string): Promise<Served> {
  const folder = mkdtempSync(join(tmpdir(), 'mlflow-serve-'))
  const path = join(folder, 'server.log')
  const port = await freePort()
  const args = ['models', 'serve', '-m', model, '-p', `${port}`, '-h', '127.0.0.1', '--env-manager', 'local']
  const output = openSync(path, 'a')
  const child = spawn(env.python, [join(import.meta.dirname, 'until_eof.py'), env.mlflow, ...args], {
    cwd: folder,
    stdio: ['pipe', output, output],
    // MLflow looks its server program up in PATH.
    env: {
      ...quiet,
      PATH: `${join(env.mlflow, '..')}${delimiter}${process.env.PATH}`,
      MLFLOW_TRACKING_URI: `file:${folder}/mlruns`,
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
    await ready(url, child)
  } catch (cause) {
    const tail = readFileSync(path, 'utf8').slice(-4000)
    await end()
    throw new Error(`mlflow models serve did not start:\n${tail}`, { cause })
  }
  return { url, [Symbol.asyncDispose]: end }
}

async function ready(url: string, child: ChildProcess) {
  for (const deadline = Date.now() + START; Date.now() < deadline; await sleep(100)) {
    if (child.exitCode !== null) throw new Error(`it ended with exit code ${child.exitCode}`)
    const response = await fetch(`${url}/ping`, { signal: AbortSignal.timeout(5000) }).catch(() => undefined)
    if (response?.ok) return
  }
  throw new Error(`no answer to /ping within ${START / 1000} s`)
}
