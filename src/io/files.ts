import { statSync } from 'node:fs'
import { open } from 'node:fs/promises'

/** A file, or the names in a folder, are on disk when it resolves. A folder cannot be flushed on Windows. */
export async function flush(path: string) {
  if (process.platform === 'win32' && statSync(path).isDirectory()) return
  const file = await open(path, 'r+').catch(() => open(path, 'r'))
  await file.sync().finally(() => file.close())
}
