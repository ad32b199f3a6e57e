'use strict'
// zod without what it says in fifty languages, which is most of what it loads: 13 MB, and half of its time. Nothing here
// shows its own sentences.
const { dirname, join } = require('node:path')
const { Module } = require('node:module')

const none = new Module('')
require.cache[join(dirname(require.resolve('zod')), 'v4/locales/index.cjs')] = Object.assign(none, { loaded: true })
module.exports = require('zod')
