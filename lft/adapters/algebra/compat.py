"""What PEFT's ``add_weighted_adapter`` computes, bit for bit, under names that say so; never a default.

Written after peft 0.21 (tuners/lora/model.py, utils/merge_utils.py); tests compare with the installed PEFT and fail
when it changes. Known faults are reproduced, not mended:

- ``linear`` and all that works on factors: (sum c_i B_i)(sum c_i A_i) has cross terms c_i c_j B_i A_j that no adapter
  has (peft#3004). Independent adapters of equal norm come out sqrt(T - 1) wrong, equal ones T times too large.
- the result takes its settings from the first adapter: with rsLoRA its scale is sqrt(r) instead of 1 (peft#3761).
- one adapter alone is always merged by ``linear``.
- biases are dropped; what the first adapter saves whole is not looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lft.adapters.algebra.method import method, number, whole_number
from lft.adapters.algebra.peft import PeftAdapter, Rule, Sign, at_random, by_magnitude, peft_merge, seeded

_PAPER = "https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/lora/model.py"


@dataclass(frozen=True, slots=True)
class Linear:
    """``linear`` and ``cat`` have no parameters."""


@dataclass(frozen=True, slots=True)
class Svd:
    """Parameters of ``svd``; None keeps PEFT's default, the largest rank."""

    svd_rank: int | None = whole_number(None, "rank of the result (null: the largest of the adapters)", 1)


@dataclass(frozen=True, slots=True)
class Pruned:
    """Parameters of ``magnitude_prune``."""

    density: float = number(0.5, "share of the numbers that is kept", 0, 1, above=True)


@dataclass(frozen=True, slots=True)
class PrunedSvd(Svd):
    """Parameters of ``magnitude_prune_svd``."""

    density: float = number(0.5, "share of the numbers that is kept", 0, 1, above=True)


@dataclass(frozen=True, slots=True)
class Elected:
    """Parameters of ``ties``."""

    density: float = number(0.5, "share of the numbers that is kept", 0, 1, above=True)
    majority_sign_method: Sign = field(default="total", metadata={"help": "how the sign is elected"})


@dataclass(frozen=True, slots=True)
class ElectedSvd(Svd):
    """Parameters of ``ties_svd``."""

    density: float = number(0.5, "share of the numbers that is kept", 0, 1, above=True)
    majority_sign_method: Sign = field(default="total", metadata={"help": "how the sign is elected"})


@dataclass(frozen=True, slots=True)
class Drawn(Pruned):
    """Parameters of ``dare_linear``; ``seed`` is torch's, set before the first module."""

    seed: int = whole_number(0, "torch's seed before the first module", 0)


@dataclass(frozen=True, slots=True)
class DrawnSvd(PrunedSvd):
    """Parameters of ``dare_linear_svd``."""

    seed: int = whole_number(0, "torch's seed before the first module", 0)


@dataclass(frozen=True, slots=True)
class DrawnElected(Elected):
    """Parameters of ``dare_ties``."""

    seed: int = whole_number(0, "torch's seed before the first module", 0)


@dataclass(frozen=True, slots=True)
class DrawnElectedSvd(ElectedSvd):
    """Parameters of ``dare_ties_svd``."""

    seed: int = whole_number(0, "torch's seed before the first module", 0)


_CROSS = "PEFT multiplies sums of factors, which adds cross terms"
_ORDER = "PEFT sums and takes settings in the order given"
_DROPS = "PEFT drops numbers"
_COUNT = "PEFT divides by how many agree, whatever their weights"


@method(
    "compat:peft-linear", form="peft", exactness="compat", parameters=Linear, paper=_PAPER,
    breaks={"equals": _CROSS, "order": _ORDER}, neutral=Linear(), always_breaks=("equals", "order"),
)  # fmt: skip
def peft_linear(adapters: Sequence[PeftAdapter], weights: Sequence[float], _: Linear) -> PeftAdapter:
    """PEFT's ``linear``: sums of A and of B apart; wrong on dW."""
    return peft_merge("linear", adapters, weights, Rule())


@method(
    "compat:peft-cat", form="peft", exactness="compat", parameters=Linear, paper=_PAPER,
    breaks={"order": _ORDER}, neutral=Linear(), always_breaks=("order",),
)  # fmt: skip
def peft_cat(adapters: Sequence[PeftAdapter], weights: Sequence[float], _: Linear) -> PeftAdapter:
    """PEFT's ``cat``: exact for plain LoRA, the weight in A."""
    return peft_merge("cat", adapters, weights, Rule())


@method(
    "compat:peft-svd", form="peft", exactness="compat", parameters=Svd, paper=_PAPER,
    breaks={"order": _ORDER}, neutral=Svd(), always_breaks=("order",),
)  # fmt: skip
def peft_svd(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: Svd) -> PeftAdapter:
    """PEFT's ``svd``: the dense sum, cut to a rank without saying what is lost."""
    return peft_merge("svd", adapters, weights, Rule(), p.svd_rank)


