import { type AddressInfo, createServer, type Socket } from 'node:net'

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

/** An SMTP server on a free port of loopback that follows a script: `answer` speaks first, else a good server does. */
export async function scriptedSmtp(answer: (asked: Asked) => Reply | undefined = () => undefined) {
  const state = {
    answer,
    /** every mail whose final dot was seen */
    seen: [] as Seen[],
    /** every command line, as it came */
    lines: [] as string[],
    sessions: 0,
    sockets: new Set<Socket>(),
  }
  let mails = 0
  const server = createServer((socket) => {
    const session = ++state.sessions
    state.sockets.add(socket)
    socket.setNoDelay(true).setEncoding('latin1')
    socket.on('error', () => {}).on('close', () => state.sockets.delete(socket))
    let [buffer, inData, mail] = ['', false, 0]
    let envelope = { from: '', to: [] as string[] }

    function say(verb: Verb, line = '', raw = Buffer.alloc(0)): string {
      const reply = state.answer({ verb, line, session, mail, raw }) ?? GOOD[verb]
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
      else if (say(verb, line).startsWith('354')) inData = true
      if (verb === 'QUIT') socket.end()
    }
    function message(text: string) {
      const raw = Buffer.from(text.replace(/^\.\./gm, '.'), 'latin1')
      const seen = { raw, ...envelope, session, taken: false }
      state.seen.push(seen)
      seen.taken = say('dot', '.', raw).startsWith('2')
    }
    socket.on('data', (chunk: string) => {
      buffer += chunk
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
    })
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
