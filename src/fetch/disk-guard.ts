import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Outage } from '../io/errors.ts'
import { freePages } from '../io/sqlite.ts'
import { grouped } from '../io/text.ts'

const MB = 1e6
/** bytes that a waiting record still takes: a prediction of 683 and a row of 366 on average, with simulated rows; rounded up */
const RECORD = 1200
/** Once it was too little, so much more is wanted: else fetching would stop and go on at every call. */
const MORE = 1.1
/** ms between looks; one that takes its time (counting what waits) is taken less often: 1 % of the time at most */
const LOOK = 1000

export type RoomOptions = {
  /** SQLite files; nothing is looked at without any */
  files: readonly string[]
  /** MB that are to stay free on their disks */
  reserve: number
  /** How many records are still to be scored and recorded. */
  waiting(): Promise<number>
  /** The bytes that are free on the disk of a folder. */
  free?: (folder: string) => Promise<number>
  look?: number
}

/**
 * Throws an Outage while the disks have no room for more transactions: what was fetched already is to be scored and
 * recorded, which takes room too. What is free inside the files counts, as they never shrink.
 */
export function openRoom({ files, reserve, waiting, free = freeOn, look = LOOK }: RoomOptions): () => Promise<void> {
  let trouble: Outage | undefined
  let next = Number.NEGATIVE_INFINITY
  async function check(): Promise<Outage | undefined> {
    const wanted = (reserve * MB + (await waiting()) * RECORD) * (trouble ? MORE : 1)
    for (const file of files) {
      const left = (await free(dirname(file))) + freePages(file)
      if (left < wanted)
        return new Outage(
          `${megabytes(left)} MB are free on the disk of ${file}, and ${megabytes(wanted)} are to stay (DISK_RESERVE_MB=${reserve} and what the waiting records need): nothing is fetched until there is room`,
        )
    }
    return undefined
  }
  return async () => {
    if (reserve > 0 && files.length > 0 && performance.now() >= next) {
      const began = performance.now()
      trouble = await check()
      next = performance.now() + look * Math.max(1, (performance.now() - began) / 10)
    }
    if (trouble) throw trouble
  }
}

const megabytes = (bytes: number) => grouped(Math.round(bytes / MB))

async function freeOn(folder: string): Promise<number> {
  const found = await statfs(folder).catch(() => undefined)
  return found ? found.bavail * found.bsize : Number.POSITIVE_INFINITY // what cannot be seen stops nothing
}
