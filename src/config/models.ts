import { features, headers, oneOf, share, url } from './schemas.ts'
import { z } from './zod.cjs'

/** The settings of the models: who judges, who is tried beside it, and what they are sent. */
export const MODELS = {
  MODEL_URL: {
    schema: url('http:', 'https:'),
    meaning:
      'the base URL of the MLflow model server; the worker posts to $MODEL_URL/invocations; unset: a simulated one',
  },
  MODEL_HEADERS: { schema: headers, secret: true, default: '{}', meaning: 'extra request headers, a JSON object' },
  MODEL_FEATURES: {
    schema: features,
    default: 'all',
    meaning:
      'columns sent to the model: all (the 21 features), numeric (the nine numeric ones), a comma list, in that order, or auto: those of its signature in the registry of MLFLOW_TRACKING_URI',
  },
  MODEL_NAME: {
    schema: z.string(),
    meaning:
      'stamped on every prediction, e.g. fraud-rf/7; an alias, fraud-rf@champion, stands for the version that MLFLOW_TRACKING_URI says',
  },
  CHALLENGER_URL: {
    schema: url('http:', 'https:'),
    meaning: 'the base URL of a second model server, which judges the same rows for comparison alone; unset: none',
  },
  CHALLENGER_NAME: { schema: z.string(), meaning: 'stamped on its judgements, e.g. fraud-rf/8' },
  CHALLENGER_HEADERS: { schema: headers, secret: true, default: '{}', meaning: 'extra request headers, a JSON object' },
  CHALLENGER_FEATURES: { schema: features, meaning: 'columns sent to it, as MODEL_FEATURES; unset: the same' },
  FRAUD_THRESHOLD: {
    schema: share,
    default: '0.5',
    meaning:
      'fraud from this probability on, where the model answers one and no verdict; with classes it has no effect',
  },
  MODEL_FRAUD_VALUE: {
    schema: z.string(),
    meaning:
      'the class or label that means fraud, where that is not 1 or a known label: e.g. -1 (an outlier detector), 2, suspicious; every other one is honest',
  },
  UNIX_TIME_UNIT: {
    schema: oneOf('s', 'ms'),
    default: 's',
    meaning: 'unit of unix_time as the model was trained: s (the training file) or ms (the first clients)',
  },
} as const
