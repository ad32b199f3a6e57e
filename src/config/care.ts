import { amount, count, oneOf, url } from './schemas.ts'

/** The settings of model care, as they stand in SETTINGS. */
export const CARE = {
  TRUTH: {
    schema: oneOf('producer', 'reviewer'),
    meaning:
      "whose word counts where no person has said what a payment was: producer (is_fraud), or reviewer: nobody's; unset: producer once it has called a payment fraud",
  },
  TRUTH_DELAY_DAYS: {
    schema: count('days', 3650, 0),
    meaning:
      'days until it is known whether a payment was fraud: younger ones count in no figure; unset: 0 with TRUTH=producer, else 7; with chargebacks 45',
  },
  REVIEW_COST: {
    schema: amount,
    default: '2',
    meaning: 'what it costs to look at one alarm, in $',
  },
  MLFLOW_TRACKING_URI: {
    schema: url('http:', 'https:'),
    secret: true as const,
    meaning:
      'the MLflow server that gets the figures of each model once a day, e.g. http://mlflow.example:5000 (user:password@ goes before its host); its registry is asked for MODEL_NAME',
  },
  PROMOTE_BY_ALIAS: {
    schema: oneOf('yes', 'no').transform((text) => text === 'yes'),
    default: 'no',
    meaning:
      'yes: when the alias of MODEL_NAME (champion, unless it names another) moves in the registry to CHALLENGER_NAME, that is promoted; no: it is told',
  },
}
