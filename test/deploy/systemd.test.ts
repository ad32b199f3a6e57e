import { execFile, spawnSync } from 'node:child_process'
import { readdir, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { httpServer, tempDir, waitFor } from '../rows.ts'
import { MAIN, startWorker } from '../worker.ts'
import { file, isSetting } from './repository.ts'

const script = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const text = file('deploy/client-predict.service')
/** Every directive with all its values; what is commented out counts too when asked for. */
function directives({ commented = false } = {}) {
  const found: Record<string, string[]> = {}
  const lines = commented ? text.replace(/^#(?=[A-Z]\w+=)/gm, '') : text
  for (const [, name, value] of lines.matchAll(/^([A-Z]\w+)=(.*)$/gm)) found[name!] = [...(found[name!] ?? []), value!]
  return found
}
const unit = directives()

const { status, stdout } = spawnSync('systemd-analyze', ['--version'], { encoding: 'utf8' })
const analyze = status === 0 && Number(/^systemd (\d+)/.exec(stdout)?.[1]) >= 250

describe('the systemd unit', () => {
  test('has sections, directives and comments, and nothing else', () => {
    for (const line of text.split('\n')) expect(line).toMatch(/^$|^#|^\[(Unit|Service|Install)\]$|^[A-Z][A-Za-z]+=/)
  })

  test('starts the worker itself, as npm does not pass SIGTERM on', () => {
    expect(unit.ExecStart).toEqual(['node -r /opt/client-predict/src/start.cjs /opt/client-predict/src/main.ts'])
    expect(MAIN.replaceAll('\\', '/')).toMatch(/\/src\/main\.ts$/)
  })

  test('starts it in the one folder that it may write to', () => {
    expect(unit.DynamicUser).toEqual(['yes'])
    expect(unit.ProtectSystem).toEqual(['strict'])
    expect(unit.WorkingDirectory).toEqual([`%S/${unit.StateDirectory}`])
    expect(unit).not.toHaveProperty('ReadWritePaths')
    expect(unit.StateDirectoryMode).toEqual(['0700'])
  })

  test('starts it again for ever, but not with wrong settings', async () => {
    expect(unit.Restart).toEqual(['always'])
    expect(unit.StartLimitIntervalSec).toEqual(['0'])
    await using dir = await tempDir()
    await using worker = startWorker(dir.path, Object.fromEntries(unit.Environment!.map((pair) => pair.split('=', 2))))
    await waitFor('its end', () => !worker.running())
    expect(`${(await worker.end).code}`).toBe(unit.RestartPreventExitStatus?.join())
    expect(await readdir(dir.path)).toEqual([])
  })

  test('when it is not started again, tells who is called while it works, and shows nobody the address', async () => {
    const failed = file(`deploy/${unit.OnFailure}`)
    expect(failed).toContain('ExecStart=/bin/sh /opt/client-predict/deploy/failed.sh\n')
    expect(failed).toContain(`EnvironmentFile=-${unit.EnvironmentFile}\n`)
    await using server = await httpServer((_, response) => response.end('OK'))
    const tell = async (HEARTBEAT_URL: string) => {
      const { PATH = '' } = process.env
      const env = { PATH, HEARTBEAT_URL, MONITOR_UNIT: 'client-predict.service', MONITOR_EXIT_STATUS: '2' }
      const { stdout, stderr } = await promisify(execFile)('/bin/sh', [script('deploy/failed.sh')], { env })
      return { said: stdout + stderr, request: server.received.at(-1) }
    }
    const { said, request } = await tell(`${server.url}se-cret?create=1`)
    expect(said).toBe('client-predict.service has failed (failed 2): journalctl -u client-predict\n')
    expect([request?.request.method, request?.request.url, request?.text]).toEqual([
      'POST',
      '/se-cret/fail',
      said.trim(),
    ])
    expect((await tell(`${server.url}api/push/se-cret?status=up&msg=OK&ping=`)).request?.request.url).toBe(
      '/api/push/se-cret?status=down&msg=client-predict+has+failed',
    )
    expect((await tell('')).said).toBe(said)
    expect(server.received).toHaveLength(2)
  })

  test('reads the settings where its first lines put them, and comes back with the machine', () => {
    expect(text).toContain(` .env ${unit.EnvironmentFile}\n`)
    expect(unit.WantedBy).toEqual(['multi-user.target'])
  })

  test('refuses system calls that a worker does not need, and does not kill it for trying', () => {
    expect(unit.SystemCallFilter).toEqual(['@system-service', '~@privileged @resources'])
    expect(unit.SystemCallErrorNumber).toEqual(['EPERM'])
  })

  test('waits for the 10 s that a stop may take', () => {
    expect(Number(unit.TimeoutStopSec)).toBeGreaterThan(10)
  })

  test('lets V8 write the code that it runs', () => {
    expect(unit).not.toHaveProperty('MemoryDenyWriteExecute')
  })

  test('names settings that there are, and a credential for each file', () => {
    const all = directives({ commented: true })
    const names = all.Environment!.map((pair) => pair.split('=')[0]!)
    expect(names).toContain('SMTP_URL_FILE')
    expect(names.filter((name) => !isSetting(name))).toEqual([])
    const credentials = all.LoadCredential!.map((pair) => pair.split(':')[0])
    const files = all.Environment!.filter((pair) => pair.includes('_FILE=')).map((pair) => /%d\/(.*)$/.exec(pair)?.[1])
    expect(files).toEqual(credentials)
  })

  test.skipIf(!analyze)('is right and tight in the eyes of systemd 250 or newer', async () => {
    await using dir = await tempDir()
    const path = dir.file('client-predict.service')
    await writeFile(
      dir.file(`${unit.OnFailure}`),
      file(`deploy/${unit.OnFailure}`).replace('/opt/client-predict/deploy/failed.sh', script('deploy/failed.sh')),
    )
    await writeFile(path, text.replace(/^ExecStart=node/m, `ExecStart=${process.execPath}`))
    const verify = spawnSync('systemd-analyze', ['verify', '--man=no', path], { encoding: 'utf8' })
    expect(verify.stderr.split('\n').filter((line) => line.includes('client-predict'))).toEqual([])
    const exposure = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=20', '--no-pager', path])
    expect(exposure.status, `${exposure.stdout}${exposure.stderr}`).toBe(0)
  })
})
