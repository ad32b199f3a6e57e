import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

export type Request = { method: string; path: string; body: string }
export type Answer = { status?: number; type?: string; body: string }
export type Loopback = { url: string; [Symbol.asyncDispose](): Promise<void> }

/**
 * A real HTTP server on a free port of 127.0.0.1, which only this machine can reach. No answer is a 404. It does not
 * keep the process alive; disposing cuts what is still connected and may be repeated.
 */
export async function loopback(answer: (request: Request) => Answer | undefined): Promise<Loopback> {
  const server = createServer(async (request, response) => {
    try {
      const path = (request.url ?? '/').split('?')[0]!
      const body = await text(request)
      const found = answer({ method: request.method ?? 'GET', path, body })
      const { status = 200, type = 'application/json', body: reply } = found ?? NOT_FOUND
      response.writeHead(status, { 'content-type': type }).end(reply)
    } catch {
      response.destroy() // the client went away in mid-request, or we have a bug: a cut connection shows either
    }
  })
  server.on('connection', (socket) => socket.unref())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  server.unref()
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

const NOT_FOUND: Answer = { status: 404, body: '{"detail":"Not Found"}' }
