import { percent } from '../io/text.ts'
import { mark, type Notice } from './notifier.ts'

/** What to say when the model stops being credible, and when it is so again. */
export function verdict(
  change: 'broken' | 'sound' | 'another',
  { flagged, of, usual, chance }: { flagged: number; of: number; usual: number; chance: number },
  model: string | null,
): Notice {
  const marked = mark([{ model }])
  const named = model ? `The model ${model}` : 'The model'
  const share = `${named} took ${flagged} of the last ${of} transactions for fraud, ${percent(flagged / of, 2)}; usually it is about ${percent(usual, 2)}.`
  if (change === 'another')
    return {
      subject: `${marked}Another model judges: ${model ?? 'one without a name'}`,
      lines: ['The one before it looked broken.', 'Alarms come one by one again.'],
    }
  return change === 'broken'
    ? {
        subject: `${marked}The model looks broken: ${percent(flagged / of, 2)} taken for fraud`,
        lines: [
          share,
          `By chance so many come once in 10^${Math.floor(-Math.log10(Math.max(chance, 1e-300)))} times.`,
          'Until it is plausible again, alarms come as one list every 15 minutes. None is left out.',
          'Look at the model server: another version, changed columns or units? ALERT_BREAKER=off turns this check off.',
        ],
      }
    : {
        subject: `${marked}The model is plausible again: ${percent(flagged / of, 2)} taken for fraud`,
        lines: [share, 'Alarms come one by one again.'],
      }
}
