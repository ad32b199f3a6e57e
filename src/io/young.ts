import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'

/** bytes; the engine begins with 1 MB, of which most is found alive, and copied, where rows come by the hundred */
const WANTED = 16 * 2 ** 20
let asked = false

const space = () => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')!.space_size

/** More room for what lives for a moment, once there is much of it: looking through it was a third of the work with rows. */
export function makeRoom() {
  if (asked) return
  asked = true
  setFlagsFromString('--semi-space-growth-factor=8') // what it has times that, at the next look where most is alive
  const alive: number[][] = []
  while (space() < WANTED / 2 && alive.length < 1000) alive.push(new Array(1024).fill(0))
  setFlagsFromString('--semi-space-growth-factor=1')
}
