import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { arch, homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from '../mlflow/environment.ts'

const SCRIPT = fileURLToPath(new URL('base.sh', import.meta.url))
const NODE = fileURLToPath(new URL('../../node_modules/node', import.meta.url))
const TOOLS = ['buildah', 'crun', 'debootstrap'] // Debian's packages have the names of their programs

/** The archive of an image that stands in for node:<version>-slim. Made once: half a minute, nothing afterwards. */
export async function baseImage(): Promise<string> {
  const { version } = JSON.parse(readFileSync(join(NODE, 'package.json'), 'utf8'))
  const recipe = createHash('sha256').update(readFileSync(SCRIPT)).digest('hex').slice(0, 8)
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'client-predict')
  const archive = join(cache, `image-node-${version}-${arch()}-${recipe}.tar`) // has its name when it is complete
  if (!existsSync(archive)) await inOwnMounts('sh', SCRIPT, join(NODE, 'bin/node'), version, archive)
  return archive
}

/** Installs what an image is built and started with, where Debian's packages can be installed. */
export async function requireTools() {
  const needs = `the tests of the image need ${TOOLS.join(', ')}, and root`
  if (process.getuid?.() !== 0)
    throw new Error(`${needs} on Linux: this is ${process.platform}, user ${process.getuid?.()}`)
  const found = await Promise.all(TOOLS.map((tool) => run(tool, '--version').then(Boolean, () => false)))
  const missing = TOOLS.filter((_, i) => !found[i])
  if (missing.length === 0) return
  try {
    await run('apt-get', '-qq', 'update')
    await run(
      'env',
      'DEBIAN_FRONTEND=noninteractive',
      'apt-get',
      '-qq',
      'install',
      '--no-install-recommends',
      ...missing,
    )
  } catch (cause) {
    throw new Error(`${needs}; ${missing.join(', ')} could not be installed`, { cause })
  }
}

/** Runs a program to its end. What it mounts, nobody else sees, and it is gone with the program. */
export const inOwnMounts = (...command: string[]) => run('unshare', '--mount', ...command)
