import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { grouped, plural } from '../io/text.ts'
import { exportLabels, importLabels } from '../review/labels.ts'
import type { Reviews } from '../review/reviews.ts'

/** ms between two words on how far it is */
const EVERY = 5000

/** `npm run label -- import FILE`: what is wrong as it comes, how far it is beside that, and how many verdicts there are. */
export async function takeLabels(reviews: Reviews, file: string): Promise<number> {
  let due = performance.now() + EVERY
  const { verdicts, wrong } = await importLabels(reviews, piecesOf(file), {
    reviewer: 'import',
    tell: (line) => console.log(line),
    progress(lines, verdicts) {
      if (performance.now() < due) return
      due = performance.now() + EVERY
      console.error(`so far: ${grouped(lines)} lines, ${plural(verdicts, 'verdict')} in the database`)
    },
  })
  console.log(`${plural(verdicts, 'verdict')} in the database`)
  return wrong > 0 ? 1 : 0
}

/** `npm run label -- export` */
export async function printLabels(reviews: Reviews): Promise<number> {
  await pipeline(exportLabels(reviews), process.stdout, { end: false })
  return 0
}

/** What stands in a file, as it is read; - is the standard input. */
async function* piecesOf(file: string): AsyncGenerator<string> {
  try {
    yield* file === '-' ? process.stdin.setEncoding('utf8') : createReadStream(file, 'utf8')
  } catch (error) {
    throw new Error(`cannot read ${file}, wants a CSV`, { cause: error })
  }
}
