import type { Ears } from './ears.ts'
import { idOf, isFraud, type Row } from './rows.ts'
import type { openWorld } from './world.ts'

type World = Awaited<ReturnType<typeof openWorld>>
type Recorded = Record<string, unknown>
export type Check = [what: string, figure: string, holds: boolean]

const few = (list: readonly unknown[]) => (list.length > 0 ? `${list.length}, e.g. ${list.slice(0, 3).join(' ')}` : '0')
const none = (what: string, list: readonly unknown[]): Check => [what, few(list), list.length === 0]

/** Is another one recorded than was handed out, or judged otherwise than the model did? */
export function isWrong(one: Row, there: Recorded): boolean {
  const same = ['cc_num', 'amt', 'is_fraud', 'city_pop'].every((name) => `${there[name]}` === `${one[name]}`)
  const time = Number(there.unix_time) === Math.floor(one.current_time / 1000)
  return !(same && time && `${there.prediction}` === (isFraud(one) ? '1' : '0') && there.model === 'campaign/1')
}

/** What was handed out against what was recorded. */
export function recordsHeld(world: World, rows: readonly Recorded[]): Check[] {
  const idOfRow = (one: Recorded) => `${one.trans_num}@${one.event_time}`
  const found = new Map(rows.map((one) => [idOfRow(one), one]))
  const owed = world.owed()
  return [
    none('owed rows that are not recorded', owed.filter((one) => !found.has(idOf(one))).map(idOf)),
    none(
      'rows with a wrong value',
      owed.filter((one) => found.has(idOf(one)) && isWrong(one, found.get(idOf(one))!)).map(idOf),
    ),
    none(
      'rows that nobody sent',
      [...found.keys()].filter((id) => !world.sent.has(id)),
    ),
    none('rows that are there twice', Array(rows.length - found.size).fill('')),
    none('cards that the model saw altered', [...world.altered]),
    none('rows sent to the model with their label', Array(world.labels()).fill('')),
    ['rows owed', `${owed.length}`, owed.length > 0],
  ]
}

/** The frauds that no mail, or no post, has yet. */
export async function unsaid(world: World, ears: Ears) {
  const { inMails, inPosts } = await ears.listen()
  const unposted = ({ trans_num }: Row) => !inPosts.has(trans_num) && !world.unposted.has(trans_num)
  return world.owed().filter((one) => isFraud(one) && (!inMails.has(one.trans_num) || unposted(one)))
}

/** Every fraud in one mail and one post, and what came again the same to the byte. */
export async function alarmsHeld(world: World, ears: Ears): Promise<Check[]> {
  const { letters, bodies, inMails, inPosts } = await ears.listen()
  const frauds = world.owed().filter(isFraud)
  /** In how many each fraud is, and which came again as another: the same is asked of mails and of posts. */
  const eachInOne = (
    what: string,
    found: ReadonlyMap<string, number>,
    apart: readonly unknown[],
    owed: (one: Row) => boolean,
  ) => {
    const times = ({ trans_num }: Row) => found.get(trans_num) ?? 0
    return [
      none(`frauds in no ${what}`, frauds.filter((one) => times(one) === 0 && owed(one)).map(idOf)),
      none(`frauds in several ${what}s`, frauds.filter((one) => times(one) > 1).map(idOf)),
      none(`${what}s that came again and are another`, apart),
    ]
  }
  const apart = (list: typeof letters) => [...list].flatMap(([id, { apart }]) => (apart ? [id] : []))
  return [
    ...eachInOne('mail', inMails, apart(letters), () => true),
    ...eachInOne('post', inPosts, apart(bodies), ({ trans_num }) => !world.unposted.has(trans_num)),
    none(
      'honest transactions mailed',
      world
        .owed()
        .filter((one) => !isFraud(one) && inMails.has(one.trans_num))
        .map(idOf),
    ),
    ['frauds owed', `${frauds.length}, in ${letters.size} mails and ${bodies.size} posts`, frauds.length > 0],
  ]
}

/** Verdicts that were answered, each by its note, against the trail; and the columns against the last of the trail. */
export function verdictsHeld(
  answered: readonly string[],
  notes: readonly unknown[],
  unlike: readonly unknown[],
): Check[] {
  const count = new Map([...Map.groupBy(notes, String)].map(([note, all]) => [note, all.length]))
  return [
    none(
      'verdicts that were answered and are not there',
      answered.filter((note) => !count.has(note)),
    ),
    none(
      'verdicts that are there twice',
      [...count].filter(([, many]) => many > 1).map(([note]) => note),
    ),
    none('rows whose columns are not the last verdict', unlike),
    ['verdicts given', `${answered.length}`, answered.length > 0],
  ]
}

/** No number of a card that was handed out is in what is shown, nor the beginning of one that is longer. */
export function openEyes(world: World) {
  const found: string[] = []
  return {
    look(shown: string) {
      const runs = [...shown.matchAll(/\d{11,}/g)].map(([run]) => run)
      found.push(...runs.filter((run) => world.isCard(run)).map((run) => run.slice(-4)))
    },
    held: () => none('full card numbers in logs, pages, mails and posts', found),
  }
}
