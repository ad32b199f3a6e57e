import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { openMonitor } from '../../src/status/monitor.ts'
import { statusServer } from '../../src/status/server.ts'
import { outside, someRows } from '../outside.ts'
import { freePort, listeningLog, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { prometheusTools } from './prometheus.ts'
import { file } from './repository.ts'

type Panel = {
  id: number
  type: string
  title: string
  gridPos: { h: number; w: number; x: number; y: number }
  targets: { refId: string; expr: string; datasource: { uid: string } }[]
}
type Dashboard = { uid: string; title: string; panels: Panel[]; templating: { list: { name: string }[] } }
type Rules = { groups: { rules: { alert: string; expr: string; for?: string; annotations: object }[] }[] }
const dashboard = JSON.parse(file('deploy/grafana.json')) as Dashboard
const { groups } = parse(file('deploy/prometheus-rules.yaml')) as Rules
const rules = groups.flatMap(({ rules }) => rules)
const drawn = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
const run = promisify(execFile)
const tools = await prometheusTools()

/** The names of all that a worker counts. */
async function metricNames(): Promise<Set<string>> {
  const watch = openMonitor(['fetch'])
  const port = await freePort()
  const { log } = listeningLog()
  await using _ = statusServer({ host: '127.0.0.1', port, log, watch, about: [] })
  const text = await waitFor('metrics', () =>
    fetch(`http://127.0.0.1:${port}/metrics`).then(
      (answer) => answer.text(),
      () => undefined,
    ),
  )
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type]) => [name, type] as const)
  return new Set(types.flatMap(([name, type]) => (type === 'histogram' ? [name, `${name}_bucket`] : [name])))
}

test('rules and dashboard ask for what a worker counts', async () => {
  const names = await metricNames()
  const asked = [...drawn, ...rules.map(({ expr }) => expr)].flatMap((expr) => [
    ...(expr.match(/\b(client_predict|process|nodejs)_\w+/g) ?? []),
  ])
  expect(asked.length).toBeGreaterThan(20)
  expect(asked.filter((name) => !names.has(name))).toEqual([])
})

test('the dashboard can be drawn: its panels have numbers of their own, room, and the data that is chosen', () => {
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length)
  const taken = new Set<string>()
  for (const { gridPos, title, type, targets } of dashboard.panels) {
    expect([title, type]).toEqual([expect.stringMatching(/./), expect.stringMatching(/^(stat|timeseries)$/)])
    expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24)
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect(taken.has(`${x},${y}`), title).toBe(false)
        taken.add(`${x},${y}`)
      }
    expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length)
    for (const { datasource, expr } of targets) {
      expect(datasource.uid).toBe(`\${datasource}`)
      if (expr.includes('client_predict_')) expect(expr).toContain('job=~"$job"')
    }
  }
  expect(dashboard.templating.list.map(({ name }) => name)).toEqual(['datasource', 'job'])
})

test('each alarm says what is wrong and what to do', () => {
  for (const { alert, annotations } of rules)
    expect([alert, Object.keys(annotations)]).toEqual([alert, ['summary', 'description']])
})

