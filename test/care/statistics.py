"""Makes statistics.json, the cases of statistics.test.ts: python3 -m pip install scipy; python3 test/care/statistics.py"""
import json
import pathlib

import numpy as np
from scipy import special, stats

rng = np.random.default_rng(1)
cases = []


def case(name, given, expected):
    plain = [[float(x) for x in g] if isinstance(g, (list, np.ndarray)) else float(g) for g in given]
    cases.append({"name": name, "given": plain, "expected": [float(x) for x in np.atleast_1d(expected)]})


def size():
    return float(10 ** rng.uniform(-0.5, 5))


def jeffreys(k, n):
    a, b = k + 0.5, n - k + 0.5
    return [0 if k == 0 else stats.beta.ppf(0.025, a, b), 1 if k == n else stats.beta.ppf(0.975, a, b)]


for _ in range(80):
    a, b = size(), size()
    x = float(np.clip(stats.beta.ppf(rng.uniform(), a, b), 1e-300, 1 - 1e-12))
    case("beta", [x, a, b], special.betainc(a, b, x))
for _ in range(80):
    a = size()
    x = float(a * 10 ** rng.uniform(-0.4, 0.4))
    case("gammaTail", [x, a], special.gammaincc(a, x))
for _ in range(60):
    df = int(rng.integers(1, 40))
    x = float(rng.uniform(0, 6 * df))
    case("chiSquareTail", [x, df], stats.chi2.sf(x, df))
for k, n in [(0, 1), (1, 1), (0, 20), (20, 20), (3, 1_000_000), (999_990, 1_000_000), (0, 10_000_000)]:
    case("jeffreys", [k, n], jeffreys(k, n))
for _ in range(66):
    n = int(10 ** rng.uniform(0, 6))
    k = int(rng.binomial(n, rng.choice([0.003, 0.05, 0.2, 0.5, 0.9])))
    case("jeffreys", [k, n], jeffreys(k, n))
for _ in range(60):
    weights = rng.choice([1, 20, 75.5, 360], rng.integers(0, 40))
    y, v, most = weights.sum(), (weights**2).sum(), 360
    low = 0 if y == 0 else v / (2 * y) * stats.chi2.ppf(0.025, 2 * y * y / v)
    y, v = y + most, v + most**2
    case("fayFeuer", [weights, most], [low, v / (2 * y) * stats.chi2.ppf(0.975, 2 * y * y / v)])
for _ in range(40):
    ps = rng.uniform(0, 1, rng.integers(1, 14)) ** 3
    order = np.argsort(ps)
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1)))
    case("holm", [ps], adjusted)
for _ in range(40):
    shares = rng.dirichlet(np.ones(rng.integers(2, 12)) * 5)
    before = rng.multinomial(20_000, shares)
    now = rng.multinomial(7_200, 0.97 * shares + 0.03 * rng.permutation(shares))
    case("homogeneity", [before, now], stats.chi2_contingency([before, now], correction=False).pvalue)
for _ in range(40):
    b, c = (int(x) for x in rng.integers(0, 60, 2))
    case("mcNemar", [b, c], stats.binomtest(b, b + c).pvalue if b + c else 1)
for _ in range(27):
    b, c = (int(x) for x in rng.integers(0, 200, 2))
    case("mcNemarEvidence", [b, c], np.exp(special.betaln(b + 1, c + 1) + (b + c) * np.log(2)))

# Cases to 1e-9 want inputs to the last digit.
text = ",\n".join(json.dumps(one, separators=(",", ":")) for one in cases)
pathlib.Path(__file__).with_suffix(".json").write_text(f"[\n{text}\n]\n")
print(len(cases), "cases")
