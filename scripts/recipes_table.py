"""Write recipes/README.md from the recipes themselves; `--check` only says whether it is up to date.

A recipe's head is comments in a fixed form:

    # lft finetune recipes/NAME.yaml            HARDWARE[, N GiB]
    # values: where its hyper-parameters come from          (else those of the recipe it extends)

HARDWARE is what `lft plan --hardware` takes; N is what it computes for one device. `--memory` writes N into the heads.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lft.recipe.catalogue import first_comment
from lft.recipe.check import checked
from lft.recipe.layers import anchored, layered
from lft.recipe.schema import Recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"
README = RECIPES / "README.md"
HARDWARE = re.compile(r"(?P<hardware>\d+x\S+?)(?:, (?P<memory>[\d.]+) GiB)?$")
HEAD = """\
# Recipes

One file says everything about a run. `lft finetune NAME` takes a name of this table, `lft recipes show NAME` prints
every value and where it came from, `key=value` behind either changes one. Most files `extends` another and say only
what differs: a -qlora recipe is its -lora recipe with the base frozen in 4 bit.

LongForm publishes no hyper-parameters, so none here are the paper's: *values* says whose they are, by a letter below.
Texts longer than *length* tokens are cut, and the number of cuts is printed (`data.overlong`); for T5 the length is
that of each side. *Memory* is what `lft plan` computes for one device of *hardware*.

This table is written by `python scripts/recipes_table.py`; change the recipes, not the table.

| recipe | base | method | prompt | engine | length | rate | values | hardware | memory |
|---|---|---|---|---|---:|---:|---|---|---:|
"""


@dataclass(frozen=True)
class Row:
    """A recipe with what its comments say."""

    path: Path
    recipe: Recipe
    values: str
    hardware: str
    memory: str

    def line(self, letters: dict[str, str]) -> str:
        base, launch = self.recipe.base, self.recipe.launch
        method = self.recipe.method.kind + (f", {base.quantize}" if base.quantize else "")
        engine = "one process" if launch.engine == "none" else f"{launch.engine} × {launch.gpus * launch.nodes}"
        cells = (
            f"[{self.path.stem}]({self.path.name})", base.model, method, self.recipe.data.prompt, engine,
            f"{self.recipe.data.max_length:,}", f"{self.recipe.train.learning_rate:.0e}".replace("e-0", "e-"),
            letters[self.values], self.hardware, self.memory,
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


def recipe_of(path: Path) -> Recipe:
    """The recipe, whether or not this version can run all of it."""
    root = layered(path, ()).root
    assert root is not None, path
    return checked(anchored(root))[0]


def row(path: Path) -> Row:
    """A line of the table."""
    note = first_comment(path).rpartition("   ")[2].strip()
    found = HARDWARE.search(note)
    hardware = found["hardware"] if found else note
    memory = f"{found['memory']} GiB" if found and found["memory"] else "—"
    return Row(path, recipe_of(path), values_of(path), hardware, memory)


def values_of(path: Path) -> str:
    """Where the hyper-parameters come from, as the recipe or the nearest one below it says."""
    text = path.read_text(encoding="utf-8")
    if said := re.search(r"^# values: (.+)$", text, re.MULTILINE):
        return said[1]
    parent = re.search(r"^extends: (\S+)", text, re.MULTILINE)
    return values_of(path.parent / parent[1]) if parent else "lft's own"


def order(path: Path) -> tuple[object, ...]:
    """By family and size, then full, lora, qlora."""
    model, _, method = path.stem.rpartition("-")
    size = re.search(r"([\d.]+)(m|b)\b", model)
    family = model[: size.start()] if size else model
    weight = float(size[1]) * (1e6 if size[2] == "m" else 1e9) if size else 0.0
    return family, weight, method


def table() -> str:
    """The whole README."""
    rows = [row(path) for path in sorted(RECIPES.glob("*.yaml"), key=order)]
    letters = {values: chr(ord("a") + number) for number, values in enumerate(dict.fromkeys(r.values for r in rows))}
    legend = "".join(f"\n- **{letter}**: {values}" for values, letter in letters.items())
    return HEAD + "".join(f"{r.line(letters)}\n" for r in rows) + f"{legend}\n"


def planned(path: Path) -> str | None:
    """Memory of one device in GiB as `lft plan` has it; None for a recipe that names no device."""
    from lft.plan.configs import known_config
    from lft.plan.families import shape_of
    from lft.plan.hardware import parse_hardware
    from lft.plan.overview import plan_run

    found, recipe = row(path), recipe_of(path)
    config = known_config(recipe.base.model)
    if config is None or not HARDWARE.fullmatch(found.hardware):
        return None
    plan = plan_run(recipe, shape_of(config), parse_hardware(found.hardware))
    if not plan.fits:
        raise SystemExit(f"{path.name} does not fit on {found.hardware}: {plan.memory.total / 2**30:.1f} GiB a device")
    return f"{plan.memory.total / 2**30:.1f}"


def fill_memory() -> None:
    """Write what `lft plan` says into the first line of every recipe."""
    for path in sorted(RECIPES.glob("*.yaml")):
        if amount := planned(path):
            first, rest = path.read_text(encoding="utf-8").split("\n", 1)
            bare = re.sub(r", [\d.]+ GiB$", "", first)
            path.write_text(f"{bare}, {amount} GiB\n{rest}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the table is stale")
    parser.add_argument("--memory", action="store_true", help="first write the figures of `lft plan` into the recipes")
    arguments = parser.parse_args()
    if arguments.memory:
        fill_memory()
    wanted = table()
    if README.exists() and README.read_text(encoding="utf-8") == wanted:
        return 0
    if arguments.check:
        print(f"{README.relative_to(ROOT)} is stale; run python scripts/recipes_table.py", file=sys.stderr)
        return 1
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
