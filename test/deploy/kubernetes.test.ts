import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { freePort, httpServer } from '../rows.ts'
import { file, isSetting } from './repository.ts'

const source = file('deploy/kubernetes.yaml')
const documents = parseAllDocuments(source, { strict: true, uniqueKeys: true }).map((document) => {
  expect([...document.errors, ...document.warnings]).toEqual([])
  return document.toJS()
})
const [service, set] = documents
const pod = set.spec.template.spec
const [worker] = pod.containers
const dockerfile = file('Dockerfile')

/** The readiness probe's command, as the kubelet runs it in the container. */
async function readiness(env: Record<string, string>) {
  const [node, ...args] = worker.readinessProbe.exec.command
  expect(node).toBe('node')
  const child = spawn(process.execPath, args, { env: { ...env, SystemRoot: process.env.SystemRoot ?? '' } })
  const [said, , [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { said, code }
}

describe('the Kubernetes manifest', () => {
  test('is a service and a set that belong together', () => {
    expect(documents.map(({ kind }) => kind)).toEqual(['Service', 'StatefulSet'])
    expect(set.spec.serviceName).toBe(service.metadata.name)
    expect(set.spec.selector.matchLabels).toEqual(set.spec.template.metadata.labels)
    expect(service.spec.selector).toEqual(set.spec.template.metadata.labels)
    expect(service.spec.publishNotReadyAddresses).toBe(true)
    expect(service.spec.ports).toEqual([{ name: worker.ports[0].name, port: worker.ports[0].containerPort }])
  })

  test('never runs two workers on the same SQLite files', () => {
    expect(set.spec.replicas).toBe(1)
    expect(set.spec.template.spec.volumes.map(({ name }: { name: string }) => name)).toEqual(['tmp'])
    expect(set.spec.volumeClaimTemplates[0].metadata.name).toBe('data')
  })

  test("has the volume where the image keeps its files, as the image's user", () => {
    const mounts = Object.fromEntries(
      worker.volumeMounts.map((m: { name: string; mountPath: string }) => [m.name, m.mountPath]),
    )
    expect(mounts).toEqual({ data: /^VOLUME (.*)$/m.exec(dockerfile)?.[1], tmp: '/tmp' })
    const { runAsUser, runAsGroup, fsGroup } = pod.securityContext
    expect(`${runAsUser}:${runAsGroup}`).toBe(/^USER (.*)$/m.exec(dockerfile)?.[1])
    expect(fsGroup).toBe(runAsGroup)
  })

  test('gives the worker no rights', () => {
    expect(pod.automountServiceAccountToken).toBe(false)
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
    expect(worker.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
  })

  test('names settings that there are, and shows no secret', () => {
    const env = Object.fromEntries(worker.env.map((e: { name: string; value: string }) => [e.name, e.value]))
    expect(env).toEqual({ HOST: '0.0.0.0', PORT: `${worker.ports[0].containerPort}` })
    const mentioned = [...Object.keys(env), ...source.matchAll(/\b[A-Z]+(?:_[A-Z]+)+\b/g).map(([name]) => name)]
    expect(mentioned.filter((name) => !isSetting(name))).toEqual([])
    expect(worker.envFrom).toEqual([{ secretRef: { name: expect.any(String) } }])
    expect(source).toContain(`create secret generic ${worker.envFrom[0].secretRef.name} `)
  })

  test('waits for the 10 s that a stop may take', () => {
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(10)
  })

  test('asks for signs of life where no token is needed', () => {
    for (const probe of [worker.startupProbe, worker.livenessProbe])
      expect(probe.httpGet).toEqual({ path: '/healthz', port: worker.ports[0].name })
    expect(worker.startupProbe.periodSeconds * worker.startupProbe.failureThreshold).toBeGreaterThanOrEqual(60)
  })

  test('is ready when the worker says so to who has the token, and shows what it says', async () => {
    const state = { status: 200, body: 'ready' }
    await using server = await httpServer(({ request }, response) => {
      const known = request.headers.authorization === 'Bearer s3cret' && request.url === '/readyz'
      response.writeHead(known ? state.status : 401).end(known ? state.body : 'wants the token')
    })
    const env = { PORT: server.url.port, STATUS_TOKEN: 's3cret' }
    expect(await readiness(env)).toEqual({ said: 'ready\n', code: 0 })
    Object.assign(state, { status: 503, body: 'score: cannot reach the model' })
    expect(await readiness(env)).toEqual({ said: 'score: cannot reach the model\n', code: 1 })
    expect(await readiness({ ...env, STATUS_TOKEN: 'wrong' })).toEqual({ said: 'wants the token\n', code: 1 })
  })

  test('is not ready when nothing listens', async () => {
    expect((await readiness({ PORT: `${await freePort()}`, STATUS_TOKEN: 's3cret' })).code).toBe(1)
  })

  test('has a monitor, commented out, for the same service and token', () => {
    const monitor = parse(/^# ---\n((?:# .*\n)+)/m.exec(source)![1]!.replace(/^# /gm, ''))
    expect(monitor.kind).toBe('ServiceMonitor')
    expect(monitor.spec.selector.matchLabels).toEqual(service.metadata.labels)
    expect(monitor.spec.endpoints).toEqual([
      {
        port: service.spec.ports[0].name,
        path: '/metrics',
        authorization: { credentials: { name: worker.envFrom[0].secretRef.name, key: 'STATUS_TOKEN' } },
      },
    ])
  })
})
