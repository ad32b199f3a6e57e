import { parse as parseDotenv } from 'dotenv'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { readConfig } from '../../src/config/read.ts'
import { file, isSetting } from './repository.ts'

type Service = { image?: string; command?: string; environment?: Record<string, string> }
const compose = parse(file('compose.yaml'), { merge: true }) as { services: Record<string, Service> }
const workers = Object.entries(compose.services).filter(([, { image }]) => image === 'client-predict')

test('compose.yaml gives the workers settings that there are', () => {
  expect(workers.map(([name]) => name)).toEqual(['worker', 'scorer', 'history'])
  for (const [, { environment = {} }] of workers)
    expect(Object.keys(environment).filter((name) => !isSetting(name))).toEqual([])
})

test.for(workers.filter(([, { command }]) => !command))('compose.yaml: the settings of %s are right', ([, service]) => {
  const written = Object.entries(service.environment!).map(([name, value]) => [
    name,
    value.replace(/\$\{\w+:-(.*)\}/, '$1'),
  ])
  expect(() => readConfig(Object.fromEntries(written))).not.toThrow()
})

test('.env.example names settings that there are', () => {
  const names = Object.keys(parseDotenv(file('.env.example').replace(/^#(?=[A-Z_]+=)/gm, '')))
  expect(names.length).toBeGreaterThan(20)
  expect(names.filter((name) => !isSetting(name))).toEqual([])
})
