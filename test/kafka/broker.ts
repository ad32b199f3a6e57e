import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, createSign, generateKeyPairSync, type KeyObject, randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { reason } from '../../src/io/errors.ts'
import { run } from '../mlflow/environment.ts'

const VERSION = '4.4.0' // brokers from 4.0 on need Java 17
const START = 240_000 // ms; on a busy machine more than a minute was seen
const STOP = 10_000 // ms; without a majority of the nodes Kafka would wait for minutes to be let go
const DOWNLOADS = 4 // at once
const TRIES = 3
const windows = process.platform === 'win32'

export type Options = {
  /** each is broker and controller in one; with three, one can be missing */
  nodes?: number
  /** clients have to log in, by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; of printable ASCII, without a comma */
  sasl?: { user: string; password: string }
  /** clients have to speak TLS; a certificate of theirs is looked at if they show one */
  tls?: boolean
  /** more lines of server.properties, or other values; clients come in by the listener CLIENT */
  properties?: Record<string, string> | ((ports: { client: number; broker: number }) => Promise<Record<string, string>>)
}

export type Node = {
  /** SIGTERM; resolves when it has ended (after 10 s by SIGKILL). */
  stop(): Promise<void>
  /** SIGKILL; resolves when it has ended. */
  kill(): Promise<void>
  /** With the same data and ports; resolves when it serves, for which a majority of the nodes has to run. */
  start(): Promise<void>
  /** SIGSTOP: the ports accept connections, nothing answers. Not on Windows. */
  freeze(): void
  thaw(): void
}

/** Paths of PEM files. `ca` signed the server's certificate and `clientCert`, `otherCa` nothing. */
export type Tls = Record<'ca' | 'otherCa' | 'clientCert' | 'clientKey', string>

export type Kafka = {
  /** host:port of each node, for `bootstrapBrokers` */
  brokers: string[]
  tls?: Tls
  node(i: number): Node
  /** Ends every node and removes the data. */
  [Symbol.asyncDispose](): Promise<void>
}

/** The brokers that the environment names, for tests that need no power over them. */
export function brokersFromEnvironment(): string[] | undefined {
  const brokers = process.env.KAFKA_BROKERS?.split(',').map((broker) => broker.trim())
  return brokers?.some(Boolean) ? brokers.filter(Boolean) : undefined
}

/** Apache Kafka on free ports of 127.0.0.1, ready when it resolves. The first time ever it fetches 37 MB. */
export async function startKafka(options: Options = {}): Promise<Kafka> {
  const { nodes: count = 1, sasl, tls, properties } = options
  const java = await findJava()
  const classpath = join(await fetchJars(), '*')
  const folder = mkdtempSync(join(tmpdir(), 'kafka-'))
  const guard = guarded(folder)
  const nodes: Node[] = []
  const end = async () => {
    await Promise.all(nodes.map((node) => node.kill()))
    await guard.end()
  }
  try {
    const ports = await freePorts(3 * count)
    const port = (listener: number, node: number) => ports[listener * count + node]!
    const files = tls ? { tls: makeTls(folder) } : {}
    const ids = Array.from({ length: count }, (_, id) => id)
    const cluster = `--cluster-id=${randomBytes(16).toString('base64url')}` // it may begin with a dash
    await Promise.all(
      ids.map(async (id) => {
        const home = join(folder, `node-${id}`)
        mkdirSync(home)
        const config = join(home, 'server.properties')
        const lines = {
          ...common(count),
          'node.id': `${id}`,
          listeners: LISTENERS.map((name, i) => `${name}://127.0.0.1:${port(i, id)}`).join(),
          'controller.quorum.voters': ids.map((id) => `${id}@127.0.0.1:${port(2, id)}`).join(),
          'log.dirs': join(home, 'data'),
          ...security(sasl, tls ? folder : undefined),
          ...(typeof properties === 'function'
            ? await properties({ client: port(0, id), broker: port(1, id) })
            : properties),
        }
        writeFileSync(config, Object.entries(lines).map(line).join(''))
        const jvm = [...JVM, `-Xmx${count === 1 ? 512 : 256}m`, '-cp', classpath]
        const user = sasl && `=[name=${sasl.user},password=${sasl.password}]`
        const users = user ? SCRAM.flatMap((mechanism) => ['--add-scram', mechanism + user]) : []
        await run(java, ...jvm, 'kafka.tools.StorageTool', 'format', '-c', config, cluster, ...users)
        nodes[id] = makeNode(`Kafka node ${id}`, home, guard, java, ...jvm, 'kafka.Kafka', config)
      }),
    )
    await Promise.all(nodes.map((node) => node.start()))
    const brokers = ids.map((id) => `127.0.0.1:${port(0, id)}`)
    const node = (i: number) => nodes[i]!
    return { brokers, ...files, node, [Symbol.asyncDispose]: end }
  } catch (error) {
    await end()
    throw error
  }
}

