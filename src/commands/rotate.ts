import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { utc } from '../io/time.ts'
import { backup, filesOf, type Places, partOf } from './backup.ts'

/** How a copy's folder is named: by when it was made, UTC. */
const NAME = /^\d{4}-\d\d-\d\dT\d{6}Z$/
const nameAt = (at: number) => `${utc(at).replace(' ', 'T').replaceAll(':', '')}Z`

/**
 * Copies into a folder of its own below `folder`, and then removes the oldest copies there until `keep` are left; nothing
 * before the new one is whole. What else is in those folders stays.
 */
export async function rotate(folder: string, places: Places, keep: number, at = Date.now()): Promise<string[]> {
  const fresh = nameAt(at)
  const lines = await backup(join(folder, fresh), places)
  const files = filesOf(places).map((path) => basename(path))
  if (files.length === 0) return lines
  const isWhole = (name: string) => files.every((file) => existsSync(join(folder, name, file)))
  const others = copiesIn(folder).filter((name) => name !== fresh)
  const kept = new Set(others.filter(isWhole).slice(0, keep - 1))
  const removed = others.filter((name) => !kept.has(name)).map((name) => remove(join(folder, name), files))
  return [...lines, ...removed]
}

/** The names of the copies that were made there, newest first. */
export const copiesIn = (folder: string) =>
  readdirSync(folder)
    .filter((name) => NAME.test(name))
    .sort()
    .reverse()

function remove(folder: string, files: readonly string[]): string {
  for (const file of files) for (const name of [file, partOf(file)]) rmSync(join(folder, name), { force: true })
  if (readdirSync(folder).length > 0) return `${folder}: the copy is removed, what else is in it is left`
  rmdirSync(folder)
  return `${folder} is removed`
}
