import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, type TestContext, test } from 'vitest'
import { run } from '../mlflow/environment.ts'
import { isFraud, outside, recorded, someRows } from '../outside.ts'
import { freePort, tempDir, waitFor } from '../rows.ts'
import { type Container, startContainer, volume } from './container.ts'
import { BASE, imageBuilder, PROJECT, projectCopy } from './engine.ts'

// The image as a person builds and starts it, without a container engine: buildah builds it, crun runs it.

const MEGABYTE = 1_000_000
const NS = 1e-6 // ms
const { builder, project, built, stack } = await prepare()
afterAll(() => stack.disposeAsync())
const { image, root, added } = built

async function prepare() {
  await using opening = new AsyncDisposableStack()
  const builder = opening.use(await imageBuilder())
  const project = await projectCopy(opening.use(await tempDir()).file('project'))
  await builder.build('client-predict', project)
  const built = await builder.unpack('client-predict')
  return { builder, project, built, stack: opening.move() }
}

const json = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'))
const { description, dependencies, devDependencies } = json(PROJECT, 'package.json')

/** Every file of the root file system, with what a write to it would change. */
const files = () => run('find', root, '-printf', '%P %m %U:%G %s %T@ %l\n').then((found) => found.split('\n').sort())

describe('the image', () => {
  test('has the Node.js that the tests run on, by its exact version', () => {
    expect(BASE).toBe(`docker.io/library/node:${devDependencies.node}-slim`)
  })

  test('takes another base when it is built with --build-arg NODE_IMAGE', async () => {
    const own = 'localhost/own-node:1'
    await builder.rename(BASE, own)
    await builder.build('other', project, '--build-arg', `NODE_IMAGE=${own}`)
    await builder.rename(own, BASE)
  })

  test('holds the program and its packages, and nothing else of the folder it is built in', () => {
    expect(readdirSync(join(root, 'app')).sort()).toEqual(['data', 'node_modules', 'package.json', 'src'])
    expect(readdirSync(join(root, 'app/data'))).toEqual([])
    const names = (folder: string) => readdirSync(folder, { recursive: true }).sort()
    expect(names(join(root, 'app/src'))).toEqual(names(join(project, 'src')))
    const locked: Record<string, { dev?: true }> = json(project, 'package-lock.json').packages
    const installed = Object.keys(json(root, 'app/node_modules/.package-lock.json').packages)
    expect(installed).toEqual(expect.arrayContaining(Object.keys(dependencies).map((name) => `node_modules/${name}`)))
    expect(installed.filter((path) => locked[path]?.dev !== undefined || !locked[path])).toEqual([])
  })

  test('is built from no more of that folder than it needs', async () => {
    const everything = join(stack.use(await tempDir()).path, 'Dockerfile')
    writeFileSync(everything, 'FROM scratch\nCOPY . /\n')
    await builder.build('context', project, '--file', everything)
    const sent = readdirSync((await builder.unpack('context')).root).sort()
    expect(sent).toEqual(['package-lock.json', 'package.json', 'src'])
  })

  test('adds less than 40 MB to its base', () => {
    expect(added / MEGABYTE).toBeLessThan(40)
  })

  test('is built anew without fetching the packages anew when only the source has changed', async () => {
    appendFileSync(join(project, 'src/main.ts'), '\n')
    const [, packages] = (await builder.build('changed', project)).split(/STEP .* RUN npm ci/)
    expect(packages).toMatch(/^.*\n--> Using cache /)
  })

  test('says what it is', () => {
    expect(image.Labels).toMatchObject({
      'org.opencontainers.image.title': 'client-predict',
      'org.opencontainers.image.description': description,
    })
  })
})

