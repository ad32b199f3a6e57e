import { html } from 'hono/html'
import type { Board } from '../care/board.ts'
import type { Care, Compared, Shown } from '../care/care.ts'
import { comparisonLines, type Square } from '../care/compare.ts'
import type { Curve } from '../care/curve.ts'
import { BASE } from '../care/drift.ts'
import { dayOf, figuresOf, nameOf, wholeDollars } from '../care/words.ts'
import { grouped, plural } from '../io/text.ts'
import { utc } from '../io/time.ts'
import { say } from '../notify/shown.ts'
import type { Person } from './access.ts'
import { bars, steps } from './chart.ts'
import type { Html, Parts } from './parts.ts'
import { type Choice, choiceOf, promoteRoute } from './promote.ts'
import type { App, Room } from './room.ts'

/** days that a chart shows */
const SHOWN = 60

/** How good the models are, and which one judges. */
export function modelRoutes(app: App, room: Room, care: Care, choice: Choice | undefined) {
  app.get('/desk/models', async (c) => {
    const person = c.get('person')!
    const [shown, chosen] = [await care.shown(), choice ? await choiceOf(room, choice, person) : '']
    return room.page(c, await modelsPage(room.parts, shown, person, chosen))
  })
  if (choice) promoteRoute(app, room, choice)
}

function modelsPage(
  parts: Parts,
  { at, truth, boards, missed, curve, drift, compared }: Shown,
  person: Person,
  chosen: Html | string,
) {
  const { layout, list, when, zone } = parts
  const whose = truth === 'producer' ? "the producer's is_fraud, where no person has said otherwise" : 'verdicts alone'
  const none = html`<p>No model has judged anything that is in the database.</p>`
  return layout(
    'Models',
    html`<h1>Models</h1><p>What was fraud: ${whose}. Intervals hold 95 times in 100. Counted at ${when(at)} ${zone}.</p>
${boards.length === 0 ? none : boards.map((board, i) => boardOf(board, i === 0 ? curve : undefined))}
${compared ? comparedOf(compared) : ''}${chosen}
${drift.length > 0 ? driftOf(drift) : ''}
${missed.length > 0 ? html`<h2>Missed frauds, the last ${String(missed.length)}</h2>${list(missed)}` : ''}`,
    person,
  )
}

function comparedOf({ comparison, waiting, ...names }: Compared): Html {
  const [champion, challenger] = [say(names.champion, 60), say(names.challenger, 60)]
  const { rows, frauds, others } = comparison
  const of = (square: Square, values: (flagged: number, rest: number) => number[]) => [
    { label: champion, values: values(square.both + square.champion, square.challenger + square.neither) },
    { label: challenger, values: values(square.both + square.challenger, square.champion + square.neither) },
  ]
  const caught = { name: 'caught', look: 'legit' }
  const [missed, alarms] = ['missed', 'false alarms'].map((name) => ({ name, look: 'fraud' }))
  return html`<section><h2>${challenger}, the challenger, against ${champion}</h2>
${comparisonLines(comparison, names).map((line) => html`<p>${say(line, 500)}</p>`)}
<p><a href="/desk?tab=disagreements">What ${challenger} alone flags: ${plural(waiting, 'payment')} to look at</a></p>
${
  rows === 0
    ? ''
    : bars(
        'Frauds among the rows that both have judged',
        [caught, missed!],
        of(frauds, (flagged, rest) => [flagged, rest]),
      )
}
${
  rows === 0
    ? ''
    : bars(
        'False alarms among the same rows',
        [alarms!],
        of(others, (flagged) => [flagged]),
      )
}</section>`
}

const driftOf = (watched: Shown['drift']) =>
  html`<h2>Drift</h2><dl>${watched.map(
    ({ model, rows, windows, drifts, accuracy, other }) =>
      html`<dt>${say(model || 'a model without a name', 80)}</dt><dd>${
        rows < BASE
          ? `its base has ${grouped(rows)} of ${grouped(BASE)} rows`
          : drifts.length === 0
            ? `none against its first ${grouped(BASE)} rows, in ${plural(windows, 'window')}`
            : html`${drifts.map(({ text, since }) => html`${say(text, 300)}, since ${utc(since, 10)}<br>`)}${accuracy}`
      }${other === undefined ? '' : html`<br>Another model answers under this name since ${utc(other, 16)} UTC.`}</dd>`,
  )}</dl>`

const boardOf = (board: Board, curve: Curve | undefined) => html`<section><h2>${say(nameOf(board), 80)}</h2>
<dl>${figuresOf(board).map(([title, text]) => html`<dt>${title}</dt><dd>${text}</dd>`)}</dl>
${board.caught + board.missed > 0 ? daysOf(board) : ''}${curve ? curveOf(board, curve) : ''}</section>`

const daysOf = ({ days }: Board) =>
  bars(
    `Frauds by day, the last ${plural(Math.min(SHOWN, days.length), 'day')}`,
    [
      { name: 'caught', look: 'legit' },
      { name: 'missed', look: 'fraud' },
    ],
    days.slice(-SHOWN).map(({ day, caught, missed }) => ({ label: dayOf(day), values: [caught, missed] })),
  )

function curveOf({ threshold }: Board, { costs, present, cheapest, histogram }: Curve): Html {
  const rows = histogram.filter(({ legit, fraud, unknown }) => legit + fraud + unknown > 0)
  const share = (part: number, all: number) => (all === 0 ? 0 : (100 * part) / all)
  const [frauds, others] = [
    rows.reduce((sum, { fraud }) => sum + fraud, 0),
    rows.reduce((sum, { legit, unknown }) => sum + legit + unknown, 0),
  ]
  const marks = [
    ...(threshold === null ? [] : [{ at: threshold, name: `now ${threshold}` }]),
    ...(cheapest ? [{ at: cheapest.at, name: `cheapest ${cheapest.at}` }] : []),
  ]
  return html`${bars(
    'Frauds by score, % of all that are known',
    [{ name: 'frauds', look: 'fraud' }],
    histogram.map(({ from, fraud }) => ({ label: from.toFixed(1), values: [Math.round(share(fraud, frauds))] })),
  )}${bars(
    'Other rows by score, % of them',
    [{ name: 'not known as fraud', look: 'legit' }],
    histogram.map(({ from, legit, unknown }) => ({
      label: from.toFixed(1),
      values: [Math.round(share(legit + unknown, others))],
    })),
  )}${steps(
    'What each threshold would have cost: frauds below it, reviews above, in $',
    costs.map(({ at, cost }) => ({ at, value: cost })),
    marks,
    {
      names: ['threshold', '$'],
      rows: costs.filter((_, i) => i % 5 === 4).map(({ at, cost }) => [String(at), wholeDollars(cost)]),
    },
  )}<p>As it is: ${wholeDollars(present)}. ${cheapest ? proposal(cheapest) : ''}</p>`
}

function proposal({ at, days, saving, interval }: NonNullable<Curve['cheapest']>): string {
  const chosen = `The cheapest threshold on even days was ${at}`
  if (!interval)
    return `${chosen}; what it saves is told from the odd days, from 14 of them on (there are ${grouped(days)}).`
  const [low, high] = interval
  const does = low > 0 ? 'saved' : high < 0 ? 'cost' : 'made no difference that is certain:'
  return `${chosen}; on ${plural(days, 'odd day')} it would have ${does} ${wholeDollars(Math.abs(saving))} (${wholeDollars(low)} to ${wholeDollars(high)}). FRAUD_THRESHOLD sets it.`
}
