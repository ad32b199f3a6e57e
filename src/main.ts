#!/usr/bin/env node
import { stopping } from './start.cjs'

const { run } = await import('./cli.ts') // a third of a second
await new Promise(setImmediate) // what came meanwhile is heard
await run(stopping)
