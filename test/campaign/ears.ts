import { simpleParser } from 'mailparser'
import type { openWorld } from './world.ts'

type World = Pick<Awaited<ReturnType<typeof openWorld>>, 'mails' | 'posts'>
type Message = { first: Buffer; apart: boolean; taken: boolean; of: ReadonlySet<string> }
export type Ears = ReturnType<typeof openEars>

const TRANS_NUM = /(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])/g
const named = (text: string) => new Set(text.match(TRANS_NUM))

/** What people were told, read once however often it is asked for: by message, and in how many each transaction is. */
export function openEars(world: World) {
  const [letters, bodies] = [new Map<string, Message>(), new Map<string, Message>()]
  let [mails, posts] = [0, 0]

  async function heard(list: Map<string, Message>, id: string, raw: Buffer, taken: boolean, read: () => unknown) {
    const known = list.get(id)
    if (known) {
      known.apart ||= !raw.equals(known.first)
      known.taken ||= taken
    } else list.set(id, { first: raw, apart: false, taken, of: named(String(await read())) })
  }
  const inHowMany = (list: Map<string, Message>) => {
    const many = new Map<string, number>()
    for (const { of, taken } of list.values()) if (taken) for (const one of of) many.set(one, (many.get(one) ?? 0) + 1)
    return many
  }
  return {
    async listen() {
      const seen = world.mails()
      for (; mails < seen.length; mails++) {
        const { raw, taken } = seen[mails]!
        const id = /^Message-ID:\s*(\S+)/im.exec(raw.toString('latin1'))![1]!
        await heard(letters, id, raw, taken, async () => {
          const { subject, text, html, attachments } = await simpleParser(raw)
          return [subject, text, html, ...attachments.map(({ content }) => content)].join('\n')
        })
      }
      for (; posts < world.posts.length; posts++) {
        const { key, body } = world.posts[posts]!
        await heard(bodies, key, Buffer.from(body), true, () => body)
      }
      return { letters, bodies, inMails: inHowMany(letters), inPosts: inHowMany(bodies) }
    },
  }
}
