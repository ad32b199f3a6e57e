import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

export type Verb = 'greeting' | 'EHLO' | 'STARTTLS' | 'AUTH' | 'MAIL' | 'RCPT' | 'DATA' | 'dot' | 'RSET' | 'QUIT'
/** What the server is to answer. `session` and `mail` count connections and DATA commands from 1; `raw` is the mail. */
export type Asked = { verb: Verb; line: string; session: number; mail: number; raw: Buffer }
/** A line without its end, or what to do with the socket instead. */
export type Reply = string | ((socket: Socket) => void)
/** A mail whose final dot was seen, to the byte, dots unstuffed. `taken`: answered with 2xx. */
export type Seen = { raw: Buffer; from: string; to: string[]; session: number; taken: boolean }

export const hang = () => {}
export const reset = (socket: Socket) => void socket.resetAndDestroy()
export const hangUp = (socket: Socket) => void socket.end()
/** A byte of an endless answer every `ms`: a session that is never idle and never gets anywhere. */
export const drip = (ms: number) => (socket: Socket) => {
  const timer = setInterval(() => socket.write('2'), ms)
  socket.once('close', () => clearInterval(timer))
}

const GOOD: Record<Verb, string> = {
  greeting: '220 fake ESMTP',
  EHLO: '250-fake\r\n250 8BITMIME',
  STARTTLS: '502 5.5.1 no',
  AUTH: '235 2.7.0 welcome',
  MAIL: '250 2.1.0 ok',
  RCPT: '250 2.1.5 ok',
  DATA: '354 go on',
  dot: '250 2.0.0 queued',
  RSET: '250 2.0.0 ok',
  QUIT: '221 2.0.0 bye',
}

/**
 * An SMTP server on a free port of loopback that follows a script: `answer` speaks first, else a good server does. With
 * a certificate it encrypts when asked to; EHLO says so only if the script does.
 */
export async function scriptedSmtp(
  answer: (asked: Asked) => Reply | undefined = () => undefined,
  identity?: Certificate,
) {
  const state = {
    answer,
    identity,
    /** every mail whose final dot was seen */
    seen: [] as Seen[],
    /** every command line, as it came */
    lines: [] as string[],
    sessions: 0,
    sockets: new Set<Socket>(),
  }
  let mails = 0
  const server = createServer((plain) => {
    const session = ++state.sessions
    state.sockets.add(plain)
    plain.setNoDelay(true).on('close', () => state.sockets.delete(plain))
    let socket: Socket = plain
    let [buffer, inData, mail] = ['', false, 0]
    let envelope = { from: '', to: [] as string[] }

    function say(verb: Verb, line = '', raw = Buffer.alloc(0)): string {
      const good = verb === 'STARTTLS' && state.identity ? '220 2.0.0 go ahead' : GOOD[verb]
      const reply = state.answer({ verb, line, session, mail, raw }) ?? good
      if (typeof reply !== 'string') reply(socket)
      else socket.write(`${reply}\r\n`)
      return typeof reply === 'string' ? reply : ''
    }
    function command(line: string) {
      state.lines.push(line)
      const verb = line.slice(0, line.startsWith('STARTTLS') ? 8 : 4).toUpperCase() as Verb
      const address = /<([^>]*)>/.exec(line)?.[1] ?? ''
      if (verb === 'MAIL') envelope = { from: address, to: [] }
      if (verb === 'RCPT') envelope.to.push(address)
      if (verb === 'DATA') mail = ++mails
      if (!(verb in GOOD)) socket.write('500 5.5.1 what\r\n')
      else {
        const said = say(verb, line)
        if (said.startsWith('354')) inData = true
        if (verb === 'STARTTLS' && said.startsWith('220')) encrypt()
      }
      if (verb === 'QUIT') socket.end()
    }
    function encrypt() {
      plain.removeAllListeners('data')
      listen(new TLSSocket(plain, { isServer: true, ...state.identity }))
    }
    function message(text: string) {
      const raw = Buffer.from(text.replace(/^\.\./gm, '.'), 'latin1')
      const seen = { raw, ...envelope, session, taken: false }
      state.seen.push(seen)
      seen.taken = say('dot', '.', raw).startsWith('2')
    }
    function hear(chunk: Buffer) {
      buffer += chunk.toString('latin1')
      for (;;) {
        const end = inData ? buffer.indexOf('\r\n.\r\n') : buffer.indexOf('\r\n')
        if (end < 0) return
        const text = buffer.slice(0, end)
        buffer = buffer.slice(end + (inData ? 5 : 2))
        if (inData) {
          inData = false
          message(`${text}\r\n`)
        } else command(text)
      }
    }
    function listen(to: Socket) {
      socket = to
      socket.on('error', () => {}).on('data', hear)
    }
    listen(plain)
    say('greeting')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(state, {
    /** what `SMTP_URL` would say of it */
    server: { host: '127.0.0.1', port: (server.address() as AddressInfo).port, secure: false, loopback: true },
    /** the transaction numbers of the mails that were taken, in order */
    taken: () => state.seen.filter(({ taken }) => taken).map(({ raw }) => transNum(raw)),
    async [Symbol.asyncDispose]() {
      for (const socket of state.sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}

/** The transaction that a mail speaks of. */
export const transNum = (raw: Buffer) => /^Transaction: +(\S+?)=?\r?$/m.exec(raw.toString('latin1'))?.[1] ?? '?'

export type Certificate = { key: string; cert: string }

/** A self-signed certificate for 127.0.0.1, made anew; it is trusted only where it is named. */
export function certificate({ from = -1, to = 1 } = {}): Certificate {
  const der = (tag: number, ...parts: Uint8Array[]): Buffer => {
    const body = Buffer.concat(parts)
    const long = body.length < 128 ? [] : [...Buffer.from(body.length.toString(16).padStart(4, '0'), 'hex')]
    return Buffer.concat([Buffer.from([tag, ...(long.length > 0 ? [0x82, ...long] : [body.length])]), body])
  }
  const list = (...parts: Uint8Array[]) => der(0x30, ...parts)
  const named = (hex: string) => der(0x06, Buffer.from(hex, 'hex'))
  const days = (n: number) =>
    der(0x17, Buffer.from(`${new Date(Date.now() + n * 86_400_000).toISOString().replace(/\D/g, '').slice(2, 14)}Z`))
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = list(named('2a8648ce3d040302')) // ecdsa-with-SHA256
  const name = list(der(0x31, list(named('550403'), der(0x0c, Buffer.from('127.0.0.1')))))
  const forHost = list(named('551d11'), der(0x04, list(der(0x87, Buffer.from([127, 0, 0, 1])))))
  const body = list(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    algorithm,
    name,
    list(days(from), days(to)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, list(forHost)),
  )
  const signed = list(body, algorithm, der(0x03, Buffer.from([0]), sign('sha256', body, privateKey)))
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${signed.toString('base64')}\n-----END CERTIFICATE-----\n`,
  }
}
