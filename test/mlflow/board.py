"""Counts by pandas what the score board says of a database: python board.py FRAUD.db producer|reviewer; prints JSON"""

import json
import sqlite3
import sys

import pandas
from scipy.stats import beta, chi2

path, truth = sys.argv[1:]
with sqlite3.connect(path) as db:
    rows = pandas.read_sql("SELECT prediction, is_fraud, fraud_confirmed, reviewed_at, sampled, amt FROM predictions", db)

verdict = rows.fraud_confirmed
unsure = rows.reviewed_at.notna() & verdict.isna()
was = verdict if truth == "reviewer" else verdict.where(verdict.notna() | unsure, rows.is_fraud)
flagged = rows.prediction == 1
caught, missed, alarms = ((flagged & (was == 1)), (~flagged & (was == 1)), (flagged & (was == 0)))


def jeffreys(hits, of):
    return [
        0 if hits == 0 else float(beta.ppf(0.025, hits + 0.5, of - hits + 0.5)),
        1 if hits == of else float(beta.ppf(0.975, hits + 0.5, of - hits + 0.5)),
    ]


def weighted(weights, largest):
    def bound(p, mean, variance):
        return float(variance / (2 * mean) * chi2.ppf(p, 2 * mean * mean / variance)) if mean else 0.0

    mean, variance = sum(weights), sum(w * w for w in weights)
    return bound(0.025, mean, variance), bound(0.975, mean + largest, variance + largest**2)


def least(a, low, b, high):
    return (a * b - ((a * b) ** 2 - low * high * (2 * a - low) * (2 * b - high)) ** 0.5) / (high * (2 * b - high))


n = {"caught": int(caught.sum()), "missed": int(missed.sum()), "falseAlarms": int(alarms.sum())}
n["flagged"] = jeffreys(int(flagged.sum()), len(rows))
if n["caught"] + n["falseAlarms"] > 0:
    n["precision"] = jeffreys(n["caught"], n["caught"] + n["falseAlarms"])
if truth == "producer":
    n["rate"] = jeffreys(n["missed"], n["missed"] + n["caught"])
else:
    audited = ~flagged & rows.sampled.notna()
    judged = audited & verdict.notna()
    if judged.any():
        weights = audited.sum() / judged.sum() / rows.sampled
        found = list(weights[judged & (verdict == 1)])
        low, high = weighted(found, float(weights[judged].max()))
        everything = n["caught"] + int((flagged & rows.reviewed_at.isna() & verdict.isna()).sum())
        low = least(sum(found), max(low, n["missed"]), everything, weighted([1] * everything, 1)[1])
        up = least(n["caught"], weighted([1] * n["caught"], 1)[0], sum(found), max(high, n["missed"]))
        n["rate"] = [low / (1 + low), 1 / (1 + up)]
n["money"] = [float(rows.amt[caught].sum()), float(rows.amt[missed].sum())]
print(json.dumps(n))