@method(
    "compat:peft-magnitude_prune", form="peft", exactness="compat", parameters=Pruned, paper=_PAPER,
    breaks={"equals": _CROSS, "order": _ORDER}, neutral=Pruned(density=1.0), always_breaks=("equals", "order"),
)  # fmt: skip
def peft_magnitude_prune(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: Pruned) -> PeftAdapter:
    """PEFT's ``magnitude_prune``: small numbers of A and of B dropped, then ``linear``."""
    return peft_merge("magnitude_prune", adapters, weights, Rule(by_magnitude(p.density)))


@method(
    "compat:peft-magnitude_prune_svd", form="peft", exactness="compat", parameters=PrunedSvd, paper=_PAPER,
    breaks={"equals": _DROPS, "order": _ORDER}, neutral=PrunedSvd(density=1.0), always_breaks=("order",),
)  # fmt: skip
def peft_magnitude_prune_svd(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: PrunedSvd) -> PeftAdapter:
    """PEFT's ``magnitude_prune_svd``: small numbers of dW dropped, then ``svd``."""
    return peft_merge("magnitude_prune_svd", adapters, weights, Rule(by_magnitude(p.density)), p.svd_rank)


@method(
    "compat:peft-ties", form="peft", exactness="compat", parameters=Elected, paper=_PAPER,
    breaks={"equals": _CROSS, "order": _ORDER}, neutral=Elected(density=1.0), always_breaks=("equals", "order"),
)  # fmt: skip
def peft_ties(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: Elected) -> PeftAdapter:
    """PEFT's ``ties``: trimmed and elected on A and on B, whose signs mean nothing for dW."""
    return peft_merge("ties", adapters, weights, Rule(by_magnitude(p.density), p.majority_sign_method))


@method(
    "compat:peft-ties_svd", form="peft", exactness="compat", parameters=ElectedSvd, paper=_PAPER,
    breaks={"equals": _COUNT, "order": _ORDER}, neutral=ElectedSvd(density=1.0), always_breaks=("equals", "order"),
)  # fmt: skip
def peft_ties_svd(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: ElectedSvd) -> PeftAdapter:
    """PEFT's ``ties_svd``: TIES on dW, then ``svd``."""
    rule = Rule(by_magnitude(p.density), p.majority_sign_method)
    return peft_merge("ties_svd", adapters, weights, rule, p.svd_rank)


@method(
    "compat:peft-dare_linear", form="peft", exactness="compat", parameters=Drawn, paper=_PAPER,
    breaks={"equals": _CROSS, "order": _ORDER}, neutral=Drawn(density=1.0), always_breaks=("equals", "order"),
)  # fmt: skip
def peft_dare_linear(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: Drawn) -> PeftAdapter:
    """PEFT's ``dare_linear``: A and B dropped at random apart, so the product is scaled twice."""
    return seeded(p.seed, lambda: peft_merge("dare_linear", adapters, weights, Rule(at_random(p.density))))


@method(
    "compat:peft-dare_linear_svd", form="peft", exactness="compat", parameters=DrawnSvd, paper=_PAPER,
    breaks={"equals": _DROPS, "order": _ORDER}, neutral=DrawnSvd(density=1.0), always_breaks=("order",),
)  # fmt: skip
def peft_dare_linear_svd(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: DrawnSvd) -> PeftAdapter:
    """PEFT's ``dare_linear_svd``: DARE on dW, then ``svd``."""
    rule = Rule(at_random(p.density))
    return seeded(p.seed, lambda: peft_merge("dare_linear_svd", adapters, weights, rule, p.svd_rank))


@method(
    "compat:peft-dare_ties", form="peft", exactness="compat", parameters=DrawnElected, paper=_PAPER,
    breaks={"equals": _CROSS, "order": _ORDER}, neutral=DrawnElected(density=1.0), always_breaks=("equals", "order"),
)  # fmt: skip
def peft_dare_ties(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: DrawnElected) -> PeftAdapter:
    """PEFT's ``dare_ties``: A and B dropped at random apart, then elected."""
    rule = Rule(at_random(p.density), p.majority_sign_method)
    return seeded(p.seed, lambda: peft_merge("dare_ties", adapters, weights, rule))


@method(
    "compat:peft-dare_ties_svd", form="peft", exactness="compat", parameters=DrawnElectedSvd, paper=_PAPER,
    breaks={"equals": _COUNT, "order": _ORDER}, neutral=DrawnElectedSvd(density=1.0),
    always_breaks=("equals", "order"),
)  # fmt: skip
def peft_dare_ties_svd(adapters: Sequence[PeftAdapter], weights: Sequence[float], p: DrawnElectedSvd) -> PeftAdapter:
    """PEFT's ``dare_ties_svd``: DARE and election on dW, then ``svd``."""
    rule = Rule(at_random(p.density), p.majority_sign_method)
    return seeded(p.seed, lambda: peft_merge("dare_ties_svd", adapters, weights, rule, p.svd_rank))
