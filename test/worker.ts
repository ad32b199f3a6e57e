import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const source = (name: string) => fileURLToPath(new URL(`../src/${name}`, import.meta.url))
export const MAIN = source('main.ts')
/** What Node.js is given to start the program. */
export const START = ['-r', source('start.cjs'), MAIN]
/** Half of a start is to compile what was compiled before. */
const NODE_COMPILE_CACHE = join(tmpdir(), 'node-compile-cache')

/** The real process, in a folder of its own, with these settings and none of the surroundings. */
export function startWorker(folder: string, settings: Record<string, string>, ...args: string[]) {
  const { PATH = '', SystemRoot = '' } = process.env
  const env = { PATH, SystemRoot, PORT: '0', NODE_COMPILE_CACHE, ...settings }
  return startProgram(process.execPath, [...START, ...args], folder, env)
}

/** A process of which all is kept that it prints. */
export function startProgram(command: string, args: readonly string[], cwd: string, env: Record<string, string>) {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
  const end = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal })),
  )
  return {
    end,
    /** all that it has printed so far */
    text: () => text,
    running: () => child.exitCode === null && child.signalCode === null,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await end
    },
  }
}
