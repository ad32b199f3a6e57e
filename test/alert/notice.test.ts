import { expect, test } from 'vitest'
import { verdict } from '../../src/alert/notice.ts'

const figures = { flagged: 20, of: 200, usual: 0.0059, chance: 3.2e-15 }

test('a model that looks broken is told with the figures, its name, and what comes of it', () => {
  expect(verdict('broken', figures, 'rf/7')).toEqual({
    subject: 'The model looks broken: 10 % taken for fraud',
    lines: [
      'The model rf/7 took 20 of the last 200 transactions for fraud, 10 %; usually it is about 0.59 %.',
      'By chance so many come once in 10^14 times.',
      'Until it is plausible again, alarms come as one list every 15 minutes. None is left out.',
      'Look at the model server: another version, changed columns or units? ALERT_BREAKER=off turns this check off.',
    ],
  })
})

test('so is one that is plausible again', () => {
  expect(verdict('sound', { ...figures, flagged: 1 }, null)).toEqual({
    subject: 'The model is plausible again: 0.5 % taken for fraud',
    lines: [
      'The model took 1 of the last 200 transactions for fraud, 0.5 %; usually it is about 0.59 %.',
      'Alarms come one by one again.',
    ],
  })
})

test('a stand-in is marked, and a chance too small to be a number is said all the same', () => {
  const { subject, lines } = verdict('broken', { ...figures, chance: 0 }, 'simulated')
  expect(subject).toBe('[simulated] The model looks broken: 10 % taken for fraud')
  expect(lines[1]).toBe('By chance so many come once in 10^300 times.')
})
