"""How often a 95 % interval of `lft evaluate` holds the true mean, by the number of items.

python scripts/bench/interval_coverage.py
"""

from __future__ import annotations

import numpy as np

from lft.evaluate.metric import Measured, Metric, ratio
from lft.evaluate.statistics import interval

RUNS = 1500
MEAN = Metric("mean", "mean", lambda *_: Measured(np.zeros((0, 2)), ""), ratio, "higher")


def covered(items: int, skewed: bool) -> float:
    hits = 0
    for seed in range(RUNS):
        generator = np.random.default_rng((items, seed))
        values = generator.gamma(2, 1, items) if skewed else generator.normal(2, 1, items)
        found = interval(np.stack([values, np.ones(items)], axis=1), np.arange(items), MEAN, draws=500, seed=seed)
        hits += found.low <= 2 <= found.high
    return hits / RUNS


if __name__ == "__main__":
    print("items  normal  skewed (gamma, shape 2)")
    for items in (5, 10, 20, 30, 100):
        print(f"{items:5}  {covered(items, False):6.1%}  {covered(items, True):6.1%}")
