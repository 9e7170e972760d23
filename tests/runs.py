"""Runs on tiny models: the material, the recipe, and what a run leaves that can be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from lft.recipe.schema import Recipe
from lft.train.events import Event, Step
from lft.train.folder import RunFolder
from lft.train.inputs import prepare_inputs
from lft.train.progress import Interruption
from lft.train.run import Outcome, finetune
from lft.train.world import World
from tests.forks import together
from tests.tiny import PAIR_FAMILIES, save_tiny, save_tiny_pair, sentences

TRAIN, VALIDATION = 20, 4
VARIES = ("tokens_per_second", "memory")  # in a line of metrics.jsonl


def material(folder: Path, *, train: int = TRAIN, **models: dict[str, Any]) -> Path:
    """``data.jsonl`` with so many examples and, for each family, the model folder; ``models`` are their sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for family, sizes in (models or {"llama": {}}).items():
        (save_tiny_pair if family in PAIR_FAMILIES else save_tiny)(folder / family, family, **sizes)
    count = train + VALIDATION
    texts = sentences(2 * count, seed=5, low=3, high=20)
    parts = ["train"] * train + ["validation"] * VALIDATION
    rows = [{"input": texts[i], "output": texts[i + count], "split": part} for i, part in enumerate(parts)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def recipe(material: Path, runs: Path, family: str = "llama", **changes: dict[str, Any]) -> Recipe:
    """A recipe of few steps; each keyword is a section of it and what to change there."""
    sections: dict[str, dict[str, Any]] = {
        "base": {"model": str(material / family), "dtype": "float32"},
        "data": {"train": str(material / "data.jsonl"), "max_length": 128, "packing": False},
        "method": {"r": 4, "alpha": 8},
        "train": {"epochs": 2, "learning_rate": 1e-2, "global_batch_size": 4, "save_every": 2, "keep_last": 9},
        "launch": {},
        "output": {"runs": str(runs)},
    }
    return Recipe.model_validate(
        {"name": "tiny", **{name: {**own, **changes.get(name, {})} for name, own in sections.items()}}
    )


@dataclass(frozen=True)
class Trained:
    """A run that has ended; ``shown`` is all that it told."""

    outcome: Outcome
    shown: tuple[Event, ...]

    @property
    def steps(self) -> list[Step]:
        """One for each optimizer step."""
        return [event for event in self.shown if isinstance(event, Step)]

    @property
    def losses(self) -> list[float]:
        """Nats per supervised token of each global batch."""
        return [step.loss for step in self.steps]

    @property
    def norms(self) -> list[float]:
        """Gradient norms before clipping."""
        return [step.grad_norm for step in self.steps]


def trained(
    chosen: Recipe,
    cache: Path,
    folder: Path | None = None,
    world: World | None = None,
    interruption: Interruption | None = None,
) -> Trained:
    """Run a recipe in this process, or go on with the run of a folder."""
    shown: list[Event] = []
    inputs = prepare_inputs(chosen, cache, lambda _: None)
    run = None if folder is None else RunFolder.open(folder)
    return Trained(finetune(inputs, shown.append, run, world, interruption), tuple(shown))


def part_of(world: World, asked: Recipe, cache: Path, folder: Path | None = None) -> Trained:
    """This process's part of a run by several (``tests.forks.together``), from its beginning or newest checkpoint."""
    from lft.train.zero import STAGES, join_deepspeed

    if asked.launch.engine in STAGES:
        join_deepspeed("cpu")
    if world.is_main:  # as workers do: two that write the same tokens to a cold cache are in each other's way
        prepare_inputs(asked, cache, lambda _: None)
    world.meet("while the data was prepared")
    return trained(asked, cache, folder, world, Interruption(lambda _: None, world))


def run_by_several(asked: Recipe, cache: Path, folder: Path | None = None) -> Path:
    """The folder of a run by as many processes as the recipe says, forked from one that has the libraries."""
    first: Trained = together(part_of, asked.launch.gpus, asked, cache, folder)[0]
    return first.outcome.folder


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what differs between two runs of the same thing."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in VARIES} for line in lines]


def weights(result: Path) -> dict[str, str]:
    """Digest of each weights file of an adapter or a model."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(result.glob("*.safetensors"))}
