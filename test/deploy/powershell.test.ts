import { describe, expect, test } from 'vitest'
import { readConfig } from '../../src/config/read.ts'
import { commands, faults, type Node, nodes, parse } from './powershell.ts'
import { file } from './repository.ts'

const [build, run] = ['build_client_predict.ps1', 'run_client_predict.ps1'].map(file) as [string, string]

/** The statement that a command is, and the one after it. */
function around(command: Node): { statement: string; next: string | undefined } {
  let node = command
  while (node.parent && node.parent.type !== 'statement_list') node = node.parent
  let next = node.nextNamedSibling
  while (next?.type === 'comment') next = next.nextNamedSibling
  return { statement: node.text, next: next?.text }
}

describe.for([
  ['build_client_predict.ps1', build],
  ['run_client_predict.ps1', run],
] as const)('%s', ([, script]) => {
  const root = parse(script)

  test('is a script to Windows PowerShell 5.1 and to pwsh 7', () => {
    expect(faults(script)).toEqual([])
    expect(script).toMatch(/^#requires -Version 5\.1\n/)
  })

  test('ends at the first docker command that fails', () => {
    expect(commands(root, 'docker').length).toBeGreaterThan(0)
    for (const command of commands(root, 'docker')) {
      const { statement, next } = around(command)
      expect(statement, 'a statement of its own').toBe(command.text)
      expect(next).toMatch(/^if \(\$LASTEXITCODE -ne 0\) \{\s*Stop-With '|^exit \$LASTEXITCODE$/)
    }
    const [stop] = nodes(root, 'function_statement')
    expect(stop?.text).toMatch(/^function Stop-With\([^)]*\) \{[^}]*\bexit 1\s*\}$/)
  })

  test('ends at the first error of its own, but not at what docker writes to its error stream', () => {
    const preferences = [...script.matchAll(/^\$ErrorActionPreference = '(\w+)'$/gm)]
    expect(preferences.map(([, value]) => value)).toEqual(['Stop', 'Continue'])
    const [stop, go] = preferences.map(({ index }) => index) as [number, number]
    expect(stop).toBeLessThan(root.descendantsOfType('function_statement')[0]!.startIndex)
    const [first] = commands(root, 'docker')
    expect(go).toBeLessThan(first!.startIndex)
    expect(script.slice(go, first!.startIndex).split('\n').filter(Boolean), 'nothing between').toHaveLength(1)
  })

  test('says what to do when docker is not there', () => {
    expect(script).toMatch(/if \(-not \(Get-Command docker -ErrorAction SilentlyContinue\)\) \{\s*Stop-With '.*Install/)
  })

  test('hands paths with spaces to docker in one piece', () => {
    for (const command of commands(root, 'docker'))
      for (const variable of nodes(command, 'variable').filter(({ text }) => /^\$(PSScriptRoot|envFile)$/.test(text)))
        expect(variable.parent?.type).toBe('expandable_string_literal')
    expect(script.match(/"\$(PSScriptRoot|envFile)"/g)).toHaveLength(1)
  })
})

describe('build_client_predict.ps1', () => {
  test('passes extra arguments on, those with commas in one piece', () => {
    expect(build).toMatch(/^\$more = @\(\$args \| ForEach-Object \{ \$_ -join ',' \}\)/m)
    expect(commands(parse(build), 'docker').map(({ text }) => text)).toEqual([
      'docker build --tag client-predict @more "$PSScriptRoot"',
    ])
  })
})

describe('run_client_predict.ps1', () => {
  const [, , worker] = commands(parse(run), 'docker').map(({ text }) => text)

  test('asks for docker and for the image in silence, then runs the worker', () => {
    expect(commands(parse(run), 'docker').map(({ text }) => text)).toEqual([
      'docker info *> $null',
      'docker image inspect client-predict *> $null',
      expect.stringMatching(
        /^docker run --rm @options .* client-predict node -r \.\/src\/start\.cjs src\/main\.ts @args$/,
      ),
    ])
  })

  test('runs what the image runs by itself, with the volume where the image keeps its files', () => {
    const dockerfile = file('Dockerfile')
    expect(worker).toContain(JSON.parse(/^CMD (.*)$/m.exec(dockerfile)![1]!).join(' '))
    expect(worker).toContain(` --volume client-predict:${/^VOLUME (.*)$/m.exec(dockerfile)![1]} `)
    expect(worker).toContain(' --env-file "$envFile" ')
  })

  /** What is added to the options, and under which conditions. */
  const added = Object.fromEntries(
    nodes(parse(run), 'assignment_expression')
      .filter(({ text }) => text.startsWith('$options += '))
      .map((assignment) => {
        const conditions = []
        for (let node = assignment.parent; node; node = node.parent)
          if (node.type === 'if_statement') conditions.unshift(/^if \((.*)\) \{/.exec(node.text)?.[1])
        return [assignment.text.replace('$options += ', ''), conditions]
      }),
  )

  test('takes a terminal only when there is one at both ends', () => {
    expect(added["'--interactive', '--tty'"]).toEqual([
      '-not [Console]::IsInputRedirected -and -not [Console]::IsOutputRedirected',
    ])
  })

  test('gives the worker a name, of which there is one at a time, and none to other commands beside it', () => {
    expect(added["'--name', 'client-predict'"]).toEqual(['$args.Count -eq 0'])
  })

  test('lets the status page out to this machine alone, and only when the settings do', () => {
    const { PORT } = readConfig({})
    const [argless, lets] = added[`'--publish', '127.0.0.1:${PORT}:${PORT}'`]!
    expect(argless).toBe('$args.Count -eq 0')
    const pattern = /^Select-String -LiteralPath \$envFile -Pattern '(.*)' -Quiet$/.exec(lets!)![1]!
    expect('NODE_ENV=production\nHOST=0.0.0.0\n').toMatch(new RegExp(pattern, 'm'))
    for (const kept of ['#HOST=0.0.0.0', 'HOST=127.0.0.1', 'HOST=', 'KAFKA_HOST=0.0.0.0'])
      expect(kept).not.toMatch(new RegExp(pattern, 'm'))
  })
})

describe('the check of the scripts', () => {
  test.for<[script: string, what: string]>([
    ['$a = $b ? 1 : 2', 'a ternary'],
    ['$a ?? 2', 'a null coalescing'],
    ['$a ??= 2', 'a null assignment'],
    ['$a?.Length', 'a null conditional'],
    ['docker info && docker run x', 'a chain'],
    ['docker info || docker run x', 'a chain'],
    ['docker info &', 'a job'],
    ['function f { clean { 1 } }', 'a clean block'],
    ['Write-Host "`u{41}"', 'an escape'],
    ['Get-Error', 'a new cmdlet'],
    ["Select-String -Raw -Pattern 'a'", 'a new parameter'],
    ["Write-Host 'é'", 'not ASCII'],
    ['Write-Host \u2013ForegroundColor Red', 'a dash that is none'],
    ['if ($a) { 1', 'a missing brace'],
    ["Write-Host 'a", 'a missing quote'],
    ['$x = @(1, 2', 'a missing parenthesis'],
  ])('sees through %j, %s', ([script]) => {
    expect(faults(script)).not.toEqual([])
  })
})
