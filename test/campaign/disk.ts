import { execFileSync } from 'node:child_process'
import { statfsSync } from 'node:fs'

/** The folder is a disk of its own from now on, in memory: it can be full to the last byte, and take nothing. Wants root on Linux. */
export function smallDisk(path: string) {
  const mount = (...options: string[]) => execFileSync('mount', ['-o', options.join(), path], { stdio: 'pipe' })
  const ROOM = 'size=8g' // as long as it is not used, it is nobody's
  execFileSync('mount', ['-t', 'tmpfs', '-o', ROOM, 'tmpfs', path])
  return {
    /** As large as what is on it; false if that was faster. */
    fill() {
      const { blocks, bfree, bsize } = statfsSync(path)
      try {
        mount('remount', `size=${(blocks - bfree) * bsize}`)
      } catch {
        return false // more has come meanwhile
      }
      return true
    },
    empty: () => mount('remount', ROOM),
    /** While nobody has a file of it open. */
    lock: () => mount('remount', 'ro'),
    unlock: () => mount('remount', 'rw'),
    [Symbol.dispose]: () => void execFileSync('umount', ['-l', path]),
  }
}
