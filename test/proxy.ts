import { connect, createServer, type Socket } from 'node:net'

type Match = (bytes: Buffer) => boolean

/**
 * A TCP proxy on loopback that fails as networks do. Frozen: nothing passes, not even that a side has closed, new
 * connections hang, and nobody is told. Cut: every connection is reset, and so is each new one.
 */
export async function startProxy(target: { port: number; host?: string }, { port = 0 } = {}) {
  const sockets = new Set<Socket>()
  const [asks, answers] = [gate(), gate()]
  let isCut = false
  let awaited: ((bytes: Buffer) => void) | undefined

  async function pump(from: Socket, to: Socket, open: Gate, look?: (bytes: Buffer) => void) {
    try {
      for await (const bytes of from) {
        look?.(bytes)
        await open.passed()
        await new Promise<void>((resolve) => to.write(bytes, () => resolve()))
      }
      await open.passed()
      to.end()
    } catch {
      await open.passed()
      to.destroy()
    }
  }
  const keep = (socket: Socket) => {
    sockets.add(socket)
    return socket
      .setNoDelay(true)
      .on('error', () => {}) // `pump` is told as well
      .on('close', () => sockets.delete(socket))
  }
  const server = createServer({ allowHalfOpen: true }, async (client) => {
    keep(client)
    if (isCut) return client.resetAndDestroy()
    await asks.passed()
    const engine = keep(connect({ host: '127.0.0.1', ...target, allowHalfOpen: true }))
    void pump(client, engine, asks, (bytes) => awaited?.(bytes))
    void pump(engine, client, answers)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const { port: own } = server.address() as { port: number }

  /** At the first bytes from a client that match, before they pass. */
  const at = (match: Match, act: () => void) =>
    new Promise<void>((resolve) => {
      awaited = (bytes) => {
        if (!match(bytes)) return
        awaited = undefined
        act()
        resolve()
      }
    })
  const proxy = {
    port: own,
    /** The same address, by way of the proxy. */
    through: (url: URL) => Object.assign(new URL(url), { host: `127.0.0.1:${own}` }),
    freeze() {
      asks.close()
      answers.close()
    },
    /** What was held passes now. */
    thaw() {
      asks.open()
      answers.open()
    },
    /** Freezes when a client sends bytes that match, before any of them has passed. Resolves then. */
    freezeBefore: (match: Match) => at(match, proxy.freeze),
    /** Lets them pass, and all that is sent after them, and no answer any more. Resolves when they come. */
    freezeAnswersTo: (match: Match) => at(match, answers.close),
    /** Loses what was held. */
    cut() {
      isCut = true
      for (const socket of sockets) socket.resetAndDestroy()
      proxy.thaw()
    },
    mend() {
      isCut = false
    },
    async [Symbol.asyncDispose]() {
      proxy.cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return proxy
}

type Gate = ReturnType<typeof gate>
/** While it is closed, `passed` waits. */
function gate() {
  let closed: PromiseWithResolvers<void> | undefined
  return {
    close() {
      closed ??= Promise.withResolvers()
    },
    open() {
      closed?.resolve()
      closed = undefined
    },
    async passed() {
      while (closed) await closed.promise
    },
  }
}
