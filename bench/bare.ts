import { Agent, request } from 'node:http'
import { FEATURES } from '../src/columns.ts'
import { stringify } from '../src/io/json.ts'
import { toTransaction } from '../src/transaction.ts'
import { rowOf } from './world.ts'

// The limit: posts batches to the model server, two in flight, and does nothing else. Prints rows a second.

const [url = '', rows = '', batch = ''] = process.argv.slice(2)
const data = Array.from({ length: Number(batch) }, (_, i) => {
  const transaction = toTransaction(rowOf(i), 0)
  return FEATURES.map((feature) => transaction[feature])
})
const body = Buffer.from(stringify({ dataframe_split: { columns: FEATURES, data } }))
const headers = { 'content-type': 'application/json', 'content-length': body.length }
const agent = new Agent({ keepAlive: true })

const post = () =>
  new Promise<void>((resolve, reject) => {
    request(`${url}invocations`, { method: 'POST', agent, headers }, (answer) => {
      answer.resume().on('end', resolve)
    })
      .on('error', reject)
      .end(body)
  })

await post()
const requests = Math.ceil(Number(rows) / Number(batch))
let left = requests
const began = performance.now()
await Promise.all(
  [1, 2].map(async () => {
    while (left-- > 0) await post()
  }),
)
console.log((requests * Number(batch)) / ((performance.now() - began) / 1000))
process.exit()
