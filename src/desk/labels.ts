import { plural } from '../io/text.ts'
import { importLabels } from '../review/labels.ts'
import { labelsPage } from './pages.ts'
import type { App, Room } from './room.ts'

const ABOUT = 'labels'

/** Verdicts from elsewhere, as chargebacks: for a lead alone, as they count for many payments at once. */
export function labelRoutes(app: App, { reviews, parts, page, refuse, fields, isForm, refuseKey }: Room) {
  app.use('/desk/labels', async (c, next) => {
    if (c.get('person')?.lead) return next()
    return refuse(c, 403, 'For a lead', 'Verdicts are imported by who has --lead in REVIEWERS, or DESK_TOKEN.')
  })
  app.get('/desk/labels', async (c) => {
    const person = c.get('person')!
    return page(c, await labelsPage(parts, fields(person, ABOUT, 'alarms'), [], person))
  })
  app.post('/desk/labels', async (c) => {
    const [form, person] = [c.get('form'), c.get('person')!]
    if (!isForm(person, ABOUT, form.get('key') ?? '')) return refuseKey(c, 'wrong')
    const lines: string[] = []
    const tell = (line: string) => void lines.push(line)
    const { verdicts } = await importLabels(reviews, [form.get('csv') ?? ''], { reviewer: person.name, tell })
    const said = [`${plural(verdicts, 'verdict')} in the database`, ...lines]
    return page(c, await labelsPage(parts, fields(person, ABOUT, 'alarms'), said, person))
  })
}
