import { html } from 'hono/html'
import { plural } from '../io/text.ts'
import { say } from '../notify/shown.ts'
import type { Champion, Promotion } from '../shadow/champion.ts'
import type { Person } from './access.ts'
import type { Html } from './parts.ts'
import type { App, Room } from './room.ts'

const ABOUT = 'champion'
/** promotions that are shown */
const SHOWN = 20

/** Which model judges, where there is a choice; what the registry says otherwise, if it does. */
export type Choice = { champion: Champion; told(): { text: string } | undefined }

/** The part of the page of the models that says who judges, and lets a lead change it. */
export async function choiceOf({ parts, fields }: Room, { champion, told }: Choice, person: Person): Promise<Html> {
  const [at, history] = [await champion.both(), await champion.history()]
  const other = at.challenger
  const form = () =>
    html`<form method="post" action="/desk/models">${parts.hidden({ ...fields(person, ABOUT, 'alarms'), seen: seenOf(at.noted) })}
<label>${other === undefined ? 'Once MODEL_URL serves another version, type its name' : html`Type <b>${say(other, 60)}</b> to have it judge from the next batch on`}
<input name="name" required autocomplete="off" maxlength="200"></label><button>${at.noted?.before === other && other !== undefined ? 'Roll back' : 'Promote'}</button></form>`
  return html`<section><h2>Who judges</h2>
<p><b>${say(at.champion, 60)}</b> judges${other === undefined ? '' : html`; ${say(other, 60)} is the challenger`}.</p>
${told() ? html`<p>${say(told()!.text, 500)}</p>` : ''}
${person.lead ? form() : html`<p>A lead can change that.</p>`}
${
  history.length === 0
    ? ''
    : html`<details open><summary>${plural(history.length, 'change')} of it</summary><ul>${history
        .slice(0, SHOWN)
        .map(
          (one) =>
            html`<li><div><span>${parts.when(one.at)} ${parts.zone}: <b>${say(one.champion, 60)}</b> in the place of ${say(one.before, 60)}, by ${say(one.by, 60)}</span></div></li>`,
        )}</ul></details>`
}</section>`
}

const seenOf = (noted: Promotion | undefined) => String(noted?.n ?? 0)

/** The champion is changed by a lead alone, who types its name, and sees what it is now. */
export function promoteRoute(app: App, { refuse, refuseKey, isForm }: Room, { champion }: Choice) {
  app.post('/desk/models', async (c) => {
    const [form, person] = [c.get('form'), c.get('person')!]
    if (!person.lead)
      return refuse(c, 403, 'For a lead', 'Who judges is changed by who has --lead in REVIEWERS, or DESK_TOKEN.')
    if (!isForm(person, ABOUT, form.get('key') ?? '')) return refuseKey(c, 'wrong')
    const { noted, challenger, champion: judges } = await champion.both()
    if (form.get('seen') !== seenOf(noted))
      return refuse(c, 409, 'Somebody was faster', `${say(judges, 60)} judges by now. Open the page anew.`)
    const name = (form.get('name') ?? '').trim()
    if (challenger !== undefined && name !== challenger)
      return refuse(c, 422, 'Another name', `Nothing was changed: the name to be typed is ${say(challenger, 60)}.`)
    if (challenger === undefined && !champion.isVersion(name))
      return refuse(c, 422, 'Another name', 'Nothing was changed: that is no version of the model in MODEL_NAME.')
    if (name !== judges) await champion.promote(name, person.name)
    return c.redirect('/desk/models', 303)
  })
}