function makeNode(name: string, home: string, guard: Guard, java: string, ...args: string[]): Node {
  const log = join(home, 'server.log')
  let [child, ended]: [ChildProcess | undefined, Promise<unknown>] = [undefined, Promise.resolve()]
  const running = () => child?.pid !== undefined && child.exitCode === null && child.signalCode === null

  async function end(...signals: NodeJS.Signals[]) {
    if (running()) for (const signal of signals) child!.kill(signal)
    await ended
  }
  const kill = () => end('SIGKILL')
  async function stop() {
    const timer = setTimeout(kill, STOP)
    await end('SIGTERM', ...(windows ? [] : ['SIGCONT' as const]))
    clearTimeout(timer)
  }
  async function start() {
    if (running()) return
    const output = openSync(log, 'a')
    const before = statSync(log).size
    child = spawn(java, args, { cwd: home, stdio: ['ignore', output, output] })
    closeSync(output)
    const { pid } = child
    if (pid) guard.watch(pid)
    ended = once(child, 'close')
      .catch(reason)
      .finally(() => pid && guard.forget(pid))
    const said = () => readFileSync(log).subarray(before).toString()
    const wrong = (what: unknown) => new Error(`${name} did not start: ${what}\n${said().slice(-4000)}`)
    for (const deadline = Date.now() + START; !said().includes(STARTED); await sleep(25)) {
      if (!running()) throw wrong(`it ended with ${child.signalCode ?? child.exitCode ?? (await ended)}`)
      if (Date.now() > deadline) {
        await kill()
        throw wrong(`it was not ready within ${START / 1000} s`)
      }
    }
  }
  const freeze = () => void child?.kill('SIGSTOP')
  const thaw = () => void child?.kill('SIGCONT')
  return { stop, kill, start, freeze, thaw }
}

/** What `kafka.Kafka` logs once its broker is known to the controller and takes requests. */
const STARTED = 'Kafka Server started'
const JVM = [
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1', // a fifth less time to start
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
  '-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info', // says STARTED
  '-Dorg.slf4j.simpleLogger.showDateTime=true',
  '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS',
  '-Dlog4j2.statusLoggerLevel=OFF', // it would miss log4j-core
]
const LISTENERS = ['CLIENT', 'BROKER', 'CONTROLLER']
const SCRAM = ['SCRAM-SHA-256', 'SCRAM-SHA-512']

function common(nodes: number): Record<string, string> {
  const [replicas, minIsr] = [`${Math.min(nodes, 3)}`, nodes < 3 ? '1' : '2']
  return {
    'process.roles': 'broker,controller',
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'BROKER',
    'auto.create.topics.enable': 'false',
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': '3',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': minIsr,
    'transaction.state.log.num.partitions': '3',
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': minIsr,
    'share.coordinator.state.topic.num.partitions': '3',
    'broker.session.timeout.ms': '3000', // a killed node is let in again only when its last session has timed out
    'broker.heartbeat.interval.ms': '500',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'log.cleaner.dedupe.buffer.size': `${4 * 1024 * 1024}`, // not 128 MB of the heap
  }
}

