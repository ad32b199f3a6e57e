import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { waitFor } from './rows.ts'

/** A process of its own, by what it prints; killed at the end of the block if it lives still. */
export function startChild(what: string, command: string, args: readonly string[]) {
  const child = spawn(command, args)
  let said = ''
  let complaint = ''
  child.stdout.on('data', (chunk) => {
    said += chunk
  })
  child.stderr.on('data', (chunk) => {
    complaint += chunk
  })
  const ended = once(child, 'close')
  const lines = () => said.split('\n').slice(0, -1)
  async function kill() {
    child.kill('SIGKILL')
    await ended
  }
  return {
    /** Resolves when there are so many lines, with the last of them. */
    said: (count: number) =>
      waitFor(`${count} lines of "${what}"`, () => {
        if (child.exitCode !== null && lines().length < count) throw new Error(`"${what}" ended: ${complaint}`)
        return lines().length >= count && lines().at(-1)
      }),
    lines,
    goOn: () => child.stdin.write('go on\n'),
    /** Resolves with the exit code. */
    ended: ended.then(([code]) => code),
    kill,
    [Symbol.asyncDispose]: kill,
  }
}
