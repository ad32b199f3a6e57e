import { type Finding, note, ok, wrong } from './check.ts'

/** What becomes of a SQLite file there: `host` and `network` break its log, `container` and `memory` are lost one day. */
export type Kind = 'local' | 'network' | 'host' | 'container' | 'memory'
export type Mount = { point: string; type: string; kind: Kind }

/** The first that fits. Folders of the host as Docker Desktop, virtual machines and WSL hand them in. */
const KINDS: readonly [Kind, RegExp][] = [
  ['container', /^(overlay|aufs|fuse\.fuse-overlayfs)$/],
  ['host', /^(9p|drvfs|virtiofs|fakeowner|(fuse\.)?(grpcfuse|osxfs|vmhgfs-fuse)|vmhgfs|vboxsf|prl_fs)$/],
  ['network', /^(nfs\d?|cifs|smb\d?|smbfs|afs|ceph|gfs2?|glusterfs|lustre|beegfs|fuse\..+)$/],
  ['memory', /^(tmpfs|ramfs)$/],
]
const kindOf = (type: string) => KINDS.find(([, types]) => types.test(type))?.[0] ?? 'local'

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
  const breaks = (what: string) => wrong(`${point} is ${what} (${type}), on which SQLite's log breaks`, elsewhere)
  switch (kind) {
    case 'local':
      return ok(`local disk (${type})`)
    case 'network':
      return breaks('a network drive')
    case 'host':
      return breaks('a folder of the host')
    case 'container':
      return note(
        `it is in the container itself (${type}) and gone with it`,
        `mount a named volume there (docker run -v client-predict:/app/data), or set ${setting} to postgres://…`,
      )
    case 'memory':
      return (ephemeral ? note : wrong)(`${point} is in memory (${type}) and gone at the next restart`, elsewhere)
  }
}

export const judgeDyno = (setting: string, ephemeral: boolean): Finding =>
  (ephemeral ? note : wrong)(
    'a dyno loses its disk at every restart (DYNO is set)',
    `set ${setting} to postgres://…, before it matters`,
  )