/** Only clients: the nodes are plain among themselves. */
function security(sasl: Options['sasl'], pem: string | undefined): Record<string, string> {
  const protocol = `${sasl ? 'SASL_' : ''}${pem ? 'SSL' : 'PLAINTEXT'}`
  const jaas = (module: string, rest = '') => `org.apache.kafka.common.security.${module} required${rest};`
  const client = (entries: Record<string, string>) =>
    Object.fromEntries(Object.entries(entries).map(([key, value]) => [`listener.name.client.${key}`, value]))
  return {
    'listener.security.protocol.map': LISTENERS.map((name, i) => `${name}:${i ? 'PLAINTEXT' : protocol}`).join(),
    ...(sasl &&
      client({
        'sasl.enabled.mechanisms': ['PLAIN', ...SCRAM].join(),
        'plain.sasl.jaas.config': jaas(
          'plain.PlainLoginModule',
          ` ${quote(`user_${sasl.user}`)}=${quote(sasl.password)}`,
        ),
        ...Object.fromEntries(
          SCRAM.map((name) => [`${name.toLowerCase()}.sasl.jaas.config`, jaas('scram.ScramLoginModule')]),
        ),
      })),
    ...(pem &&
      client({
        'ssl.keystore.type': 'PEM',
        'ssl.keystore.location': join(pem, 'server.pem'),
        'ssl.truststore.type': 'PEM',
        'ssl.truststore.location': join(pem, 'ca.pem'),
        'ssl.client.auth': 'requested', // with SASL it counts only with the listener's name before it
      })),
  }
}

