#!/usr/bin/env node
import './node-version.cjs'
import { listenForStop } from './stop.ts'

// In this order: who is asked to stop while the rest is still loading (a third of a second) stops as well.
const stopping = listenForStop()
const { run } = await import('./run.ts')
await new Promise(setImmediate) // what came meanwhile is heard
await run(stopping)
