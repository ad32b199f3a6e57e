import { HttpFailure } from '../io/errors.ts'
import { glimpse, isHtml, request } from '../io/http.ts'
import { orProxy, through } from '../io/proxy.ts'

/** ms; a good call takes 2.4 s, the first one after a pause far longer (Heroku's router gives up after 30 s) */
const DEADLINE = 60_000
const MAX_BODY = 64 * 2 ** 20
/** of answers that hold all there is; 203: a proxy has had its hands on it */
const WHOLE = [200, 201, 203]

export type Producer = {
  /** One call: the body of a 200, as text. Throws when there is none; what a lost answer held is gone for good. */
  call(signal: AbortSignal): Promise<string>
}

/** The real-time payments API. It has no cursor and no acknowledgement: each call is a new event. */
export function producerApi({
  url,
  headers,
  deadline = DEADLINE,
}: {
  url: URL
  headers: Record<string, string>
  deadline?: number
}): Producer {
  return {
    async call(signal) {
      const answer = await request({ url, headers, deadline, maxAnswer: MAX_BODY, signal }).catch((cause) => {
        signal.throwIfAborted()
        throw new Error(`cannot reach the producer${through(url)}`, { cause })
      })
      const { status, text, retryAfter: wait } = answer
      const page = isHtml(text)
      const failure = (what: string, wait = 0) => new HttpFailure(what, { kind: 'status', status, page, wait })
      if (status === 429) throw failure('the producer answered 429, its rate limit is reached', wait)
      if (status >= 300 && status < 400)
        throw failure(`the producer answered ${status}${orProxy(url)}: PRODUCER_URL has moved`)
      if (status === 204) return 'null' // nothing to deliver
      if (!WHOLE.includes(status))
        throw failure(`the producer answered ${status} (${glimpse(answer)})${orProxy(url)}`, wait)
      if (page) throw failure(`the producer sent ${glimpse(answer)} instead of data${orProxy(url)}`)
      if (text.trim() === '') throw failure('the producer sent nothing')
      return text
    },
  }
}
