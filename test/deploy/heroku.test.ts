import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { delimiter, dirname } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { readConfig } from '../../src/config/read.ts'
import { SETTINGS } from '../../src/config/settings.ts'
import { file, isSetting } from './repository.ts'

const procfile = Object.fromEntries(
  file('Procfile')
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/: (.*)/, 2)),
) as Record<string, string>
const container = parse(file('heroku.yml'))
const app = JSON.parse(file('app.json'))

/** What a dyno does with a command. Blank settings keep a .env of this folder out. */
async function dyno(command: string, settings: Record<string, string>) {
  const { PATH = '', SystemRoot = '' } = process.env
  const blank = Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, '']))
  const child = spawn(command, {
    shell: true,
    timeout: 60_000,
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...blank, PATH: `${dirname(process.execPath)}${delimiter}${PATH}`, SystemRoot, ...settings },
  })
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'close')])
  return { said, code }
}

describe('both ways onto Heroku', () => {
  test('start the same processes, and none that would wait for requests', () => {
    expect(procfile).toEqual({ worker: 'node -r ./src/start.cjs src/main.ts' })
    expect(container.run).toEqual(procfile)
  })

  test('start the worker, which says what is missing and ends with exit 2', async () => {
    const { said, code } = await dyno(procfile.worker!, { NODE_ENV: 'production', DYNO: 'worker.1' })
    expect(said).toMatch(/^PRODUCER_URL: is not set/m)
    expect(code).toBe(2)
  })
})

describe('heroku.yml', () => {
  test('builds an image for each process', () => {
    expect(Object.keys(container.build.docker)).toEqual(Object.keys(container.run))
    for (const dockerfile of Object.values(container.build.docker))
      expect(file(dockerfile as string)).toMatch(/^FROM /m)
  })

  test('starts what the image starts by itself', () => {
    const command = JSON.parse(/^CMD (.*)$/m.exec(file('Dockerfile'))![1]!)
    expect(container.run.worker).toBe(command.join(' '))
  })
})

describe('app.json', () => {
  test('chooses the container, so that no buildpack is named beside it', () => {
    expect(app.stack).toBe('container')
    expect(app).not.toHaveProperty('buildpacks')
  })

  test('starts one of each process', () => {
    expect(app.formation).toEqual(Object.fromEntries(Object.keys(procfile).map((name) => [name, { quantity: 1 }])))
  })

  test('asks for settings that there are', () => {
    expect(Object.keys(app.env).filter((name) => !isSetting(name))).toEqual([])
    for (const { description } of Object.values<{ description: string }>(app.env)) expect(description).toMatch(/./)
  })

  test('is enough for the start, together with what the add-on sets', () => {
    const given = Object.entries<{ value?: string; required?: boolean }>(app.env)
    const settings: Record<string, string> = {
      PRODUCER_URL: 'https://payments.example/current-transactions',
      MODEL_URL: 'https://model.example',
      SMTP_URL: 'smtp://user:password@smtp.example:587',
      ALERT_FROM: 'fraud@example.com',
      ALERT_TO: 'analyst@example.com',
    }
    const required = given.filter(([, { required }]) => required).map(([name]) => name)
    expect(required.sort()).toEqual(Object.keys(settings).sort())
    for (const [name, { value }] of given) if (value) settings[name] = value
    expect(app.addons).toEqual([expect.stringMatching(/^heroku-postgresql:/)])
    const config = readConfig({ ...settings, DYNO: 'worker.1', DATABASE_URL: 'postgres://u:p@db.example:5432/d' })
    expect(config).toMatchObject({ NODE_ENV: 'production', TOPICS_URL: { engine: 'postgres' } })
  })
})