/** A folder for volumes, and containers whose output is shown when the test fails. */
async function place({ onTestFailed }: TestContext) {
  await using opening = new AsyncDisposableStack()
  const dir = opening.use(await tempDir())
  const opened = opening.move()
  return {
    recorded: () => recorded(join(volume(dir.path, '/app/data'), 'fraud.db')),
    async start(options: Parameters<typeof startContainer>[2] = {}) {
      const container = opened.use(await startContainer(built, dir.path, options))
      onTestFailed(() => console.log(container.text()))
      return container
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

/** The systems outside, and the settings that lead to them from a container that keeps its files where it does by default. */
async function surroundings(count: number) {
  const rows = someRows(count)
  const { env, mailed, ...world } = await outside(rows, 'not here')
  const { TOPICS_URL, DATABASE_URL, ...settings } = env
  return {
    ...world,
    rows,
    env: { ...settings, PORT: String(await freePort()) },
    mailed: () => rows.filter(isFraud).every(({ trans_num }) => mailed(trans_num) === 1),
  }
}

/** Its exit code. */
const ended = ({ end }: Container) => Promise.race([end, sleep(20_000, 'it still runs')])

describe('a container', () => {
  test('judges, records and mails, without root and with a root file system that cannot be written', async (context) => {
    await using world = await surroundings(30)
    await using p = await place(context)
    const container = await p.start({ env: world.env })
    await waitFor('all rows', () => p.recorded().length === world.rows.length)
    await waitFor('all mails', world.mailed)
    expect(await container.exec('grep', '-E', '^([UG]id|CapEff)', '/proc/1/status')).toMatch(
      /^Uid:(\t1000){4}\nGid:(\t1000){4}\nCapEff:\t0+\n$/,
    )
    await expect(container.exec('touch', '/app/x')).rejects.toThrow('Read-only file system')

    world.producer.down = world.model.down = world.smtp.down = true
    await waitFor('an outage', () => container.text().includes('cannot reach the producer'))
    const asked = Date.now()
    await container.stop()
    expect(await ended(container)).toBe(0)
    expect(Date.now() - asked).toBeLessThan(10_000)
  })

  test('writes into its volume only, and the next container goes on with that', async (context) => {
    await using world = await surroundings(20)
    await using p = await place(context)
    expect(Object.keys(image.Volumes ?? {})).toEqual(['/app/data'])
    const before = await files()
    const first = await p.start({ env: { ...world.env, STAGES: 'fetch,score' }, readOnly: false })
    // A first fraud that comes without an honest row beside it is asked about again, with other amounts.
    const judged = () =>
      new Set(world.model.seen.map((values) => String(values.toSpliced(world.model.columns.indexOf('amt'), 1)))).size
    await waitFor('all judged', () => judged() === world.rows.length)
    await first.stop()
    await ended(first)
    expect(p.recorded()).toEqual([])
    await p.start({ env: world.env, readOnly: false })
    await waitFor('all rows', () => p.recorded().length === world.rows.length)
    await waitFor('all mails', world.mailed)
    expect(await files()).toEqual(before)
  })

  test('without settings ends with exit 2 and what is missing: nothing is simulated', async (context) => {
    await using p = await place(context)
    const container = await p.start()
    expect(await ended(container)).toBe(2)
    const names = container
      .text()
      .trim()
      .split('\n')
      .map((line) => line.split(':')[0])
    expect(names).toEqual(['PRODUCER_URL', 'MODEL_URL', 'SMTP_URL', 'ALERT_FROM', 'ALERT_TO'])
  })

  const nothing = {
    PRODUCER_URL: 'http://127.0.0.1:1/',
    MODEL_URL: 'http://127.0.0.1:1/',
    SMTP_URL: 'smtp://127.0.0.1:1',
    ALERT_FROM: 'fraud@example.com',
    ALERT_TO: 'analyst@example.com',
    TOPICS_URL: 'postgres://127.0.0.1:1/fraud',
  }
  const healthy = (container: Container) =>
    waitFor('health', () => container.healthy(), image.Healthcheck!.StartPeriod! * NS)

  test('is healthy while the process turns, whatever is down, and no longer when it hangs', async (context) => {
    await using p = await place(context)
    const container = await p.start({ env: nothing, alone: true })
    await healthy(container)
    await container.signal('SIGSTOP')
    expect(await container.healthy()).toBe(false)
    await container.signal('SIGCONT')
    expect(await container.healthy()).toBe(true)
  })

  test.for(['8181', ''])('is asked for its health on the PORT that it is given: "%s"', async (PORT, context) => {
    await using p = await place(context)
    await healthy(await p.start({ env: { ...nothing, PORT }, alone: true }))
  })
})
