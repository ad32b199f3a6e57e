import { spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { COMMANDS } from '../../src/commands.ts'
import { file } from './repository.ts'

type Package = {
  version: string
  dev?: true
  link?: true
  resolved?: string
  integrity?: string
  hasInstallScript?: true
}
type Component = {
  name: string
  version: string
  properties: { name: string }[]
  hashes: unknown[]
  licenses: unknown[]
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const manifest = JSON.parse(file('package.json'))
const { '': _root, ...lock } = JSON.parse(file('package-lock.json')).packages as Record<string, Package>
const nameOf = (path: string) => path.replace(/^.*node_modules\//, '')
const locked = Object.entries(lock).map(([path, { version, dev }]) => `${nameOf(path)}@${version}${dev ? ' dev' : ''}`)

/** The npm that runs the tests, in this repository. */
function npm(...args: string[]) {
  const { npm_execpath: path } = process.env
  const [command, first] = path?.endsWith('.js') ? [process.execPath, [path]] : ['npm', []]
  const cwd = ROOT
  return spawnSync(command, [...first, ...args], { cwd, encoding: 'utf8', shell: command === 'npm' })
}

describe('the packages', () => {
  test('stand in package.json in the version that was tried', () => {
    for (const version of Object.values({ ...manifest.dependencies, ...manifest.devDependencies }))
      expect(version).toMatch(/^\d+\.\d+\.\d+(-[\w.]+)?$/)
  })

  test('come from the registry, whatever mirror it is, with the hash that the lock file knows', () => {
    for (const [path, { link, resolved, integrity }] of Object.entries(lock))
      expect({ path, link, resolved, integrity }).toEqual({ path, integrity: expect.stringMatching(/^sha512-/) })
  })

  test('run no script at installation that package.json does not allow', () => {
    const scripts = Object.keys(lock).filter((path) => lock[path]!.hasInstallScript)
    expect(scripts.map(nameOf).sort()).toEqual(Object.keys(manifest.allowScripts).sort())
  })
})

test("the image's label has the version of package.json", () => {
  expect(/^ +org\.opencontainers\.image\.version="(.*)" \\$/m.exec(file('Dockerfile'))?.[1]).toBe(manifest.version)
})

describe('an older Node.js', () => {
  // Its version is all that can be told from it here; the file is written for Node.js 12.
  const said = (version: string) => {
    const set = `Object.defineProperty(process.versions, 'node', { value: '${version}' }); require('./src/start.cjs')`
    const { status, stderr } = spawnSync(process.execPath, ['-e', set], { cwd: ROOT, encoding: 'utf8' })
    return [status, stderr]
  }
  test.for(['12.0.0', '18.20.8', '20.20.2', '22.18.0', '24.14.9'])(
    '%s is refused in one line that names both',
    (version) => {
      expect(said(version)).toEqual([
        2,
        expect.stringMatching(
          new RegExp(`^client-predict wants Node\\.js 24\\.15 or newer, and this is ${version} \\(/.*\\): npm .*\\n$`),
        ),
      ])
    },
  )
  test.for(['24.15.0', '24.21.0', '25.0.0', '100.1.0'])('%s is none', (version) => {
    expect(said(version)).toEqual([0, ''])
  })
  test('is met before TypeScript is, as are the first signals, wherever the worker is started', () => {
    const inFolder = (folder: string) => readdirSync(join(ROOT, folder)).map((name) => join(folder, name))
    const places = ['', 'deploy', 'docs'].flatMap(inFolder)
    const starting = places.filter((path) => {
      if (!statSync(join(ROOT, path)).isFile()) return false
      const starts = file(path)
        .replaceAll('", "', ' ')
        .matchAll(/\bnode (.*?)(\S*)src\/main\.ts(?: ([\w-]+))?/g)
      const ofWorker = [...starts].filter(([, , , command = 'run']) => !Object.hasOwn(COMMANDS, command))
      for (const [start, options, folder] of ofWorker)
        expect(options, `${path}: ${start}`).toBe(`-r ${folder || './'}src/start.cjs `)
      return ofWorker.length > 0
    })
    expect(starting).toEqual([
      ...['CHANGELOG.md', 'Dockerfile', 'Procfile', 'README.md', 'heroku.yml', 'package.json'],
      ...['run_client_predict.ps1', 'deploy/README.md', 'deploy/client-predict.service', 'docs/operate.md'],
    ])
    expect(file('Dockerfile')).toMatch(/^RUN node src\/start\.cjs && /m)
    expect(file('src/main.ts').match(/^import .*/gm)).toEqual(["import { stopping } from './start.cjs'"])
  })
})

describe('.npmrc', () => {
  test('is understood by npm', () => {
    expect(npm('config', 'list').stderr).not.toContain('Unknown project config')
  })

  test('lets nothing in that is new or not from the registry', () => {
    const settings = file('.npmrc').match(/^[^#\n].*$/gm)
    expect(settings).toEqual([
      'save-exact=true',
      'omit-lockfile-registry-resolved=true',
      'min-release-age=3',
      'strict-allow-scripts=true',
      'allow-git=none',
      'allow-remote=none',
    ])
  })
})

describe('the bill of materials', () => {
  const { status, stdout, stderr } = npm('sbom', '--package-lock-only', '--sbom-format=cyclonedx')
  const components = () => JSON.parse(stdout).components as Component[]

  test('has every package of the lock file, no other, and says which are for development', () => {
    expect(status, stderr).toBe(0)
    const listed = components().map(({ name, version, properties }) => {
      const dev = properties.some((property) => property.name === 'cdx:npm:package:development')
      return `${name}@${version}${dev ? ' dev' : ''}`
    })
    expect(listed.sort()).toEqual([...new Set(locked)].sort())
    for (const [name, version] of Object.entries(manifest.dependencies)) expect(listed).toContain(`${name}@${version}`)
  })

  test('has the hash and the licence of each', () => {
    for (const { name, hashes, licenses } of components())
      expect({ name, hashes: hashes.length, licenses: licenses.length }).toEqual({ name, hashes: 1, licenses: 1 })
  })
})
