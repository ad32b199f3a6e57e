'use strict'
// What of prom-client counts in this process. The rest is for those that push, or have several: 40 ms and 16 MB.

/** @param {string} name @returns {any} */
const part = (name) => require(`prom-client/lib/${name}`)

exports.Counter = /** @type {typeof import('prom-client').Counter} */ (part('counter'))
exports.Gauge = /** @type {typeof import('prom-client').Gauge} */ (part('gauge'))
exports.Histogram = /** @type {typeof import('prom-client').Histogram} */ (part('histogram'))
exports.Registry = /** @type {typeof import('prom-client').Registry} */ (part('registry'))
exports.collectDefaultMetrics = /** @type {typeof import('prom-client').collectDefaultMetrics} */ (
  part('defaultMetrics')
)
