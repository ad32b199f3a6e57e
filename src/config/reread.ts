import { statSync } from 'node:fs'
import type { Logger } from 'pino'
import { reason } from '../io/errors.ts'
import { ConfigError, type Environment, environment, readConfig } from './read.ts'
import { type Config, type Name, SETTINGS } from './settings.ts'

/** ms between looks at the files of NAME_FILE */
const LOOK = 5000
/** What takes a new value without a restart: it is looked at each time it is used. */
const TAKEN: readonly Name[] = ['PRODUCER_HEADERS', 'MODEL_HEADERS', 'SMTP_URL', 'ALERT_WEBHOOK_URL', 'HEARTBEAT_URL']
/** Of these the password of a PostgreSQL alone. */
const PLACES = ['TOPICS_URL', 'DATABASE_URL'] as const

/**
 * Reads the settings again whenever a file that NAME_FILE names has changed, and when `now` is called. What can be taken at
 * once is, in place: whoever has been given the value has the new one. Of the rest is said that it wants a restart, and of
 * settings that are wrong what is: those that are at work stay.
 */
export function rereading(config: Config, env: Environment, log: Logger, look = LOOK) {
  let seen = signature(env)
  let known = texts(config)
  function now() {
    try {
      const fresh = readConfig(environment(env))
      const said = texts(fresh)
      const changed = (Object.keys(SETTINGS) as Name[]).filter((name) => said[name] !== known[name])
      const taken = changed.filter((name) => take(config, fresh, name))
      const later = changed.filter((name) => !taken.includes(name))
      known = said
      if (taken.length > 0) log.info(`read again: ${taken.join(', ')}`)
      if (later.length > 0) log.warn(`${later.join(', ')}: has changed, and counts from the next start on`)
      if (changed.length === 0) log.info('the settings were read again: nothing has changed')
    } catch (error) {
      const lines = error instanceof ConfigError ? error.lines : [reason(error)]
      for (const line of lines) log.error(`${line}; what was set before stays`)
    }
  }
  const timer = setInterval(() => {
    const found = signature(env)
    if (found === seen) return
    seen = found
    now()
  }, look).unref()
  return { now, [Symbol.dispose]: () => clearInterval(timer) }
}

const texts = (config: Config) =>
  Object.fromEntries(Object.entries(config).map(([name, value]) => [name, JSON.stringify(value)])) as Record<
    Name,
    string
  >

/** When each of the files was written, and which it is: a Secret of Kubernetes is another file each time. */
const signature = (env: Environment) =>
  Object.keys(SETTINGS)
    .map((name) => env[`${name}_FILE`]?.trim())
    .map((path) => path && statSync(path, { throwIfNoEntry: false }))
    .map((found) => found && `${found.ino} ${found.size} ${found.mtimeMs}`)
    .join()

function take(config: Config, fresh: Config, name: Name): boolean {
  const [old, next] = [config[name], fresh[name]]
  const place = PLACES.find((one) => one === name)
  if (place) return takePassword(config[place], fresh[place])
  if (!TAKEN.includes(name) || typeof old !== 'object' || typeof next !== 'object') return false
  if (old instanceof URL) old.href = String(next)
  else {
    for (const key of Object.keys(old)) delete (old as Record<string, unknown>)[key]
    Object.assign(old, next)
  }
  return true
}

function takePassword(old: Config['TOPICS_URL'], next: Config['TOPICS_URL']): boolean {
  if (old.engine !== 'postgres' || next.engine !== 'postgres') return false
  const like = new URL(next.url)
  like.password = old.url.password
  if (like.href !== old.url.href) return false
  old.url.password = next.url.password
  return true
}
