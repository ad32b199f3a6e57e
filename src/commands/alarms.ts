import { lastFour } from '../card.ts'
import { plural } from '../io/text.ts'
import { clockIn } from '../io/time.ts'
import { dollars, merchantOf, probability, say } from '../notify/shown.ts'
import { addressOf, type Counts, idOf, type Listed } from '../review/reviews.ts'

/** The queue for a terminal: a line for each alarm, and how many there are. */
export function alarmLines(queue: readonly Listed[], counts: Counts, zone: string, desk?: URL): string[] {
  const clock = clockIn(zone)
  return [
    ...queue.map((p) =>
      [
        dollars(p.amt).padStart(12),
        clock(p.event_time),
        `*${lastFour(p.cc_num)}`,
        p.score === null ? '' : probability(p.score),
        say(merchantOf(p) ?? 'unknown merchant', 40),
        desk ? addressOf(desk, p) : idOf(p),
      ].join('  '),
    ),
    `${plural(counts.alarms, 'open alarm')}, ${dollars(counts.sum)}; times are ${zone}`,
  ]
}
