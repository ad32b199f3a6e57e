/**
 * What the people who review need of the table, the same for every engine: an index for each way to a payment, their
 * verdicts, of which each is a row for good, and what was exported. Verdicts outlive a table that was dropped.
 */
export const reviewSchema = (table: string, type: { id: string; integer: string; text: string }) => `
  CREATE INDEX IF NOT EXISTS ${table}_time ON ${table} (event_time);
  CREATE INDEX IF NOT EXISTS ${table}_card ON ${table} (cc_num, event_time);
  CREATE INDEX IF NOT EXISTS ${table}_last_four ON ${table} ((cc_num % 10000), event_time);
  CREATE INDEX IF NOT EXISTS ${table}_alarms ON ${table} (amt, event_time) WHERE prediction = 1 AND ${OPEN};
  CREATE INDEX IF NOT EXISTS ${table}_audit ON ${table} (event_time) WHERE prediction = 0 AND sampled IS NOT NULL AND ${OPEN};
  CREATE INDEX IF NOT EXISTS ${table}_reviewed ON ${table} ((coalesce(reviewed_at, 0))) WHERE ${REVIEWED};
  CREATE TABLE IF NOT EXISTS reviews (
    id ${type.id},
    trans_num ${type.text} NOT NULL,
    event_time ${type.integer} NOT NULL,
    verdict ${type.text} NOT NULL CHECK (verdict IN ('fraud', 'legit', 'unsure', 'withdrawn')),
    note ${type.text},
    reviewer ${type.text} NOT NULL,
    via ${type.text} NOT NULL,
    at ${type.integer} NOT NULL
  );
  CREATE INDEX IF NOT EXISTS reviews_of ON reviews (trans_num, event_time, id);
  CREATE TABLE IF NOT EXISTS exports (
    id ${type.id}, at ${type.integer} NOT NULL, kind ${type.text} NOT NULL, exported ${type.integer} NOT NULL,
    review ${type.integer} NOT NULL
  );`

/** What tells how good the model is: see src/care/drift.ts for what is counted. */
export const careSchema = (table: string, type: { integer: string; text: string; real: string }) => `
  ALTER TABLE ${table} ADD COLUMN threshold ${type.real};
  CREATE TABLE IF NOT EXISTS baselines (
    model ${type.text} NOT NULL, name ${type.text} NOT NULL, first ${type.integer} NOT NULL, last ${type.integer} NOT NULL,
    cells ${type.text} NOT NULL, counts ${type.text} NOT NULL, PRIMARY KEY (model, name, first)
  );`

/** What a challenger says of the same rows; each model says it once. */
export const judgementSchema = (type: { integer: string; real: string; text: string }) => `
  CREATE TABLE IF NOT EXISTS judgements (
    trans_num ${type.text} NOT NULL, event_time ${type.integer} NOT NULL, model ${type.text} NOT NULL,
    prediction ${type.integer} NOT NULL, score ${type.real}, threshold ${type.real} NOT NULL,
    predicted_at ${type.integer} NOT NULL,
    PRIMARY KEY (event_time, trans_num, model)
  );
  CREATE INDEX IF NOT EXISTS judgements_flagged ON judgements (predicted_at) WHERE prediction = 1`

/** Nobody has said anything of the row, here or by SQL alone; somebody has. */
export const OPEN = 'reviewed_at IS NULL AND fraud_confirmed IS NULL'
export const REVIEWED = '(reviewed_at IS NOT NULL OR fraud_confirmed IS NOT NULL)'
