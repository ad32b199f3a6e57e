import { namedAs } from '../registry/registry.ts'
import type { Topics } from '../topic/topic.ts'

/** Where which model is the champion is noted, and who made it that; of the latter so many are kept. */
const [KEY, KEPT] = ['models', 200]
/** ms after which what is known of it is looked at anew, and after which nobody goes on without that */
const [OLD, TOO_OLD] = [400, 800]

/** The models of the settings: which one is at MODEL_URL, and which at CHALLENGER_URL, if there is one. */
export type Names = { model: string; challenger?: string | undefined }
export type Role = keyof Names
/** `before`: which one was the champion until then; `at` in ms since 1970; `n`: the how manyth. */
export type Promotion = { champion: string; before: string; by: string; at: number; n?: number }
/** Which of them judges, and what each is called now: an alias as MODEL_NAME stands for one version at a time. */
export type Roles = { role: Role; model: string; challenger: string | undefined }
export type Champion = ReturnType<typeof openChampion>

/** Which of the models is the champion: durable in the topics, and the same for all processes within a second. */
export function openChampion(
  { append, state }: Pick<Topics, 'append' | 'state'>,
  names: Names,
  { now = Date.now, stranger = (_: string) => {} } = {},
) {
  let known: { at: number; roles: Roles } | undefined
  let looking: Promise<Roles> | undefined
  let told = ''
  const { registered, alias } = namedAs(names.model)
  const { challenger } = names

  const promotion = async () => (await state(KEY, { exact: true })).get(KEY) as Promotion | undefined
  const isVersion = (name: string) => namedAs(name).version !== undefined && namedAs(name).registered === registered
  /** A name that is none of them any more says nothing: the model of MODEL_URL judges. */
  function rolesOf(noted: Promotion | undefined): Roles {
    const bound =
      alias && [noted?.champion, noted?.before].find((name) => name && name !== challenger && isVersion(name))
    const model = bound || names.model
    const champion = noted?.champion ?? model
    if (champion !== model && champion !== challenger && champion !== told) stranger(champion)
    told = champion
    return { role: champion === challenger ? 'challenger' : 'model', model, challenger }
  }
  function look(): Promise<Roles> {
    const at = performance.now()
    looking ??= promotion()
      .then((noted) => {
        known = { at, roles: rolesOf(noted) }
        return known.roles
      })
      .finally(() => {
        looking = undefined
      })
    return looking
  }
  /** Two that make the same change at once write the same row. */
  async function change(last: Promotion | undefined, champion: string, before: string, by: string): Promise<Promotion> {
    const n = (last?.n ?? 0) + 1
    const made = { champion, before, by, at: now(), n }
    await append({}, { [KEY]: made, [`${KEY}/${n % KEPT}`]: made })
    await look().catch(() => {})
    return made
  }
  async function both() {
    const noted = await promotion()
    const { role, model, challenger } = rolesOf(noted)
    const [champion, other] = role === 'model' ? [model, challenger] : [challenger!, model]
    return { champion, challenger: other, model, noted }
  }

  return {
    names,
    isVersion,
    /** Which one judges now: known, but for once in a while. */
    async roles(): Promise<Roles> {
      const age = performance.now() - (known?.at ?? Number.NEGATIVE_INFINITY)
      if (!known || age > TOO_OLD) return look()
      if (age > OLD) look().catch(() => {}) // whoever cannot wait any longer says it
      return known.roles
    },
    both,
    /** Who has been made the champion by whom, the last one first. */
    async history(): Promise<Promotion[]> {
      const all = [...(await state(`${KEY}/`)).values()] as Promotion[]
      return all.sort((a, b) => b.n! - a.n!)
    },
    /** The version that an alias as MODEL_NAME stands for, when that is known the first time. */
    async bind(name: string): Promise<void> {
      const { noted, champion, model } = await both()
      if (model !== names.model) return
      if (champion === challenger) await change(noted, champion, name, names.model)
      else await change(noted, name, model, names.model)
    },
    /** The challenger becomes the champion, if that is its name; or the version that the server was started anew from. */
    async promote(name: string, by: string): Promise<Promotion> {
      const { champion, challenger, noted } = await both()
      if (name === champion) throw new Error(`${champion} is the champion already`)
      if (challenger === undefined && !isVersion(name))
        throw new Error(`${name} is no version of ${registered}, as ${registered}/8 is`)
      if (challenger !== undefined && name !== challenger)
        throw new Error(`the challenger is ${challenger}, not ${name}`)
      return change(noted, name, champion, by)
    },
    /** Whoever was the champion before the last promotion is it again. */
    async rollback(by: string): Promise<Promotion> {
      const { champion, challenger, noted } = await both()
      if (noted?.champion !== champion || (alias !== undefined && noted.before === names.model))
        throw new Error(`nothing to take back: ${champion} was not promoted`)
      if (challenger !== undefined && noted.before !== challenger)
        throw new Error(
          `${noted.before}, which was the champion before ${champion}, is at neither MODEL_URL nor CHALLENGER_URL now`,
        )
      return change(noted, noted.before, champion, by)
    },
  }
}
