"""However a global batch is divided, stored or computed, it is the same step: loss and gradient norm, step by step.

The tolerances are relative, for float32 on a CPU. What is left is rounding, as sums are taken in another order: over
all cases here at most 1.6e-7 of the loss and 4.4e-7 of the norm were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lft.recipe.schema import Recipe
from lft.train.inputs import prepare_inputs
from lft.train.world import World
from tests.forks import together
from tests.runs import Trained, material, part_of, recipe, trained

EXAMPLES = 21  # two global batches of eight and a last one of five, which no number of devices divides
KINDS = ("lora", "full")
# ZeRO-3 leaves tensors of up to 100,000 numbers whole; of these nearly every matrix is larger.
LARGE = {
    "llama": {"hidden": 320, "intermediate_size": 640},
    "opt": {"hidden": 320, "ffn_dim": 640, "word_embed_proj_dim": 320, "dropout": 0.0},
    "t5": {"d_model": 320, "d_kv": 80, "d_ff": 640},
}
# How many that is: with whole weights all matrices but LLaMA's keys and values and T5's embedding, which are small;
# with four bits the wide ones of each layer, and what is never quantised.
PARTS = {"llama": (12, 8), "opt": (14, 6), "t5": (32, 8)}
LOSS, NORM = 1e-6, 3e-6
OFFLOADED_NORM = 1e-5  # 3.4e-6 measured: DeepSpeed's AdamW for CPUs has its constants in single precision
Curve = tuple[list[float], list[float]]  # losses, gradient norms


@pytest.fixture(scope="module")
def stuff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("equal"), train=EXAMPLES, **LARGE)


def chosen(stuff: Path, family: str = "llama", **changes: dict[str, Any]) -> Recipe:
    """One epoch of three steps of eight rows, the last of them not full."""
    train = {"epochs": 1, "global_batch_size": 8, "micro_batch_size": 1, "save_every": "end", "eval_every": "end"}
    if (kind := changes.get("method", {}).get("kind")) == "full":
        train["learning_rate"] = 1e-3
    if kind == "qlora":
        changes |= {"method": {"kind": "lora"}, "base": {"quantize": "nf4"}}
    changes["train"] = {**train, **changes.get("train", {})}
    if family == "t5":
        changes["data"] = {"prompt": "plain"}
    return recipe(stuff, stuff / "runs", family, **changes)


def curve(run: Trained) -> Curve:
    return run.losses, run.norms


@cache
def alone(stuff: Path, kind: str, micro: int = 1, family: str = "llama") -> Curve:
    """One process, so many rows at a time."""
    done = trained(chosen(stuff, family, method={"kind": kind}, train={"micro_batch_size": micro}), stuff / "cache")
    return curve(done)


def require_alike(one: Curve, other: Curve, norm: float = NORM) -> None:
    assert len(one[0]) == len(other[0]) > 2
    assert one[0] == pytest.approx(other[0], rel=LOSS)
    assert one[1] == pytest.approx(other[1], rel=norm)
    assert one[0][-1] < one[0][0]  # it did train


@pytest.mark.parametrize("micro", [2, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_eight_micro_batches_of_one_are_one_of_eight(stuff: Path, kind: str, micro: int) -> None:
    require_alike(alone(stuff, kind, micro), alone(stuff, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_activations_are_the_same(stuff: Path, kind: str) -> None:
    done = trained(chosen(stuff, method={"kind": kind}, train={"gradient_checkpointing": True}), stuff / "cache")
    require_alike(curve(done), alone(stuff, kind))


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_packed_rows_have_the_same_loss_per_token(stuff: Path, family: str) -> None:
    """With all rows in one global batch, packing changes nothing but which of them lie beside each other."""

    def epochs(packing: bool) -> Curve:
        data = {"packing": packing}
        rows = prepare_inputs(chosen(stuff, family, data=data), stuff / "cache", lambda _: None).rows
        train = {"epochs": 3, "global_batch_size": len(rows), "micro_batch_size": 1}
        return curve(trained(chosen(stuff, family, data=data, train=train), stuff / "cache"))

    require_alike(epochs(packing=True), epochs(packing=False))


def several(world: World, recipes: Sequence[Recipe], cache: Path) -> list[tuple[Curve, int]]:
    """Each recipe's curve, and how many of its parameters ended in parts."""
    from accelerate.state import AcceleratorState

    from lft.train import run

    subject, models = run.subject, []
    run.subject = lambda *given: models.append(subject(*given)) or models[-1]
    found = []
    for one in recipes:
        AcceleratorState._reset_state(reset_partial_state=True)  # it keeps the engine of the process
        done = part_of(world, one, cache)
        parameters = list(models[-1].tuned.model.parameters())
        found.append((curve(done), sum(p.numel() < getattr(p, "ds_numel", 0) for p in parameters)))
    return found


def by_two(stuff: Path, recipes: Sequence[Recipe]) -> list[tuple[Curve, int]]:
    """The recipes by two processes, one recipe after the other; what the first of them saw."""
    return together(several, 2, recipes, stuff / "cache")[0]


def two(stuff: Path, engine: str, kind: str, micro: int = 1, family: str = "llama", **train: Any) -> Recipe:
    launch = {"engine": engine, "gpus": 2}
    return chosen(stuff, family, method={"kind": kind}, launch=launch, train={"micro_batch_size": micro, **train})


def test_two_processes_are_one(stuff: Path) -> None:
    cases = [(kind, micro) for kind in KINDS for micro in (1, 4)]
    found = by_two(stuff, [two(stuff, "ddp", kind, micro) for kind, micro in cases])
    for (kind, _), (other, _) in zip(cases, found, strict=True):
        require_alike(other, alone(stuff, kind))


@pytest.mark.slow
def test_zero_1_and_2_are_ddp(stuff: Path) -> None:
    cases = [(engine, kind, micro) for engine in ("zero1", "zero2") for kind in KINDS for micro in (1, 4)]
    found = by_two(stuff, [two(stuff, *case) for case in cases])
    for (_, kind, _), (other, _) in zip(cases, found, strict=True):
        require_alike(other, alone(stuff, kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_zero_3_recomputes_activations_from_weights_in_parts(stuff: Path, kind: str) -> None:
    ((other, parts),) = by_two(stuff, [two(stuff, "zero3", kind, gradient_checkpointing=True)])
    assert parts == PARTS["llama"][0]
    require_alike(other, alone(stuff, kind))


@pytest.mark.slow
@pytest.mark.parametrize("family", LARGE)
@pytest.mark.parametrize("kind", [*KINDS, "qlora"])
@pytest.mark.parametrize("engine", ["zero3", "zero3-offload"])
def test_zero_3_keeps_every_family_in_parts_and_is_one_process(
    stuff: Path, engine: str, kind: str, family: str
) -> None:
    """One recipe a process: DeepSpeed remembers the parameters of an earlier one."""
    ((other, parts),) = by_two(stuff, [two(stuff, engine, kind, family=family)])
    assert parts == PARTS[family][kind == "qlora"]
    require_alike(other, alone(stuff, kind, family=family), OFFLOADED_NORM if engine == "zero3-offload" else NORM)


@pytest.mark.slow
def test_two_processes_are_one_for_an_encoder_decoder(stuff: Path) -> None:
    cases = [(engine, kind) for engine in ("ddp", "zero2") for kind in KINDS]
    found = by_two(stuff, [two(stuff, engine, kind, family="t5") for engine, kind in cases])
    for (_, kind), (other, _) in zip(cases, found, strict=True):
        require_alike(other, alone(stuff, kind, family="t5"))
