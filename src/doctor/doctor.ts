import { setTimeout as sleep } from 'node:timers/promises'
import { maskCards } from '../card.ts'
import type { Config, StageName } from '../config/settings.ts'
import { anyOf } from '../io/abort.ts'
import { reason } from '../io/errors.ts'
import { seconds } from '../io/text.ts'
import type { Store } from '../record/store.ts'
import type { Reviews } from '../review/reviews.ts'
import { orAborted } from '../run/loop.ts'
import type { Topics } from '../topic/topic.ts'
import { challenger } from './challenger.ts'
import { type Check, type Target, wrong } from './check.ts'
import { disks } from './disk.ts'
import { growing } from './growth.ts'
import { mail, webhookTarget } from './mail.ts'
import { model } from './model.ts'
import { producer } from './producer.ts'
import { registry } from './registry.ts'
import { database, topicsTarget } from './storage.ts'

export type { Check } from './check.ts'

export type DoctorOptions = {
  config: Config
  /** only DYNO is read */
  env: NodeJS.ProcessEnv
  /** for a command beside a worker */
  openTopics(): Promise<Topics>
  openStore(): Promise<Store>
  openReviews(): Promise<Reviews>
  /** no call of the producer: it would cost a transaction, or come too soon */
  offline: boolean
  /** a test mail, and a test post to the webhook */
  send: boolean
  /** told what is being waited for, when it takes long */
  waiting?: (text: string) => void
  /** shorter deadlines, for tests: ms */
  within?: number
}

/** ms of waiting without a word */
const PATIENCE = 5000
/** ms that closing may take */
const CLOSE_WITHIN = 5000

/**
 * Tries every system outside that the stages need, with the settings as they are, as the worker would. All are tried at
 * once; each is told in order, as soon as it is known. What hangs is wrong after its deadline; nothing stops the rest.
 */
export async function* doctor(options: DoctorOptions): AsyncGenerator<Check> {
  const { config, waiting = () => {} } = options
  await using open = new AsyncDisposableStack()
  const topics = Promise.resolve().then(options.openTopics)
  open.defer(() => closed(topics))
  const stop = new AbortController()
  open.defer(() => stop.abort(new Error('stopped')))

  const runs = (name: StageName) => config.STAGES.includes(name)
  const targets: Target[] = [
    ...(runs('fetch') ? [producer(config, options.offline, topics)] : []),
    ...(runs('score') ? [model(config)] : []),
    ...(runs('shadow') ? challenger(config) : []),
    ...(runs('score') || runs('shadow') ? registry(config) : []),
    ...(runs('alert') ? [mail(config, options.send), ...webhookTarget(config, options.send)] : []),
    topicsTarget(config, topics),
    ...(runs('record') ? [database(config, options.openStore)] : []),
    ...disks(config, options.env),
    ...(runs('record') ? [growing(config, options.openReviews)] : []),
  ]
  const begun = targets
    .map((target) => ({ ...target, within: options.within ?? target.within }))
    .map((target) => ({ ...target, checks: examined(target, stop.signal) }))
  for (const { name, within, checks } of begun) {
    const timer = setTimeout(() => waiting(`waiting for ${name}, ${seconds(within)} s at most`), PATIENCE)
    yield* await checks.finally(() => clearTimeout(timer))
  }
}

/** Never rejects, and never takes much longer than its deadline. */
async function examined({ name, within, look }: Target, stop: AbortSignal): Promise<Check[]> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new Error(`it is not known how it is after ${seconds(within)} s`)), within)
  const signal = anyOf(stop, late.signal)
  const found = await orAborted(signal, look(signal, within))
    .catch((error) => [wrong(reason(error), 'is it up, does it answer at all?')])
    .finally(() => clearTimeout(timer))
  return found.map(({ state, text, cure }) => {
    return { name, state, text: maskCards(text), ...(cure && { cure: maskCards(cure) }) }
  })
}

async function closed(topics: Promise<Topics>) {
  const done = new AbortController()
  const closing = topics.then((t) => t.close()).catch(() => {})
  await Promise.race([closing, sleep(CLOSE_WITHIN, undefined, { signal: done.signal }).catch(() => {})])
  done.abort()
}

const SHOWN = { ok: 'ok', note: 'note', wrong: 'WRONG', skipped: 'skipped' }
const COLOURS = { ok: 32, note: 33, wrong: 31, skipped: 2 }

/** One line for a person. */
export function describeCheck({ name, state, text, cure }: Check, colour: boolean): string {
  const shown = SHOWN[state].padEnd(7)
  const line = `${name.padEnd(8)} ${text}${cure ? ` → ${cure}` : ''}`.replace(/[\s\p{Cc}\p{Cf}]+/gu, (gap) =>
    /^ +$/.test(gap) ? gap : ' ',
  )
  return `${colour ? `\u001b[${COLOURS[state]}m${shown}\u001b[0m` : shown} ${line}`
}
