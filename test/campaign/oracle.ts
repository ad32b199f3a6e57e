import { simpleParser } from 'mailparser'
import { idOf, isFraud, type Row } from './rows.ts'
import type { openWorld } from './world.ts'

type World = Awaited<ReturnType<typeof openWorld>>
type Recorded = Record<string, unknown>
export type Check = [what: string, figure: string, holds: boolean]

const few = (list: readonly unknown[]) => (list.length > 0 ? `${list.length}, e.g. ${list.slice(0, 3).join(' ')}` : '0')
const none = (what: string, list: readonly unknown[]): Check => [what, few(list), list.length === 0]

/** What was handed out against what was recorded. */
export function recordsHeld(world: World, rows: readonly Recorded[]): Check[] {
  const idOfRow = (one: Recorded) => `${one.trans_num}@${one.event_time}`
  const found = new Map(rows.map((one) => [idOfRow(one), one]))
  const owed = world.owed()
  const isWrong = (one: Row) => {
    const there = found.get(idOf(one))
    if (!there) return false
    const same = ['cc_num', 'amt', 'is_fraud', 'city_pop'].every((name) => `${there[name]}` === `${one[name]}`)
    const time = Number(there.unix_time) === Math.floor(one.current_time / 1000)
    return !(same && time && `${there.prediction}` === (isFraud(one) ? '1' : '0') && there.model === 'campaign/1')
  }
  return [
    none('owed rows that are not recorded', owed.filter((one) => !found.has(idOf(one))).map(idOf)),
    none('rows with a wrong value', owed.filter(isWrong).map(idOf)),
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
export async function unsaid(world: World) {
  const { frauds, inMails, inPosts } = await said(world)
  return frauds.filter(
    ({ trans_num }) => !inMails.has(trans_num) || !(inPosts.has(trans_num) || world.unposted.has(trans_num)),
  )
}

const TRANS_NUM = /(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])/g
const parsed = new Map<string, string>()
async function said(world: World) {
  const letters = Map.groupBy(world.mails(), ({ raw }) => /^Message-ID:\s*(\S+)/im.exec(raw.toString('latin1'))![1]!)
  const inMails = new Map<string, number>()
  for (const [id, copies] of letters) {
    if (!copies.some(({ taken }) => taken)) continue
    if (!parsed.has(id)) {
      const { subject, text, html, attachments } = await simpleParser(copies[0]!.raw)
      parsed.set(id, [subject, text, html, ...attachments.map(({ content }) => content)].join('\n'))
    }
    for (const of of new Set(parsed.get(id)!.match(TRANS_NUM))) inMails.set(of, (inMails.get(of) ?? 0) + 1)
  }
  const bodies = Map.groupBy(world.posts, ({ key }) => key)
  const inPosts = new Map<string, number>()
  for (const [, copies] of bodies)
    for (const of of new Set(copies[0]!.body.match(TRANS_NUM))) inPosts.set(of, (inPosts.get(of) ?? 0) + 1)
  return { frauds: world.owed().filter(isFraud), letters, bodies, inMails, inPosts }
}

/** Every fraud in one mail and one post, and what came again the same to the byte. */
export async function alarmsHeld(world: World): Promise<Check[]> {
  const { frauds, letters, bodies, inMails, inPosts } = await said(world)
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
  const mailsApart = [...letters].filter(([, copies]) => copies.some(({ raw }) => !raw.equals(copies[0]!.raw)))
  const postsApart = [...bodies].filter(([, copies]) => copies.some(({ body }) => body !== copies[0]!.body))
  const named = (pairs: readonly (readonly [string, unknown])[]) => pairs.map(([name]) => name)
  return [
    ...eachInOne('mail', inMails, named(mailsApart), () => true),
    ...eachInOne('post', inPosts, named(postsApart), ({ trans_num }) => !world.unposted.has(trans_num)),
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

/** No number of a card that was handed out is in it, nor the beginning of one that is longer. */
export function cardsHidden(world: World, shown: string): Check {
  const cards = new Set([...world.sent.values()].map(({ cc_num }) => String(cc_num)))
  const runs = [...shown.matchAll(/\d{11,}/g)].map(([run]) => run)
  return none(
    'full card numbers in logs, pages, mails and posts',
    runs.filter((run) => cards.has(run)).map((run) => run.slice(-4)),
  )
}