const quote = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`
/** A line of a Java properties file: ISO 8859-1, and a backslash escapes. */
const line = ([key, value]: [string, string]) =>
  `${key}=${value.replaceAll('\\', '\\\\').replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`

type Guard = { watch(pid: number): void; forget(pid: number): void; end(): Promise<void> }

/** Another process, which kills the nodes and removes the folder when this one ends, however it ends. */
function guarded(folder: string): Guard {
  // In a process group of its own: Ctrl-C is for the tests only.
  const child = spawn(process.execPath, [import.meta.filename, folder], {
    detached: true,
    windowsHide: true,
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const ended = once(child, 'close')
  child.unref()
  const input = child.stdin as Socket
  input.on('error', () => {}).unref()
  return {
    watch: (pid) => void input.write(`${pid}\n`),
    forget: (pid) => void input.write(`${-pid}\n`),
    async end() {
      input.end()
      child.ref()
      await ended
    },
  }
}

/** The other end: a line is a process to kill, or, with a minus, one that is gone. */
async function guard(folder: string) {
  const pids = new Set<number>()
  for await (const said of createInterface(process.stdin)) {
    if (Number(said) > 0) pids.add(Number(said))
    else pids.delete(-Number(said))
  }
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {} // it has just ended
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 20 }) // what is being killed still writes
}

/**
 * Distinct free ports, below those that systems give to outgoing connections (from 32768 on): a client that tries to
 * reach a stopped node could be given the very port it calls, and then be connected to itself.
 */
async function freePorts(count: number): Promise<number[]> {
  const held = new Map<number, Server>()
  while (held.size < count) {
    const port = randomInt(10_000, 32_000)
    const server = createServer()
    const taken = await once(server.listen(port, '127.0.0.1'), 'listening').then(
      () => false,
      () => true,
    )
    if (!taken) held.set(port, server)
  }
  await Promise.all(Array.from(held.values(), (server) => once(server.close(), 'close')))
  return [...held.keys()]
}

let java: Promise<string> | undefined
const findJava = () => (java ??= lookForJava())

async function lookForJava(): Promise<string> {
  const seen: string[] = []
  const home = process.env.JAVA_HOME
  for (const program of home ? [join(home, 'bin', 'java'), 'java'] : ['java']) {
    const said = await run(program, '--version').catch(reason) // Java 8 does not know the option
    if (Number(/^\w+ (\d+)/.exec(said)?.[1]) >= 17) return program
    seen.push(`${program}: ${said.split('\n')[0]}`)
  }
  throw new Error(`Java 17 or newer is needed for Kafka ${VERSION}: install one, or set JAVA_HOME (${seen.join('; ')})`)
}

let jars: Promise<string> | undefined
const fetchJars = () => (jars ??= fetchMissing())

/** Fetches what is not there yet into a folder of the user's cache. A changed list is another folder. */
async function fetchMissing(): Promise<string> {
  const base = windows ? process.env.LOCALAPPDATA : process.env.XDG_CACHE_HOME
  const cache = join(base || join(homedir(), windows ? 'AppData/Local' : '.cache'), 'client-predict')
  const home = join(cache, `kafka-${VERSION}-${sha256(JARS).slice(0, 8)}`)
  mkdirSync(home, { recursive: true })
  const wanted = JARS.trim()
    .split('\n')
    .map((text) => {
      const [sum, size, name] = text.split(' ') as [string, string, string]
      const [group, artifact, version] = name.split(':') as [string, string, string]
      const file = `${artifact}-${version}.jar`
      return {
        sum,
        url: [...group.split('.'), artifact, version, file].join('/'),
        path: join(home, file),
        size: +size,
      }
    })
  // What has its name was checked before it got it.
  const missing = wanted.filter(({ path, size }) => statSync(path, { throwIfNoEntry: false })?.size !== size)
  const worker = async () => {
    for (let jar = missing.pop(); jar; jar = missing.pop()) await fetchJar(jar)
  }
  try {
    await Promise.all(Array.from({ length: DOWNLOADS }, worker))
  } catch (error) {
    jars = undefined // the next one tries again, and goes on from here
    missing.length = 0
    throw error
  }
  return home
}

async function fetchJar({ sum, url, path }: { sum: string; url: string; path: string }) {
  const repository = process.env.MAVEN_REPOSITORY || 'https://repo1.maven.org/maven2/'
  const address = `${repository.replace(/\/*$/, '/')}${url}`
  for (let tries = 1; ; tries++) {
    try {
      const response = await fetch(address, { signal: AbortSignal.timeout(300_000) })
      if (!response.ok) throw new Error(`status ${response.status}`)
      const bytes = Buffer.from(await response.arrayBuffer())
      if (sha256(bytes) !== sum) throw new Error(`its SHA-256 is ${sha256(bytes)}, not ${sum}`)
      const part = `${path}.${randomBytes(4).toString('hex')}` // other processes may fetch it too
      writeFileSync(part, bytes)
      renameSync(part, path)
      return
    } catch (cause) {
      if (tries === TRIES) {
        const hint =
          'the first run needs the network; MAVEN_REPOSITORY can name a mirror, NODE_USE_ENV_PROXY=1 use your proxy'
        throw new Error(
          `Kafka ${VERSION} is not complete: no ${basename(path)} from ${address}: ${reason(cause)} (${hint})`,
          { cause },
        )
      }
      await sleep(1000 * tries)
    }
  }
}

const sha256 = (data: Buffer | string) => createHash('sha256').update(data).digest('hex')

/** Two authorities, and certificates of the first: one for the server (server.pem, with its key) and one for a client. */
function makeTls(folder: string): Tls {
  const [ca, otherCa] = [certificate('Test CA'), certificate('Other CA')]
  const [server, client] = [certificate('localhost', ca), certificate('client', ca)]
  const pkcs8 = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()
  const write = (name: string, pem: string) => {
    writeFileSync(join(folder, name), pem)
    return join(folder, name)
  }
  write('server.pem', pkcs8(server.key) + server.pem)
  return {
    ca: write('ca.pem', ca.pem),
    otherCa: write('other-ca.pem', otherCa.pem),
    clientCert: write('client.pem', client.pem),
    clientKey: write('client-key.pem', pkcs8(client.key)),
  }
}

type Identity = { name: string; key: KeyObject; pem: string }

/** Without an issuer: an authority, signed by itself. By hand, as neither Node nor keytool can make such PEM files. */
function certificate(name: string, issuer?: Identity): Identity {
  const { publicKey, privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const time = (days: number) => {
    const iso = new Date(Date.now() + days * 86_400_000).toISOString()
    return der(0x17, `${iso.replace(/\D/g, '').slice(2, 14)}Z`)
  }
  const dn = (name: string) => sequence(der(0x31, sequence(oid('550403'), der(0x0c, name)))) // commonName
  const algorithm = sequence(oid('2a8648ce3d040302')) // ECDSA with SHA-256
  const extension = issuer
    ? sequence(oid('551d11'), der(0x04, sequence(der(0x82, 'localhost'), der(0x87, Buffer.from([127, 0, 0, 1]))))) // SAN
    : sequence(oid('551d13'), der(0x04, sequence(der(0x01, Buffer.from([0xff]))))) // basicConstraints: an authority
  const unsigned = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))), // X.509 v3
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])), // serial number
    algorithm,
    dn(issuer?.name ?? name),
    sequence(time(-1), time(365)),
    dn(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(extension)),
  )
  const signature = createSign('sha256')
    .update(unsigned)
    .sign(issuer?.key ?? key)
  const signed = sequence(unsigned, algorithm, der(0x03, Buffer.from([0]), signature))
  const base64 = signed.toString('base64').replace(/.{64}/g, '$&\n')
  return { name, key, pem: `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n` }
}

