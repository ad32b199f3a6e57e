import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import {
  asyncBufferFromFile,
  type FileMetaData,
  type ParquetParsers,
  parquetMetadataAsync,
  parquetReadObjects,
  type RowGroup,
  type SchemaElement,
} from 'hyparquet'
import { ByteWriter, ParquetWriter } from 'hyparquet-writer'
import { COLUMNS, type ColumnName, TABLE } from '../columns.ts'
import { flush } from '../io/files.ts'
import { utc } from '../io/time.ts'
import type { Aged, Which } from '../review/reviews.ts'

/** Times are UTC in all of these; card numbers have all of their digits in 64 bits. */
const STAMPS = ['trans_date_trans_time', 'event_time', 'fetched_at', 'predicted_at', 'reviewed_at']
/** What was said of a row, and what a challenger says: lists as JSON. */
const LISTS = ['reviews', 'judgements'] as const
type List = (typeof LISTS)[number]
const isList = (name: string): name is List => LISTS.includes(name as List)
const NAMES = [...COLUMNS, ...LISTS]
const ELEMENTS = NAMES.map(element)
const SCHEMA: SchemaElement[] = [{ name: 'root', num_children: NAMES.length }, ...ELEMENTS]

function element(name: ColumnName | List): SchemaElement {
  const { type = 'text', required = isList(name) } = isList(name) ? {} : TABLE[name]
  const shared = { name, repetition_type: required ? ('REQUIRED' as const) : ('OPTIONAL' as const) }
  if (STAMPS.includes(name))
    return {
      ...shared,
      type: 'INT64',
      converted_type: 'TIMESTAMP_MILLIS',
      logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'MILLIS' },
    }
  if (type === 'integer') return { ...shared, type: 'INT64' }
  if (type === 'real') return { ...shared, type: 'DOUBLE' }
  if (type === 'flag') return { ...shared, type: 'INT32' }
  return { ...shared, type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } }
}

/** How a column is written of each row. */
function written(name: ColumnName | List, { type }: SchemaElement): (row: Aged) => unknown {
  if (name === 'trans_date_trans_time') return (row) => BigInt(Math.floor(row.event_time / 1000) * 1000)
  if (isList(name)) return (row) => JSON.stringify(row[name])
  if (type !== 'INT64') return (row) => row[name]
  return ({ [name]: value }) => (value === null ? null : BigInt(value as number))
}
function read(found: Record<string, unknown>): Aged {
  const row = Object.fromEntries(
    NAMES.map((name) => {
      const value = found[name] ?? null
      if (isList(name)) return [name, JSON.parse(String(value))]
      return [name, typeof value === 'bigint' && name !== 'cc_num' ? Number(value) : value]
    }),
  ) as Aged
  return { ...row, trans_date_trans_time: utc(row.event_time) }
}
/** As they are, not as a Date. */
const PARSERS = { timestampFromMilliseconds: (ms: bigint) => ms } as unknown as ParquetParsers

/** A file of rows, as it was when it was opened; each of its groups was put there in one. */
export type ArchiveFile = {
  path: string
  metadata: FileMetaData
  groups: readonly { first: number; last: number; rows: number; start: number }[]
  /** Of that group, in the order of time. */
  rows(group: number): Promise<Aged[]>
  names(group: number): Promise<Which[]>
}

