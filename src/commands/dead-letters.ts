import { maskCards } from '../card.ts'
import { readDocument } from '../fetch/document.ts'
import { reason } from '../io/errors.ts'
import { stringify } from '../io/json.ts'
import { plural } from '../io/text.ts'
import { utc } from '../io/time.ts'
import type { Store } from '../record/store.ts'
import type { Topics, Writes } from '../topic/topic.ts'
import type { DeadLetter, Prediction } from '../transaction.ts'

const MISSING = 'there is no such dead letter, or it was put back already'

/** how the reason of another program's message begins, in a letter of a time when nothing else told it */
const FOREIGN = 'a foreign message'

/** characters of what was set aside that are searched for card numbers, before the first of them are shown */
const SEARCHED = 4096

/** What a terminal obeys, and what turns the direction of a line. */
const UNSEEN = /[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g

/** The dead letters that have not been put back, oldest first. */
export async function openLetters(topics: Topics): Promise<Map<string, DeadLetter>> {
  const letters = new Map<string, DeadLetter>()
  for await (const { id, record } of topics.scan('dead-letters')) {
    if ('retried' in record) letters.delete(record.retried)
    else letters.set(id, record)
  }
  return letters
}

/** One letter for a person: two lines, no card number. */
export function describeLetter(id: string, { stage, at, reason, record }: DeadLetter): string {
  const { body, data } = record as { body?: string; data?: unknown[] }
  const shown = stringify(body?.slice(0, SEARCHED) ?? data?.[0] ?? record).slice(0, SEARCHED)
  const glimpse = maskCards(shown).replace(UNSEEN, '\ufffd') // before it is cut: part of a number would pass
  return `${id.padEnd(6)} ${utc(at)} UTC  ${stage.padEnd(6)} ${maskCards(reason)}\n       ${glimpse.slice(0, 160)}`
}

/** Crosses letters out for good. Resolves with one line for each; `stuck` counts those that are not there. */
export async function discardLetters(
  topics: Topics,
  ids: readonly string[],
): Promise<{ lines: string[]; stuck: number }> {
  const letters = await openLetters(topics)
  const wanted = ids[0] === 'all' ? [...letters.keys()] : [...new Set(ids)]
  const found = wanted.filter((id) => letters.has(id))
  await topics.append({ 'dead-letters': found.map((id) => ({ retried: id, at: Date.now() })) })
  const lines = wanted.map((id) => `${id.padEnd(6)} ${letters.has(id) ? 'discarded' : MISSING}`)
  return { lines, stuck: wanted.length - found.length }
}

/**
 * Puts letters back to where they fell out: rows and transactions into `transactions`, predictions straight into the
 * database, as `predictions` would mail them again. Of a letter that holds several rows those go back that can be read by
 * now, the others are set aside anew. Resolves with one line for each letter; `stuck` counts those of which something stays.
 */
export async function retryLetters(
  topics: Topics,
  store: Store,
  ids: readonly string[],
): Promise<{ lines: string[]; stuck: number }> {
  const letters = await openLetters(topics)
  const lines: string[] = []
  let stuck = 0
  for (const id of new Set(ids.length > 0 ? ids : letters.keys())) {
    const letter = letters.get(id)
    const { problem, writes } = letter ? await again(letter, store) : stays(MISSING)
    if (writes) {
      const retried = { retried: id, at: Date.now() }
      await topics.append({ ...writes, 'dead-letters': [...(writes['dead-letters'] ?? []), retried] })
    }
    if (problem !== undefined) stuck++
    lines.push(`${id.padEnd(6)} ${problem === undefined ? 'put back' : maskCards(problem)}`)
  }
  return { lines, stuck }
}

type Again = { problem?: string; writes?: Writes }
const stays = (why: string): Again => ({ problem: `stays: ${why}` })

/** What is to be written for a letter that goes back, and what is wrong with it, or with some of its rows. */
async function again({ stage, record, reason: first, foreign }: DeadLetter, store: Store): Promise<Again> {
  try {
    if (stage !== 'fetch') {
      const { cc_num, ...rest } = record as Prediction
      const whole = { ...rest, cc_num: BigInt(cc_num) } // inside a letter a short one is read as a number
      if (stage === 'score') return { writes: { transactions: [whole] } }
      await store.insert([whole])
      return { writes: {} }
    }
    const { body } = record as { body?: string }
    if (foreign || first.startsWith(FOREIGN)) {
      const { foreignTransaction } = await import('../engines/kafka/codec.ts')
      return { writes: { transactions: [foreignTransaction(body ?? '', Date.now())] } }
    }
    const { transactions, letters, bad, refused } = readDocument(body ?? stringify(record), Date.now())
    const problem = refused ?? letters[0]?.reason
    if (problem === undefined) return { writes: { transactions } }
    if (transactions.length === 0) return stays(problem)
    return {
      writes: { transactions, 'dead-letters': letters },
      problem: `${plural(transactions.length, 'row')} put back, ${bad} set aside anew: ${problem}`,
    }
  } catch (error) {
    return stays(reason(error))
  }
}
