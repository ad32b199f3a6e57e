import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { run } from '../mlflow/environment.ts'
import { inOwnMounts } from './base.ts'
import type { Image } from './engine.ts'

type Options = {
  env?: Record<string, string>
  /** as `docker run --read-only`; true unless given */
  readOnly?: boolean
  /** a network of its own with nothing in it, instead of this machine's */
  alone?: boolean
}

/** crun refuses a machine that mixes cgroups v1 and v2; here it limits nothing, so it is shown v2 alone. */
const CRUN = `mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit
crun() { command crun --root "$0" --cgroup-manager=disabled "$@"; }
`
/** The container ends when the standard input does: with this process, however that ends. */
const RUN = `${CRUN} exec 3<&0
(cat <&3; crun delete --force "$1") >/dev/null 2>&1 &
crun run --bundle "$2" "$1" </dev/null 3<&-
code=$?
kill $! 2>/dev/null
exit $code`

/**
 * Starts a container of the image as an engine does, without any capability. Its volumes are in `folder`, filled from
 * the image when they are new.
 */
export async function startContainer(
  { image, root }: { image: Image; root: string },
  folder: string,
  options: Options,
) {
  const id = `client-predict-${randomUUID()}`
  const [bundle, state] = [join(folder, id), join(folder, 'state')]
  const volumes = Object.keys(image.Volumes ?? {})
  for (const path of volumes.filter((path) => !existsSync(volume(folder, path)))) {
    mkdirSync(dirname(volume(folder, path)), { recursive: true })
    await run('cp', '-a', join(root, path), volume(folder, path))
  }
  mkdirSync(bundle)
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(runtimeConfig(image, root, volumes, folder, options)))
  const child = spawn('unshare', ['--mount', 'sh', '-c', RUN, state, id, bundle], { stdio: 'pipe' })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
  const end = new Promise<number | null>((resolve) => child.on('close', resolve))
  const crun = (...args: string[]) => inOwnMounts('sh', '-c', `${CRUN} crun "$@"`, state, ...args)
  const { uid, gid } = user(image)
  const inside = ['--user', `${uid}:${gid}`, '--cwd', image.WorkingDir, id]

  return {
    end,
    /** all that it has printed so far */
    text: () => text,
    /** What a program in the container prints. */
    exec: (...command: string[]) => crun('exec', ...inside, ...command),
    signal: (name: string) => crun('kill', id, name),
    /** As `docker stop`, but without an end to its patience. */
    stop: () => crun('kill', id, image.StopSignal ?? 'SIGTERM'),
    /** One health check, as the image wants it. */
    async healthy(): Promise<boolean> {
      const { Test: [how, ...command] = [], Timeout = 30e9 } = image.Healthcheck ?? {}
      if (how !== 'CMD' && how !== 'CMD-SHELL') throw new Error('the image has no health check')
      const program = how === 'CMD' ? command : ['/bin/sh', '-c', ...command]
      const deadline = `timeout --signal KILL ${Timeout / 1e9} crun --root "$0" --cgroup-manager=disabled "$@" >/dev/null 2>&1`
      return inOwnMounts('sh', '-c', CRUN + deadline, state, 'exec', ...inside, ...program).then(
        () => true,
        () => false,
      )
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await end
    },
  }
}

export type Container = Awaited<ReturnType<typeof startContainer>>

/** Where a volume is on this machine. */
export const volume = (folder: string, path: string) => join(folder, 'volumes', path)

/** Only numbers: Kubernetes' `runAsNonRoot` takes nothing else. */
function user({ User = '' }: Image) {
  const [uid = 0, gid = 0] = User.split(':').filter(Boolean).map(Number)
  return { uid, gid }
}

function runtimeConfig(image: Image, root: string, volumes: string[], folder: string, options: Options) {
  const { env = {}, readOnly = true, alone = false } = options
  const tmpfs = (destination: string, mode: string) => ({
    destination,
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', `mode=${mode}`], // the runtime puts devices into /dev
  })
  return {
    ociVersion: '1.0.0',
    process: {
      args: [...(image.Entrypoint ?? []), ...image.Cmd],
      env: [...image.Env, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
      cwd: image.WorkingDir,
      user: user(image),
      noNewPrivileges: true,
    },
    root: { path: root, readonly: readOnly },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      tmpfs('/dev', '755'),
      tmpfs('/dev/shm', '1777'),
      ...volumes.map((destination) => ({
        destination,
        type: 'bind',
        source: volume(folder, destination),
        options: ['bind', 'rw'],
      })),
    ],
    linux: {
      namespaces: ['pid', 'ipc', 'uts', 'mount', ...(alone ? ['network'] : [])].map((type) => ({ type })),
    },
  }
}
