import type { Topics } from '../topic/topic.ts'

/** Where which model is the champion is noted. */
const KEY = 'models'
/** ms after which what is known of it is looked at anew, and after which nobody goes on without that */
const [OLD, TOO_OLD] = [400, 800]

/** The models of the settings: which one is at MODEL_URL, and which at CHALLENGER_URL. */
export type Names = { model: string; challenger: string }
export type Role = keyof Names
/** `before`: which one was the champion until then; `at` in ms since 1970. */
export type Promotion = { champion: string; before: string; by: string; at: number }
export type Champion = ReturnType<typeof openChampion>

/** Which of the two models is the champion: durable in the topics, and the same for all processes within a second. */
export function openChampion(
  { latest, note }: Pick<Topics, 'latest' | 'note'>,
  names: Names,
  { now = Date.now, stranger = (_: string) => {} } = {},
) {
  let known: { at: number; role: Role } | undefined
  let looking: Promise<Role> | undefined
  let told = ''

  const promotion = async () => (await latest(KEY)) as Promotion | undefined
  /** A name that is none of the two any more says nothing: the model of MODEL_URL judges. */
  function roleOf(noted: Promotion | undefined): Role {
    const champion = noted?.champion ?? names.model
    if (champion !== names.model && champion !== names.challenger && champion !== told) stranger(champion)
    told = champion
    return champion === names.challenger ? 'challenger' : 'model'
  }
  function look(): Promise<Role> {
    const at = performance.now()
    looking ??= promotion()
      .then((noted) => {
        known = { at, role: roleOf(noted) }
        return known.role
      })
      .finally(() => {
        looking = undefined
      })
    return looking
  }
  async function change(champion: string, before: string, by: string): Promise<Promotion> {
    const made = { champion, before, by, at: now() }
    await note({ [KEY]: made })
    await look().catch(() => {})
    return made
  }
  async function both() {
    const noted = await promotion()
    const role = roleOf(noted)
    return { champion: names[role], challenger: names[role === 'model' ? 'challenger' : 'model'], noted }
  }

  return {
    names,
    /** Which one judges now: known, but for once in a while. */
    async role(): Promise<Role> {
      const age = performance.now() - (known?.at ?? Number.NEGATIVE_INFINITY)
      if (!known || age > TOO_OLD) return look()
      if (age > OLD) look().catch(() => {}) // whoever cannot wait any longer says it
      return known.role
    },
    both,
    /** The challenger becomes the champion, if that is its name. Throws when it is not. */
    async promote(name: string, by: string): Promise<Promotion> {
      const { champion, challenger } = await both()
      if (name === champion) throw new Error(`${champion} is the champion already`)
      if (name !== challenger) throw new Error(`the challenger is ${challenger}, not ${name}`)
      return change(challenger, champion, by)
    },
    /** Whoever was the champion before the last promotion is it again. */
    async rollback(by: string): Promise<Promotion> {
      const { champion, challenger, noted } = await both()
      if (noted?.champion !== champion) throw new Error(`nothing to take back: ${champion} was not promoted`)
      if (noted.before !== challenger)
        throw new Error(
          `${noted.before}, which was the champion before ${champion}, is at neither MODEL_URL nor CHALLENGER_URL now`,
        )
      return change(challenger, champion, by)
    },
  }
}