/** Undefined where there is none. Throws where it is not as it was written. */
export async function openArchive(path: string): Promise<ArchiveFile | undefined> {
  if (!(await stat(path).catch(() => undefined))) return undefined
  try {
    const file = await asyncBufferFromFile(path)
    const metadata = await parquetMetadataAsync(file, { parsers: PARSERS })
    if (namesIn(metadata.schema) !== namesIn(SCHEMA)) throw new Error('its columns are those of another version')
    let start = 0
    const groups = metadata.row_groups.map(({ columns, num_rows }) => {
      const { min_value, max_value } = columns[NAMES.indexOf('event_time')]!.meta_data!.statistics!
      const group = { first: Number(min_value), last: Number(max_value), rows: Number(num_rows), start }
      start += group.rows
      return group
    })
    const part = (group: number, columns?: string[]) =>
      parquetReadObjects({
        ...{ file, metadata, parsers: PARSERS, ...(columns && { columns }) },
        rowStart: groups[group]!.start,
        rowEnd: groups[group]!.start + groups[group]!.rows,
      })
    return {
      ...{ path, metadata, groups },
      rows: async (group) => (await part(group)).map(read),
      names: async (group) =>
        (await part(group, ['trans_num', 'event_time'])).map((found) => ({
          trans_num: String(found.trans_num),
          event_time: Number(found.event_time),
        })),
    }
  } catch (error) {
    throw new Error(`cannot read ${path}: is it whole? Put it back from a backup, or move it away`, { cause: error })
  }
}
const namesIn = (schema: readonly SchemaElement[]) => schema.map(({ name, type }) => `${name} ${type}`).join()

/** Up to where the rows of these groups go, in bytes. */
const endOf = (groups: readonly RowGroup[]) =>
  groups.reduce((end, { total_compressed_size }) => end + Number(total_compressed_size), 4)

/** Throws unless the bytes of the rows are those that were written; `each` is given them on the way. */
export async function assertUnchanged({ path, metadata }: ArchiveFile, each?: (bytes: Buffer) => Promise<void>) {
  const noted = metadata.key_value_metadata?.find(({ key }) => key === 'sha256')?.value
  const hash = createHash('sha256')
  for await (const bytes of createReadStream(path, { end: endOf(metadata.row_groups) - 1 })) {
    hash.update(bytes)
    await each?.(bytes)
  }
  if (hash.digest('hex') !== noted)
    throw new Error(`${path} is not as it was written: put it back from a backup; no row is moved before`)
}

/**
 * Writes the file anew: its first `kept` groups to the byte, then these. Whole and on disk before it has its name: until
 * then there is what there was. Without any group there is no file.
 */
export async function rewrite(path: string, old: ArchiveFile | undefined, kept: number, groups: AsyncIterable<Aged[]>) {
  const part = `${path}.part`
  await rm(part, { force: true }) // of one that was killed
  const before = old?.metadata.row_groups.slice(0, kept) ?? []
  const end = before.length > 0 ? endOf(before) : 0
  const hash = createHash('sha256')
  const file = await open(part, 'a')
  try {
    let left = end
    const copy = async (bytes: Buffer) => {
      const some = bytes.subarray(0, left)
      left -= some.length
      hash.update(some)
      await file.appendFile(some)
    }
    if (old) await assertUnchanged(old, copy)
    const writer = new ByteWriter()
    const parquet = new ParquetWriter({ writer, schema: SCHEMA, createdBy: 'client-predict' })
    if (end > 0) [writer.index, writer.offset] = [0, end] // the head is there
    parquet.row_groups.push(...before)
    parquet.num_rows = before.reduce((sum, { num_rows }) => sum + num_rows, 0n)
    const put = async () => {
      const bytes = writer.getBytes().slice()
      writer.index = 0
      await file.appendFile(bytes)
      return bytes
    }
    for await (const rows of groups) {
      const columnData = NAMES.map((name, i) => ({
        ...{ name, data: rows.map(written(name, ELEMENTS[i]!)) },
        ...{ offsetIndex: false, statistics: name === 'event_time' },
      }))
      await parquet.write({ columnData, rowGroupSize: rows.length })
      hash.update(await put())
    }
    parquet.kvMetadata = [{ key: 'sha256', value: hash.digest('hex') }]
    await parquet.finish()
    await put()
    await file.sync()
    await file.close()
    const found = await openArchive(part)
    if (found!.groups.length > 0) {
      await assertUnchanged(found!)
      await rename(part, path)
    } else for (const name of [path, part]) await rm(name, { force: true })
    await flush(dirname(path))
  } finally {
    await file.close()
    await rm(part, { force: true })
  }
}
