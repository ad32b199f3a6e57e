import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
export type Tools = { prometheus: string; promtool: string }

/**
 * Debian's Prometheus, unpacked into the user's cache folder, once: seconds the first time, nothing afterwards. Undefined where
 * Debian's packages cannot be had.
 */
export async function prometheusTools(): Promise<Tools | undefined> {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'client-predict')
  const home = join(cache, 'prometheus')
  const tools = { prometheus: join(home, 'usr/bin/prometheus'), promtool: join(home, 'usr/bin/promtool') }
  if (existsSync(tools.promtool)) return tools
  try {
    mkdirSync(cache, { recursive: true })
    const part = mkdtempSync(`${home}-`)
    await run('apt-get', ['-qq', 'update']).catch(() => {}) // who is not root has the lists that there are
    await run('apt-get', ['-qq', 'download', 'prometheus'], { cwd: part })
    const [archive = ''] = readdirSync(part).filter((name) => name.endsWith('.deb'))
    await run('dpkg-deb', ['-x', archive, 'x'], { cwd: part })
    renameSync(join(part, 'x'), home) // has its name when it is complete
    rmSync(part, { recursive: true, force: true })
    return tools
  } catch (error) {
    console.warn(`no Prometheus to be had from Debian: ${(error as Error).message.split('\n')[0]}`)
    return existsSync(tools.promtool) ? tools : undefined
  }
}
