import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { Reviewer } from '../config/schemas.ts'
import { DAY, MINUTE } from '../io/time.ts'

/** ms that a link of a mail, and a form or a session, are good for */
export const [LINK, SESSION] = [14 * DAY, DAY / 2]

/** Keys that are good for one thing until a time. They are letters but for the time: nothing in them is taken for a card. */
export type Keys = ReturnType<typeof openKeys>
export function openKeys(secret: string) {
  const sign = (what: string, until: string) =>
    createHmac('sha256', secret)
      .update(`${what}\n${until}`)
      .digest('hex')
      .slice(0, 32)
      .replace(/\d/g, (digit) => 'ghijklmnop'[Number(digit)]!)
  return {
    make(what: string, until: number): string {
      const minute = Math.ceil(until / MINUTE).toString(36)
      return `${minute}.${sign(what, minute)}`
    },
    /** Was it made for this, and is it still good? */
    check(what: string, key: string, now: number): 'good' | 'old' | 'wrong' {
      const [until = '', signed = ''] = key.split('.')
      if (!/^[0-9a-z]{1,9}$/.test(until) || !same(signed, sign(what, until))) return 'wrong'
      return Number.parseInt(until, 36) * MINUTE < now ? 'old' : 'good'
    },
  }
}

/** In a time that does not depend on how much of it is right. */
export function same(one: string, other: string): boolean {
  const hash = (text: string) => createHmac('sha256', 'same').update(text).digest()
  return timingSafeEqual(hash(one), hash(other))
}

const derived = promisify<string, Buffer, number, Buffer>(scrypt)
/** An entry of REVIEWERS. */
export async function reviewerEntry(name: string, password: string, lead: boolean): Promise<string> {
  const salt = randomBytes(16)
  const hash = await derived(password, salt, 32)
  return `${name}:${salt.toString('base64url')}.${hash.toString('base64url')}${lead ? ':lead' : ''}`
}
/** Takes as long for a name that there is not. */
export async function isPassword(reviewer: Reviewer | undefined, password: string): Promise<boolean> {
  const { salt, hash } = reviewer ?? { salt: 'none', hash: '' }
  const found = await derived(password.slice(0, 1000), Buffer.from(salt, 'base64url'), 32)
  return same(found.toString('base64url'), hash)
}
