import { execFileSync } from 'node:child_process'
import { statfsSync } from 'node:fs'

/** The folder is a disk of its own from now on, in memory: it can be full to the last byte, and take nothing. Wants root on Linux. */
export function smallDisk(path: string) {
  const mount = (...options: string[]) => execFileSync('mount', ['-o', options.join(), path], { stdio: 'pipe' })
  const ROOM = 'size=8g' // as long as it is not used, it is nobody's
  execFileSync('mount', ['-t', 'tmpfs', '-o', ROOM, 'tmpfs', path])
  return {
    /** As large as what is on it, and so many pages more; false if that was faster. */
    fill(spare = 0) {
      const { blocks, bfree, bsize } = statfsSync(path)
      try {
        mount('remount', `size=${(blocks - bfree + spare) * bsize}`)
      } catch {
        return false // more has come meanwhile
      }
      return true
    },
    /** No place for another file, or folder. */
    crowd() {
      const { files, ffree } = statfsSync(path)
      mount('remount', `nr_inodes=${files - ffree}`)
    },
    empty: () => mount('remount', ROOM, 'nr_inodes=100k'),
    /** While nobody has a file of it open. */
    lock: () => mount('remount', 'ro'),
    unlock: () => mount('remount', 'rw'),
    [Symbol.dispose]: () => void execFileSync('umount', ['-l', path]),
  }
}
