import type { Finding } from './check.ts'

/** What becomes of a SQLite file there: `host` and `network` break its log, `container` and `memory` are lost one day. */
export type Kind = 'local' | 'network' | 'host' | 'container' | 'memory'
export type Mount = { point: string; type: string; kind: Kind }

/** Folders of the host, as Docker Desktop, virtual machines and WSL hand them in. */
const HOST = /^(9p|drvfs|virtiofs|fakeowner|(fuse\.)?(grpcfuse|osxfs|vmhgfs-fuse)|vmhgfs|vboxsf|prl_fs)$/
const NETWORK = /^(nfs\d?|cifs|smb\d?|smbfs|afs|ceph|gfs2?|glusterfs|lustre|beegfs|fuse\..+)$/
const CONTAINER = /^(overlay|aufs|fuse\.fuse-overlayfs)$/
const MEMORY = /^(tmpfs|ramfs)$/

const kindOf = (type: string): Kind =>
  CONTAINER.test(type)
    ? 'container'
    : HOST.test(type)
      ? 'host'
      : NETWORK.test(type)
        ? 'network'
        : MEMORY.test(type)
          ? 'memory'
          : 'local'

/**
 * The mount that a path is on, from the text of /proc/self/mountinfo (proc_pid_mountinfo(5)); the path without links.
 * Of two at the same place the later one hides the other.
 */
export function mountOf(path: string, mountinfo: string): Mount | undefined {
  let found: Mount | undefined
  for (const line of mountinfo.split('\n')) {
    const [, , , , escaped, ...rest] = line.split(' ')
    const type = rest[rest.indexOf('-') + 1]
    if (escaped === undefined || type === undefined || !rest.includes('-')) continue
    const point = escaped.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
    const within = point === '/' || path === point || path.startsWith(`${point}/`)
    if (within && point.length >= (found?.point.length ?? 0)) found = { point, type, kind: kindOf(type) }
  }
  return found
}

/** What a SQLite file on it is in for. `ephemeral`: whoever set it up knows that it does not last, or only tries it out. */
export function judgeMount({ point, type, kind }: Mount, setting: string, ephemeral: boolean): Finding {
  const elsewhere = `let ${setting} name a folder on a local disk or on a named volume, or postgres://…`
  switch (kind) {
    case 'local':
      return { state: 'ok', text: `local disk (${type})` }
    case 'network':
      return {
        state: 'wrong',
        text: `${point} is a network drive (${type}), on which SQLite's log breaks`,
        cure: elsewhere,
      }
    case 'host':
      return {
        state: 'wrong',
        text: `${point} is a folder of the host (${type}), on which SQLite's log breaks`,
        cure: elsewhere,
      }
    case 'container':
      return {
        state: 'note',
        text: `it is in the container itself (${type}) and gone with it`,
        cure: `mount a named volume there (docker run -v client-predict:${CONTAINER_DATA}), or set ${setting} to postgres://…`,
      }
    case 'memory':
      return {
        state: ephemeral ? 'note' : 'wrong',
        text: `${point} is in memory (${type}) and gone at the next restart`,
        cure: elsewhere,
      }
  }
}
const CONTAINER_DATA = '/app/data'

export const judgeDyno = (setting: string, ephemeral: boolean): Finding => ({
  state: ephemeral ? 'note' : 'wrong',
  text: 'a dyno loses its disk at every restart (DYNO is set)',
  cure: `set ${setting} to postgres://…, before it matters`,
})
