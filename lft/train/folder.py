"""The run folder: what was asked, what it ran on, what came out.

runs/<name>/<time>/  recipe.yaml · lock.json · state.json · data.json · metrics.jsonl · samples.jsonl · log.txt
                     checkpoints/ · adapter/ · report.html
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lft.errors import InputError, MachineError
from lft.files import MANIFEST, append_lines, broken_files, disk_errors, json_lines, write_text

PACKAGES = (
    "lft",
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "deepspeed",
    "bitsandbytes",
)


@dataclass(frozen=True, slots=True)
class LockedBelow:
    """An adapter below: its name for people, its identity, and how much of it (``0.7``, ``0.7[0-11]``)."""

    name: str
    weights: str
    share: str

    def __str__(self) -> str:
        return f"{self.name.removeprefix('./')} ({self.weights[:12]}) x {self.share}"


@dataclass(frozen=True, slots=True)
class Lock:
    """All that decides a run's result.

    ``recipe`` is a digest of all that the recipe says but for where it runs; ``weights`` and ``tokenizer`` are content
    fingerprints of the base; ``data`` and ``validation`` are content hashes. ``adapters_below`` are identities of
    adapters (``lft.base.identity``), lowest first, ``weights_below`` the sha256 of their tensors, by which older locks
    named them; ``below`` says more of the same (both are empty in older locks). ``devices`` is the number of processes.
    """

    base: str
    revision: str | None
    weights: str
    tokenizer: str
    data: str
    validation: str | None
    seed: int
    device: str
    dtype: str
    threads: int
    adapters_below: tuple[str, ...]
    packages: dict[str, str]
    python: str
    recipe: str = ""
    config: str = ""  # digest of what the base's config.json says
    engine: str = "none"
    devices: int = 1
    below: tuple[LockedBelow, ...] = ()
    weights_below: tuple[str, ...] = ()

    @property
    def shares_below(self) -> tuple[str, ...] | str:
        """How much of each adapter below took part; "" where that was not recorded."""
        return tuple(one.share for one in self.below) or ""

    @property
    def stack(self) -> tuple[str, ...]:
        """The adapters below for people, lowest first: name, short digest, weight."""
        return tuple(map(str, self.below)) or tuple(digest[:12] for digest in self.adapters_below)

    def changes(self, other: Lock) -> list[str]:
        """Names of the parts in which two locks differ and that would change the numbers."""
        fields = (
            "recipe", "weights", "config", "tokenizer", "data", "validation", "seed", "device", "dtype",
            "adapters_below", "shares_below", "packages",
        )  # fmt: skip
        known = [name for name in fields if getattr(self, name) != ""]  # older locks lack some
        odd = [name for name in known if getattr(self, name) != getattr(other, name)]
        if not self.weights_below and self.adapters_below == other.weights_below:
            odd = [name for name in odd if name != "adapters_below"]
        return odd


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and append-only logs of one run."""

    path: Path

    @classmethod
    def create(cls, runs: Path, name: str, recipe_yaml: str) -> RunFolder:
        """A new folder named by the time; two runs in one second get different names.

        Raises:
            MachineError: the folder cannot be written.
        """
        parent = runs / name
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        with disk_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
            for suffix in ("", *(f"-{n}" for n in range(2, 100))):
                try:
                    (parent / (stamp + suffix)).mkdir()
                except FileExistsError:
                    continue
                folder = cls(parent / (stamp + suffix))
                break
        try:
            write_text(folder.path / "recipe.yaml", recipe_yaml)
        except MachineError:
            folder.path.rmdir()
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            InputError: there is no run at this place.
        """
        if not (path / "recipe.yaml").is_file():
            raise InputError("this is no run folder (it has no recipe.yaml)", where=str(path), fix="look under runs/")
        return cls(path)

    @property
    def adapter(self) -> Path:
        """The finished adapter."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """The finished model of a full fine-tuning."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """Folder of ``step-N`` checkpoints."""
        return self.path / "checkpoints"

    def write_lock(self, lock: Lock) -> None:
        """Save what the run depends on."""
        write_text(self.path / "lock.json", json.dumps(asdict(lock), indent=2))

    def read_lock(self) -> Lock:
        """The saved lock.

        Raises:
            InputError: it is missing or damaged.
        """
        try:
            saved = json.loads((self.path / "lock.json").read_text(encoding="utf-8"))
            lists = {name: tuple(saved.get(name, ())) for name in ("adapters_below", "weights_below")}
            below = tuple(LockedBelow(**one) for one in saved.get("below", ()))
            return Lock(**{**saved, **lists, "below": below})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"lock.json cannot be read ({error})", where=str(self.path)) from None

    def append(self, name: str, record: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl`` or ``samples.jsonl``; on a full disk no part of it stays behind."""
        append_lines(self.path / name, json.dumps(record, ensure_ascii=False) + "\n", flush=False)

    def evaluations(self) -> dict[int, float]:
        """Validation loss by step, from ``metrics.jsonl``."""
        records, _ = json_lines(self.path / "metrics.jsonl")
        return {int(one["step"]): float(one["eval_loss"]) for one in records if "eval_loss" in one}

    def rewind(self, step: int) -> None:
        """Forget what the logs say of later steps, and of the end: they will happen again. -1 forgets all."""
        for name in ("metrics.jsonl", "samples.jsonl"):
            if (self.path / name).exists():
                kept = [one for one in json_lines(self.path / name)[0] if self._stays(one, step)]
                write_text(self.path / name, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept))

    @staticmethod
    def _stays(record: dict[str, Any], step: int) -> bool:
        if "when" in record:  # a sample
            return step >= 0 and record["when"] == "before"
        return int(record["step"]) <= step

    def log(self, text: str) -> None:
        """Add a line with the time to ``log.txt``."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        append_lines(self.path / "log.txt", f"{now}  {text}\n", flush=False)


def checkpoint_steps(checkpoints: Path) -> list[tuple[int, Path]]:
    """``step-N`` folders, newest first."""
    found = [(int(path.name[5:]), path) for path in checkpoints.glob("step-*") if path.name[5:].isdigit()]
    return sorted(found, reverse=True)


@dataclass(frozen=True, slots=True)
class Choice:
    """The newest checkpoint that verifies, and why each newer one was passed over."""

    path: Path
    step: int
    skipped: tuple[str, ...]


def newest_whole_checkpoint(checkpoints: Path) -> Choice:
    """The checkpoint to go on from.

    Raises:
        InputError: none is whole.
    """
    skipped: list[str] = []
    for step, path in checkpoint_steps(checkpoints):
        broken = broken_files(path)
        if not broken:
            return Choice(path, step, tuple(skipped))
        skipped.append(f"step {step} skipped: {broken[0]}")
    why = "; ".join(skipped) or f"there is no step-N folder with a {MANIFEST}"
    raise InputError(f"no checkpoint to go on from: {why}", where=str(checkpoints), fix="start the run anew")


def python_version() -> str:
    """Version and build of the interpreter."""
    return f"{platform.python_implementation()} {platform.python_version()}"
