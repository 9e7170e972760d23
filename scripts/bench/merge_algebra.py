"""Compression of a merge to rank k: QR-core against PEFT's dense SVD, both in this run, on the same factors.

    OMP_NUM_THREADS=1 python scripts/bench/merge_algebra.py [--side 4096] [--stacked 128] [--rank 16] [--repeat 5]

Asked: at least 100 times faster at 4096 x 4096, R <= 128, with the error of the optimum. PEFT's way takes minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from lft.adapters.algebra.compat import Svd, peft_svd
from lft.adapters.algebra.compress import compress
from lft.adapters.algebra.exact import Sum, cat
from lft.adapters.algebra.method import Weighted
from lft.adapters.algebra.peft import PeftAdapter, PeftModule
from lft.adapters.deltas import Factors

T = TypeVar("T")


def timed(run: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def error(pairs: list[Factors], weights: list[float], b: torch.Tensor, a: torch.Tensor) -> float:
    """Relative error of factors against the dense sum, in float64."""
    exact = torch.zeros(b.shape[0], a.shape[1], dtype=torch.float64)
    for weight, pair in zip(weights, pairs, strict=True):
        exact += weight * (pair.b.double() @ pair.a.double())
    return float((exact - b.double() @ a.double()).norm() / exact.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--stacked", type=int, default=128, help="R, the sum of the ranks")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--adapters", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    random = torch.Generator().manual_seed(0)
    each = asked.stacked // asked.adapters
    pairs = [
        Factors(torch.randn(asked.side, each, generator=random), torch.randn(each, asked.side, generator=random))
        for _ in range(asked.adapters)
    ]
    weights = [1 / asked.adapters] * asked.adapters
    print(
        f"{asked.side}^2, {asked.adapters} adapters of rank {each} (R = {each * asked.adapters}), cut to {asked.rank}"
    )
    inputs = [Weighted(weight, pair) for weight, pair in zip(weights, pairs, strict=True)]
    runs = [timed(lambda: compress(cat(inputs, Sum()), asked.rank)) for _ in range(asked.repeat)]
    seconds, found = statistics.median(second for second, _ in runs), runs[0][1]
    ours = error(pairs, weights, found.factors.b, found.factors.a)
    print(f"QR-core    {seconds:9.3f} s, median of {asked.repeat} (the first took {runs[0][0]:.3f} s)")
    print(f"           error {found.error:.9f} reported, {ours:.9f} measured ({abs(ours - found.error):.0e} apart)")
    adapters = [PeftAdapter({"w": PeftModule(pair.a, pair.b, 1.0)}, each) for pair in pairs]
    dense_seconds, merged = timed(lambda: peft_svd(adapters, weights, Svd(svd_rank=asked.rank)))
    theirs = error(pairs, weights, merged.modules["w"].b, merged.modules["w"].a)
    print(f"PEFT's svd {dense_seconds:9.3f} s, once")
    print(f"           error {theirs:.9f} measured (ours - theirs: {ours - theirs:+.0e})")
    print(f"ratio      {dense_seconds / seconds:9.0f}x")


if __name__ == "__main__":
    main()
