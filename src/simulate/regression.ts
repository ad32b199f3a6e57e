import { setImmediate as breathe } from 'node:timers/promises'

/** One sample's features; NaN is a value that is not known. */
export type Vector = readonly number[]

const RIDGE = 1 // pulls the weights towards 0, as if a few more rows had said nothing; without it separable data diverge
const ITERATIONS = 10 // Newton's method: 15 more moved no probability by over 0.002 and no decision at 0.5

/**
 * Logistic regression, fitted by Newton's method. Features are standardised first; an unknown one counts as average.
 * Gives the probability of label 1. Lets the event loop breathe between iterations, each a few ms for 4,500 samples.
 */
export async function fitLogistic(samples: readonly Vector[], labels: readonly (0 | 1)[]) {
  const scales = samples[0]!.map((_, i) => scale(samples.map((sample) => sample[i]!).filter(Number.isFinite)))
  const standardise = (sample: Vector) => [
    1,
    ...scales.map((by, i) => (Number.isFinite(sample[i]) ? by(sample[i]!) : 0)),
  ]
  const rows = samples.map(standardise)
  await breathe()
  const weights = rows[0]!.map(() => 0)
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    const gradient = weights.map((weight, i) => (i > 0 ? -RIDGE * weight : 0)) // the intercept, 0, stays free
    // Symmetric: only the half from the diagonal on is filled.
    const hessian = weights.map((_, i) => weights.map((_, j) => (i === j && i > 0 ? RIDGE : 0)))
    rows.forEach((row, n) => {
      const p = sigmoid(dot(weights, row))
      const variance = p * (1 - p)
      for (let i = 0; i < row.length; i++) {
        gradient[i]! += row[i]! * (labels[n]! - p)
        const line = hessian[i]!
        const weighted = variance * row[i]!
        for (let j = i; j < row.length; j++) line[j]! += weighted * row[j]!
      }
    })
    solve(hessian, gradient).forEach((step, i) => {
      weights[i]! += step
    })
    await breathe()
  }
  return (sample: Vector): number => sigmoid(dot(weights, standardise(sample)))
}

/** Area under the ROC curve: how often a random sample labelled 1 scores above a random one labelled 0, a tie counting half. */
export function rocAuc(scores: readonly number[], labels: readonly (0 | 1)[]): number {
  const order = scores.map((score, i) => ({ score, label: labels[i]! })).sort((a, b) => a.score - b.score)
  let below = 0
  let won = 0
  for (let i = 0; i < order.length; ) {
    let end = i
    while (end < order.length && order[end]!.score === order[i]!.score) end++
    const ones = order.slice(i, end).filter(({ label }) => label === 1).length
    won += ones * (below + (end - i - ones) / 2)
    below += end - i - ones
    i = end
  }
  return won / (below * (order.length - below))
}

/** Makes values of mean 0 and standard deviation 1; a feature that never varies stays 0. */
export function scale(values: readonly number[]): (value: number) => number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) || 1
  return (value) => (value - mean) / deviation
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

function dot(a: Vector, b: Vector): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

/**
 * Solves `matrix · x = right` in place. The matrix is symmetric and only read from its diagonal on; no pivoting, as
 * the ridge makes it positive definite.
 */
function solve(matrix: number[][], right: number[]): number[] {
  const size = right.length
  for (let k = 0; k < size; k++) {
    for (let i = k + 1; i < size; i++) {
      const factor = matrix[k]![i]! / matrix[k]![k]!
      for (let j = i; j < size; j++) matrix[i]![j]! -= factor * matrix[k]![j]!
      right[i]! -= factor * right[k]!
    }
  }
  for (let i = size - 1; i >= 0; i--) {
    for (let j = i + 1; j < size; j++) right[i]! -= matrix[i]![j]! * right[j]!
    right[i]! /= matrix[i]![i]!
  }
  return right
}
