import { afterAll } from 'vitest'
import { archiveSuite } from '../../archive/suite.ts'
import { startPostgres } from '../../postgres.ts'
import { postgresPlace } from './place.ts'

const server = await startPostgres()
afterAll(() => server[Symbol.asyncDispose](), 60_000)

archiveSuite('PostgreSQL', postgresPlace(server))