describe.skipIf(!tools)('Debian’s Prometheus', () => {
  const { promtool = '', prometheus = '' } = tools ?? {}

  test('takes the configuration, the rules, and what is drawn', async () => {
    await using dir = await tempDir()
    const recorded = drawn.map((expr, n) => ({ record: `drawn:${n}`, expr: expr.replaceAll('$job', '.*') }))
    await writeFile(dir.file('drawn.yaml'), JSON.stringify({ groups: [{ name: 'drawn', rules: recorded }] }))
    for (const name of ['prometheus.yaml', 'prometheus-rules.yaml'])
      await writeFile(dir.file(name), file(`deploy/${name}`))
    expect((await run(promtool, ['check', 'config', dir.file('prometheus.yaml')])).stdout).toContain('SUCCESS')
    const { stdout } = await run(promtool, ['check', 'rules', '--lint-fatal', dir.file('drawn.yaml')])
    expect(stdout).toContain(`${drawn.length} rules found`)
  })

  test('raises the alarm when it should, and not before', async () => {
    await using dir = await tempDir()
    const series = (name: string, values: string) => ({ series: name, values })
    const at = (minute: number, alertname: string, ...fires: object[]) => ({
      eval_time: `${minute}m`,
      alertname,
      exp_alerts: fires.map((exp_labels) => ({ exp_labels })),
    })
    const labels = { job: 'client-predict', instance: 'a' }
    const of = '{job="client-predict",instance="a"}'
    const stage = '{job="client-predict",instance="a",stage="score"}'
    const tests = [
      {
        interval: '1m',
        input_series: [
          series(`up${of}`, '1x10 0x20'),
          series(`client_predict_stage_working${stage}`, '1x5 0x30'),
          series(`client_predict_lag_seconds${stage}`, '0+60x60'),
          series(`client_predict_frauds_waiting${stage}`, '0x5 1x40'),
          series(`client_predict_fetched_total${of}`, '0+5x60 300x60'),
          series(`client_predict_set_aside_total${stage}`, '0x20 3x60'),
        ],
        alert_rule_test: [
          at(14, 'ClientPredictDown'),
          at(17, 'ClientPredictDown', { severity: 'critical', ...labels }),
          at(19, 'ClientPredictStageFails'),
          at(22, 'ClientPredictStageFails', { severity: 'critical', stage: 'score', ...labels }),
          at(34, 'ClientPredictLags'),
          at(37, 'ClientPredictLags', { severity: 'warning', stage: 'score', ...labels }),
          at(34, 'ClientPredictFraudsWait'),
          at(37, 'ClientPredictFraudsWait', { severity: 'critical', stage: 'score', ...labels }),
          at(60, 'ClientPredictFetchesNothing'),
          at(107, 'ClientPredictFetchesNothing', { severity: 'warning' }),
          at(20, 'ClientPredictSetsAside'),
          at(23, 'ClientPredictSetsAside', { severity: 'warning', stage: 'score', instance: 'a' }),
        ],
      },
    ]
    // What is said is not compared here: an alarm is compared with what it says, so the rules are tried without.
    const silent = { groups: groups.map((g) => ({ ...g, rules: g.rules.map(({ annotations: _, ...rule }) => rule) })) }
    await writeFile(dir.file('rules.yaml'), JSON.stringify(silent))
    await writeFile(dir.file('tests.yaml'), JSON.stringify({ rule_files: ['rules.yaml'], tests }))
    const { stdout } = await run(promtool, ['test', 'rules', dir.file('tests.yaml')])
    expect(stdout).toContain('SUCCESS')
  })

  test('asks a worker with a token, and has what is drawn', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(30), dir.path)
    const [port, own] = [await freePort(), await freePort()]
    await writeFile(dir.file('token'), 'open-sesame-0123')
    const config = file('deploy/prometheus.yaml')
      .replace('127.0.0.1:8080', `127.0.0.1:${port}`)
      .replace(/15s/, '1s')
      .replace(/^ {4}#(authorization:)$/m, '    $1')
      .replace(/^ {4}#( {2}credentials_file:) .*$/m, `    $1 ${dir.file('token')}`)
    expect(config).toContain(`credentials_file: ${dir.file('token')}`)
    await writeFile(dir.file('prometheus.yaml'), config)
    await writeFile(dir.file('prometheus-rules.yaml'), file('deploy/prometheus-rules.yaml'))
    await using _worker = startWorker(dir.path, { ...world.env, PORT: String(port), STATUS_TOKEN: 'open-sesame-0123' })
    const server = spawn(
      prometheus,
      [
        `--config.file=${dir.file('prometheus.yaml')}`,
        `--storage.tsdb.path=${dir.file('tsdb')}`,
        `--web.listen-address=127.0.0.1:${own}`,
      ],
      { stdio: 'ignore' },
    )
    const ended = once(server, 'close')
    try {
      const ask = async (expr: string) => {
        const url = `http://127.0.0.1:${own}/api/v1/query?query=${encodeURIComponent(expr)}`
        const answer = await fetch(url).catch(() => undefined)
        if (!answer?.ok) return [] // it has not begun
        const { data } = (await answer.json()) as { data?: { result: { value: [number, string] }[] } }
        return data?.result ?? []
      }
      await waitFor('all rows', async () => Number((await ask('client_predict_recorded_total'))[0]?.value[1]) === 30)
      expect((await ask('up{job="client-predict"}'))[0]?.value[1]).toBe('1')
      const retried = (expr: string) => expr.includes('retries_total') // there where something failed
      for (const expr of drawn.filter((expr) => !retried(expr)))
        await waitFor(expr, async () => (await ask(expr.replaceAll('$job', '.*'))).length > 0)
      const alarms = await fetch(`http://127.0.0.1:${own}/api/v1/rules`).then((answer) => answer.json())
      expect(JSON.stringify(alarms)).toContain('ClientPredictStageFails')
    } finally {
      server.kill('SIGKILL')
      await ended
    }
  })
})
