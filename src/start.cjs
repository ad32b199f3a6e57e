'use strict'
// Runs before all else, by `node -r`: plain JavaScript that Node.js reads from 12 on.

/** SIGHUP comes when the terminal is closed. A service has none: there it asks for the settings to be read again. */
const SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGHUP'])
// First of all: who is asked to stop while the rest is still loading (a third of a second) stops as well.
for (const signal of SIGNALS) process.on(signal, ask)

// An older Node.js says in a line what it lacks, before it meets TypeScript.
const wanted = require('../package.json').engines.node.replace('>=', '')
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const [least = 0, minorOfLeast = 0] = wanted.split('.').map(Number)
if (major < least || (major === least && minor < minorOfLeast)) {
  const here = `this is ${process.versions.node} (${process.execPath})`
  console.error(
    `client-predict wants Node.js ${wanted} or newer, and ${here}: npm ci && npm start brings its own along`,
  )
  process.exit(2)
}

// Half of a start is to compile what was compiled before. It is kept beside the packages: who can write there can change
// the program anyway. Where nobody can, nothing is kept.
require('node:module').enableCompileCache(require('node:path').join(__dirname, '../node_modules/.cache/client-predict'))

// What is in hand lives for a moment: the engine would take 64 MB for it rather than look through what there is more often,
// and have threads help to look that take more than they save. See src/io/young.ts.
for (const flag of ['--semi-space-growth-factor=1', '--no-parallel-scavenge'])
  require('node:v8').setFlagsFromString(flag)

/** ms after which a stop is no longer waited for; `docker stop` kills after 10 s */
const STOP_WITHIN = 8000
const stop = new AbortController()
/** @type {NodeJS.Signals | undefined} */
let asked
/** @param {string} _text */
let say = (_text) => {}

/** @type {(() => void) | undefined} */
let again

/** @param {NodeJS.Signals} signal */
function ask(signal) {
  if (signal === 'SIGHUP' && again && !asked && !terminal) return again()
  if (asked) end(signal)
  asked = signal
  say(`${signal}: stopping`)
  stop.abort(new Error('stopped'))
  setTimeout(() => {
    say('not everything ended in time; what was not noted is done again after the next start')
    process.exit(0)
  }, STOP_WITHIN).unref()
}

/** Is there one that can be closed, whatever the streams lead to? To be asked before it is. */
const terminal = process.platform === 'win32' || canOpen('/dev/tty')

/** @param {string} path */
function canOpen(path) {
  const { closeSync, openSync } = require('node:fs')
  try {
    closeSync(openSync(path, 'r'))
    return true
  } catch {
    return false
  }
}

/** @type {(signal: NodeJS.Signals) => never} */
const end = (signal) => process.exit(128 + require('node:os').constants.signals[signal])

/** `signal` is aborted by the first SIGTERM, Ctrl-C, or SIGHUP from a terminal; the second one ends the process at once. */
exports.stopping = {
  signal: stop.signal,
  /**
   * Who is to be told of it; at once when it was asked for before.
   * @param {typeof say} how
   */
  tell(how) {
    say = how
    if (asked) say(`${asked}: stopping`)
  },
  /**
   * What SIGHUP asks for where there is no terminal.
   * @param {() => void} how
   */
  reread(how) {
    again = how
  },
  /** For what a signal may end in the middle, as it ends any program. */
  release() {
    for (const signal of SIGNALS) process.off(signal, ask)
    if (asked) end(asked)
  },
}

/** @typedef {typeof exports.stopping} Stopping */
