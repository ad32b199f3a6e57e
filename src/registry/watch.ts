import type { Logger } from 'pino'
import type { Condition } from '../alert/trouble.ts'
import { isBug, reason } from '../io/errors.ts'
import type { Topics } from '../topic/topic.ts'
import { namedAs, type openRegistry, versionName } from './registry.ts'

/** ms between two looks: with the time that an answer may take less than 70 s */
const EVERY = 50_000
/** the alias that is looked at where MODEL_NAME is a version, or a name alone */
const CHAMPION = 'champion'
/** Which version an alias was seen to be, and was acted on. */
const KEY = 'alias'
type Seen = { alias: string; name: string }

export type WatchOptions = {
  registry: Pick<ReturnType<typeof openRegistry>, 'host' | 'absent' | 'versionOf'>
  /** MODEL_NAME and CHALLENGER_NAME */
  names: { model: string; challenger?: string | undefined }
  /** Which one is the champion, and how it is changed: where there is a choice. */
  champion?:
    | {
        both(): Promise<{ champion: string; challenger: string | undefined; model: string }>
        bind(name: string): Promise<void>
        promote(name: string, by: string): Promise<unknown>
      }
    | undefined
  /** PROMOTE_BY_ALIAS */
  promote: boolean
  topics: Pick<Topics, 'append' | 'state'>
  log: Logger
  now?: () => number
  every?: number
}

/**
 * Looks at the registry of the user's MLflow: whether it knows the models of the settings, and which version the alias is.
 * It stops nothing: a registry that is away is said once, and asked again.
 */
export function watchRegistry(options: WatchOptions) {
  const { registry, names, champion, topics, log, promote, now = Date.now, every = EVERY } = options
  const { registered, alias = CHAMPION } = namedAs(names.model)
  const as = `${registered}@${alias}`
  const check = openCheck(registry, names, log)
  let [away, closed] = [false, false]
  let told: { name: string; cure: string; since: number; wrong: string } | undefined

  const seen = async () => {
    const noted = (await topics.state(KEY, { exact: true })).get(KEY) as Seen | undefined
    return noted?.alias === as ? noted.name : undefined
  }
  const isSeen = async (name: string) => {
    if ((await seen()) !== name) await topics.append({}, { [KEY]: { alias: as, name } satisfies Seen })
  }
  async function compare() {
    const version = await registry.versionOf(registered, alias)
    if (version === undefined) return gone()
    const name = versionName(registered, version)
    if (names.model === as) await champion?.bind(name)
    const at = (await champion?.both()) ?? { champion: names.model, challenger: undefined, model: names.model }
    if (name === at.champion) {
      if (told) log.info(`${as} is ${name}, which judges`)
      told = undefined
      return isSeen(name)
    }
    if (namedAs(at.champion).version === undefined && names.model !== as) return // a name alone says nothing of versions
    const served = name === at.challenger
    if (served && promote && (await seen()) !== name) {
      await champion!.promote(name, `the alias ${as}`)
      log.warn(`${as} has moved: ${name} was promoted and judges from now on, in the place of ${at.champion}`)
      told = undefined
      return isSeen(name)
    }
    tell(
      name,
      at.champion,
      served ? `npm run model -- promote ${name}` : started(name, names.model === as && !names.challenger),
    )
  }
  function tell(name: string, judges: string, cure: string) {
    const wrong = `${as} is ${name} in the registry, and ${judges} judges.`
    if (told?.wrong === wrong) return
    told = { name, cure, since: now(), wrong }
    log.warn(`${as} is ${name} in the registry, and ${judges} judges: ${cure}`)
  }
  async function gone() {
    const was = told?.name ?? (await seen())
    told = undefined
    if (was === undefined) return
    await topics.append({}, { [KEY]: null })
    log.warn(`${as}, which was ${was}, is in the registry no more: what judges goes on judging`)
  }
  async function look() {
    try {
      await check()
      await compare()
      if (away) log.info(`the registry at ${registry.host} answers again`)
      away = false
    } catch (error) {
      if (closed) return
      if (isBug(error)) log.error({ err: error }, 'the registry is not looked at as it should be')
      else if (!away)
        log.warn(
          `${reason(error)}: whether it knows ${names.model}, and which version ${as} is, is not known; all goes on, and it is asked again`,
        )
      away = true
    }
  }
  let under: Promise<void> | undefined
  const once = () =>
    (under ??= look().finally(() => {
      under = undefined
    }))
  const timer = setInterval(once, every).unref()
  return {
    look: once,
    /** What the alias says, where that is not what judges. */
    told: () => told && { name: told.name, text: `${told.wrong} To be typed: ${told.cure}` },
    conditions: (): Condition[] => [
      {
        name: `the alias ${as}`,
        wrong: told?.wrong,
        since: told?.since,
        cure: told ? `If that is meant: ${told.cure}` : '',
        subjects: [`${as} is another version than the one that judges`, `${as} is the version that judges again`],
      },
    ],
    [Symbol.dispose]() {
      closed = true
      clearInterval(timer)
    },
  }
}

/** Says once of each name that the registry does not know it. */
function openCheck({ absent, host }: WatchOptions['registry'], names: WatchOptions['names'], log: Logger) {
  const unchecked = new Map(Object.entries({ MODEL_NAME: names.model, CHALLENGER_NAME: names.challenger }))
  return async () => {
    for (const [setting, name] of unchecked) {
      const missing = name && (await absent(name))
      if (missing) log.warn(`${setting}: got "${name}": the registry at ${host} ${missing}; nothing waits for it`)
      else if (setting === 'CHALLENGER_NAME' && name && namedAs(name).alias)
        log.warn(
          `${setting}: got "${name}", an alias: all that it ever stands for is compared as one model, and no alias that moves promotes it; name the version that CHALLENGER_URL serves`,
        )
      unchecked.delete(setting)
    }
  }
}

/** What is to be typed where no server is known that has it. */
function started(name: string, alone: boolean): string {
  const serve = `mlflow models serve -m models:/${name}`
  if (alone) return `start the server at MODEL_URL anew from it (${serve} …), then npm run model -- promote ${name}`
  return `${serve} -p 5001 --env-manager local; MODEL_URL and MODEL_NAME name it to judge at once, CHALLENGER_URL and CHALLENGER_NAME to be tried beside`
}
