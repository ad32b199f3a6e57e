import type { Compared, Quality } from '../care/care.ts'
import { comparisonLines } from '../care/compare.ts'
import { figuresOf, nameOf } from '../care/words.ts'
import { say } from '../notify/shown.ts'

/** How good each model is, for a terminal. */
export function qualityLines({ truth, boards }: Quality, compared?: Compared): string[] {
  const whose = truth === 'producer' ? "the producer's is_fraud, where no person has said otherwise" : 'verdicts alone'
  if (boards.length === 0) return ['no model has judged anything that is in the database']
  return [
    `What was fraud: ${whose} (TRUTH=${truth}). Intervals hold 95 times in 100.`,
    ...boards.flatMap((board) => [
      '',
      say(nameOf(board), 80),
      ...figuresOf(board).map(([title, text]) => `  ${title.padEnd(11)}${text}`),
    ]),
    ...(compared
      ? [
          '',
          say(`${compared.challenger}, the challenger, against ${compared.champion}`, 200),
          ...comparisonLines(compared.comparison, compared).map((line) => `  ${say(line, 500)}`),
        ]
      : []),
  ]
}
