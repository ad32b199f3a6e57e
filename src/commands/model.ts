import type { Rules } from '../care/board.ts'
import { compare, comparisonLines } from '../care/compare.ts'
import { utc } from '../io/time.ts'
import type { Judgements } from '../review/reviews.ts'
import type { Champion, Promotion } from '../shadow/champion.ts'

export type ModelOptions = {
  champion: Champion
  judgements: Pick<Judgements, 'paired'>
  rules: Rules
  /** a model's name as rows say it */
  stamped(name: string): string
}

/** Which model judges, who made it that, and how the other one compares on the same rows. */
export async function modelStatus({ champion: at, judgements, rules, stamped }: ModelOptions): Promise<string[]> {
  const { champion, challenger, noted } = await at.both()
  if (challenger === undefined) return [`${champion} judges`, ...(noted ? [promotedLine(noted)] : [])]
  const paired = await judgements.paired(stamped(champion), stamped(challenger))
  return [
    `${champion} judges; ${challenger} is the challenger`,
    ...(noted?.champion === champion ? [promotedLine(noted)] : []),
    ...comparisonLines(compare(paired, rules, Date.now(), Math.random), { champion, challenger }),
  ]
}

export const promotedLine = ({ champion, before, by, at }: Promotion) =>
  `${champion} was made the champion by ${by} at ${utc(at)} UTC, in the place of ${before}`
