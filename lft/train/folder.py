"""The run folder: what was asked, what it ran on, what came out.

runs/<name>/<time>/  recipe.yaml · lock.json · metrics.jsonl · samples.jsonl · log.txt · checkpoints/ · adapter/
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lft.errors import InputError
from lft.files import MANIFEST, broken_files, disk_errors, write_text

PACKAGES = ("lft", "torch", "transformers", "peft", "trl", "accelerate", "datasets", "tokenizers", "safetensors")


@dataclass(frozen=True, slots=True)
class Lock:
    """All that decides a run's result beside the recipe.

    ``weights`` and ``tokenizer`` are content fingerprints of the base; ``data`` and ``validation`` are content hashes.
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

    def changes(self, other: Lock) -> list[str]:
        """Names of the parts in which two locks differ and that would change the numbers."""
        fields = ("weights", "tokenizer", "data", "validation", "seed", "dtype", "adapters_below", "packages")
        return [name for name in fields if getattr(self, name) != getattr(other, name)]


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
        write_text(folder.path / "recipe.yaml", recipe_yaml)
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
            return Lock(**{**saved, "adapters_below": tuple(saved["adapters_below"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"lock.json cannot be read ({error})", where=str(self.path)) from None

    def append(self, name: str, record: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl`` or ``samples.jsonl``."""
        with disk_errors(self.path / name), (self.path / name).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")

    def first_evaluation(self) -> float | None:
        """The validation loss before the first step, from ``metrics.jsonl``."""
        for line in (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["step"] == 0 and "eval_loss" in record:
                return float(record["eval_loss"])
        return None

    def log(self, text: str) -> None:
        """Add a line with the time to ``log.txt``."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        with disk_errors(self.path), (self.path / "log.txt").open("a", encoding="utf-8") as stream:
            stream.write(f"{now}  {text}\n")


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
