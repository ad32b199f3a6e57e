import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { getCACertificates } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { run } from '../mlflow/environment.ts'
import { tempDir } from '../rows.ts'
import { baseImage, inOwnMounts, requireTools } from './base.ts'

export const PROJECT = fileURLToPath(new URL('../..', import.meta.url))
/** The base that the Dockerfile wants unless another one is given. */
export const BASE = `docker.io/library/${/^ARG NODE_IMAGE=(.*)$/m.exec(readFileSync(join(PROJECT, 'Dockerfile'), 'utf8'))?.[1]}`

/** What an image says of how it is to be run; times in ns. */
export type Image = {
  User?: string
  WorkingDir: string
  Env: string[]
  Entrypoint?: string[]
  Cmd: string[]
  Volumes?: Record<string, unknown>
  StopSignal?: string
  Labels: Record<string, string>
  Healthcheck?: { Test: string[]; Interval?: number; Timeout?: number; StartPeriod?: number; Retries?: number }
}

/** Builds images without an engine, in a folder of its own with the base of the Dockerfile in it. */
export async function imageBuilder() {
  await requireTools()
  const archive = await baseImage()
  await using opening = new AsyncDisposableStack()
  const dir = opening.use(await tempDir())
  const storage = ['--root', dir.file('images'), '--runroot', dir.file('run'), '--storage-driver']
  const overlay = await inOwnMounts('buildah', ...storage, 'overlay', 'info').then(Boolean, () => false)
  const images = ['buildah', ...storage, overlay ? 'overlay' : 'vfs'] // overlay does not stand on another overlay
  const buildah = (...args: string[]) => inOwnMounts(...images, ...args)
  const base = await buildah('pull', '--quiet', `docker-archive:${archive}`)
  await buildah('tag', base.trim(), BASE)
  const network = await npmNetwork(dir.path)
  const opened = opening.move()

  return {
    /** Resolves with what the build has printed. `docker` format, as the other one has no health check. */
    build: (name: string, context: string, ...args: string[]) =>
      buildah(
        ...['build', '--isolation', 'chroot', '--format', 'docker', '--pull=never', '--layers', ...network],
        ...['--tag', name, ...args, context],
      ),
    /** Gives an image another name in place of its own. */
    async rename(from: string, to: string) {
      await buildah('tag', from, to)
      await buildah('rmi', from)
    },
    /** The configuration of the image, the bytes of its layers over the base, and a folder with its file system. */
    async unpack(name: string): Promise<{ image: Image; added: number; root: string }> {
      const { Docker, Manifest } = JSON.parse(await buildah('inspect', '--type', 'image', name))
      const [, ...layers] = JSON.parse(Manifest).layers as { size: number }[]
      const root = dir.file(`root-${name}`)
      const copy = `container=$("$@" from ${name}) && cp -a "$("$@" mount "$container")" "$0"`
      await inOwnMounts('sh', '-c', copy, root, ...images)
      return { image: Docker.config, added: layers.reduce((sum, { size }) => sum + size, 0), root }
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

/** The project as a person has it whose files nobody else may read, with what must not get into an image. */
export async function projectCopy(folder: string): Promise<string> {
  const left = ['node_modules', '.git', 'data', 'outbox']
  cpSync(PROJECT, folder, { recursive: true, filter: (path) => !left.includes(relative(PROJECT, path)) })
  for (const [path, text] of Object.entries({
    '.env': 'SMTP_URL=smtp://me:secret@127.0.0.1:25',
    '.git/config': '[core]',
    'data/fraud.db': 'rows',
    'outbox/mail.eml': 'Subject: Fraud alert',
    'node_modules/left-over/package.json': '{}',
  })) {
    mkdirSync(join(folder, path, '..'), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  await run('chmod', '-R', 'go=', folder)
  return folder
}

/** What npm needs in the build to get where it gets on this machine: settings, and whom it trusts. (Proxies go along.) */
async function npmNetwork(folder: string): Promise<string[]> {
  const settings = JSON.parse(await run('npm', 'config', 'ls', '--long', '--json'))
  const trusted = [...getCACertificates('default'), settings.cafile ? readFileSync(settings.cafile, 'utf8') : '']
  const lines = ['registry', 'proxy', 'https-proxy', 'noproxy', 'strict-ssl']
    .filter((name) => settings[name] != null && String(settings[name]) !== '')
    .map((name) => `${name}=${settings[name]}`)
  const own = existsSync(settings.userconfig) ? readFileSync(settings.userconfig, 'utf8') : ''
  const logins = own.match(/^(\/\/|@).*=.*$/gm) ?? []
  const mount = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return ['--volume', `${join(folder, name)}:/usr/local/etc/${name}:ro`]
  }
  return [
    ...mount('npmrc', [...lines, ...logins, 'cafile=/usr/local/etc/build-ca.pem', ''].join('\n')),
    ...mount('build-ca.pem', trusted.join('\n')),
  ]
}
