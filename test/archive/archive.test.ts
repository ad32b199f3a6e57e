import { sqlitePlace } from '../review/place.ts'
import { archiveSuite } from './suite.ts'

archiveSuite('SQLite', sqlitePlace)