function der(tag: number, ...parts: (Buffer | string)[]): Buffer {
  const content = Buffer.concat(parts.map((part) => Buffer.from(part as string)))
  const size = content.length
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}
const sequence = (...parts: Buffer[]) => der(0x30, ...parts)
const oid = (hex: string) => der(0x06, Buffer.from(hex, 'hex'))

/**
 * SHA-256, size and name of each. What Maven resolves for kafka_2.13 to run, without those that no class of a broker
 * uses (scala-reflect, log4j-core, YAML, Jackson's jdk8, all of commons but the validator, jspecify, kafka-tools-api),
 * and with slf4j-simple to log.
 */
const JARS = `
8a7458657938e9b692224db83aac458c13abd7a59ab75c3d3b08bd2233a646a2 897831 at.yawk.lz4:lz4-java:1.11.2
23028a3fd006e530bf495f551083208187cafd8f80624d048eba56442f16a50e 316573 com.dynatrace.hash4j:hash4j:0.22.0
53ca085f4a150f703f49e1aabd935bd03b43e1ea3d55d135438292af22cef56b 82104 com.fasterxml.jackson.core:jackson-annotations:2.21
8c5623b98f32d5f7e1287ff61ed50e08ab7b11381e991fff89327faabba42261 594782 com.fasterxml.jackson.core:jackson-core:2.21.7
1290c2795e93e8a6861a6c4d9ff0d844d32f5ea178362cb2721edf5561e828b1 1709095 com.fasterxml.jackson.core:jackson-databind:2.21.7
ec411dfdf0c03f25218648ce89861630b71680e5858a9a7278ebac8e55cab3d7 906581 com.github.ben-manes.caffeine:caffeine:3.2.0
c9043e2da8a16c13b6cd7661a5cb56685a573c3546ef4bd0ead67b0b67c2e107 6323239 com.github.luben:zstd-jni:1.5.7-17
7b52c72156dd7f98b3237a5b35c1d34fba381b21048c89208913ad80a45dfbd7 114335 com.google.re2j:re2j:1.8
0ad0c3f4d89d538b3b6c300158555e266aa69cf1b5f6522aba8b5bad238eb994 61614 com.typesafe.scala-logging:scala-logging_2.13:3.9.6
6b7a14a6f34c10f8683f7b5e2f39df0f07b58c7dff0e468ebbc713905c46979c 82123 com.yammer.metrics:metrics-core:2.2.0
ed74711a78d793ca37f6075e4a1e93d107233dfd20d0bb17e32bad88d38e56aa 203132 commons-validator:commons-validator:1.10.1
df26cc58f235f477db07f753ba5a3ab243ebe5789d9f89ecf68dd62ea9a66c28 78146 net.sf.jopt-simple:jopt-simple:5.0.4
65ceb669d88f63306c680f8088bbf765bbca72d288a61a03703000076c3d3f56 90347 net.sourceforge.argparse4j:argparse4j:0.7.0
1ab07317eb6633241392449d329dbdc5d9251e6ffc4926860f42dd966e88bdf9 10925782 org.apache.kafka:kafka-clients:4.4.0
e380267a17981edbadaa2e2e785f18dc1b5671abf2d1084eb7da06a765c71d0c 125271 org.apache.kafka:kafka-coordinator-common:4.4.0
bf11d7586c7363ba72a16ac5ef80c65365de9166469f7f6fc4ac5d2e0a98213a 31213 org.apache.kafka:kafka-group-coordinator-api:4.4.0
3fc830ace54f6a13f9f536bc0564bf39a68797365a4c4b194bd7db4fb893b2bc 1052839 org.apache.kafka:kafka-group-coordinator:4.4.0
6c52de74ecd670332e1e1324f5d40311275ac49b22699b6722e5fb07dd266fcb 870061 org.apache.kafka:kafka-metadata:4.4.0
687f278ce5d82b7f53644643e21e1a7452530f202826108990f0fe4f3d334d4f 338700 org.apache.kafka:kafka-raft:4.4.0
e50931831a27a2f3eb6cf74e8d63cc325b4e98656f30e94f8829297951ca5080 411710 org.apache.kafka:kafka-server-common:4.4.0
5f5456c2976203525080220212639f7033274b94458ceabf44197f4800bd615c 525976 org.apache.kafka:kafka-server:4.4.0
6969a7961ca98d37a039bbe0af0fe761d6b0dd07ca9666802f47821167afbb6e 116547 org.apache.kafka:kafka-share-coordinator:4.4.0
edd47a86cdce283fc15d033090417a5dec29642eb807713f2e807e3c46b5ca46 29795 org.apache.kafka:kafka-storage-api:4.4.0
9eaa4dafacc251080ece0efa8511283da5de6931e843457f6af87f02f9b50039 646984 org.apache.kafka:kafka-storage:4.4.0
1d5324d59776d6b7f324cfdc87647b1e88f9823332201c0324e7ae9f210d915d 82042 org.apache.kafka:kafka-transaction-coordinator:4.4.0
76d3314f873571677ff98620ab9a431e508e3687f921a3df4f70d692a970475e 1333804 org.apache.kafka:kafka_2.13:4.4.0
64777f73ea0b3104c04eb82befbdccc30a425a19e83ad06cb2f93aa303511863 351427 org.apache.logging.log4j:log4j-api:2.25.5
7314af50cde9c99e8eaf43eee617a23edcc6bb43036221064355094999d837ef 299502 org.bitbucket.b_c:jose4j:0.9.6
22d1d4316c4ec13a68b559e98c8256d69071593731da96136640f864fa14fad8 177206 org.hdrhistogram:HdrHistogram:2.2.2
2bbeef5797a241300c4f7513cd546239629ed7deda4fc0c31df90bb95f5f13ef 73718 org.pcollections:pcollections:4.0.2
4e85d96ff7bc7dc627985523c3541b9917aaa08e956391380c42db21a2c4e5a0 5940741 org.scala-lang:scala-library:2.13.18
d3ef575e3e4979678dc01bf1dcce51021493b4d11fb7f1be8ad982877c16a1c0 41125 org.slf4j:slf4j-api:1.7.36
2f39bed943d624dfa8f4102d0571283a10870b6aa36f197a8a506f147010c10f 15333 org.slf4j:slf4j-simple:1.7.36
4c766cb3f855415ee734b2392949a0b6f12a60879334a74518deaf6270d32e36 2338496 org.xerial.snappy:snappy-java:1.1.10.7
`

if (import.meta.main) await guard(process.argv[2]!)
