'use strict'
// Plain JavaScript that Node.js reads from 12 on: an older one says in a line what it lacks, before it meets TypeScript.
const wanted = require('../package.json').engines.node.replace('>=', '')
const [major, minor] = process.versions.node.split('.').map(Number)
const [least, minorOfLeast] = wanted.split('.').map(Number)
if (major < least || (major === least && minor < minorOfLeast)) {
  const here = `this is ${process.versions.node} (${process.execPath})`
  console.error(
    `client-predict wants Node.js ${wanted} or newer, and ${here}: npm ci && npm start brings its own along`,
  )
  process.exit(2)
}
