"""Perplexity of a base and of adapters on it, over the supervised tokens of held-out examples, as a table.

    python scripts/perplexity.py --data german=de.jsonl --data recipes=recipes.jsonl RUN_OR_ADAPTER...

Each file holds LongForm rows (`input`, `output`); each adapter is a folder, a run, or a name of the registry. The
base's line comes from the first adapter, switched off, in that adapter's prompt format. Behind +- stands the standard
error of the mean loss over the examples, on the scale of the perplexity.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import stdev
from typing import Any

from lft.cli.common import cache_folder, quiet_libraries, registry_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("adapters", nargs="+")
    choice = parser.parse_args()
    quiet_libraries()
    files = dict(entry.split("=", 1) for entry in choice.data)
    print(f"{'':28}" + "".join(f"{name:>18}" for name in files))
    for name, scores in table(choice.adapters, [Path(file) for file in files.values()]):
        print(f"{name[-28:]:28}" + "".join(f"{value:>11.2f} +- {error:.2f}" for value, error in scores), flush=True)


def table(adapters: Sequence[str], files: Sequence[Path]) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Lines of the table: the base, then every adapter."""
    for number, written in enumerate(adapters):
        answerer = opened(written)
        if number == 0:
            yield "base", [perplexity(answerer, file, base=True) for file in files]
        yield written, [perplexity(answerer, file) for file in files]


def opened(written: str) -> Any:
    from lft.adapters.store.checkout import adapter_folder_of, finder
    from lft.adapters.store.layout import open_store
    from lft.evaluate.answer import open_answerer

    store = open_store(registry_folder())
    return open_answerer(
        adapter_folder_of(written, store), cache_folder(), lambda text: print(text, file=sys.stderr), finder(store)
    )


def perplexity(answerer: Any, file: Path, base: bool = False) -> tuple[float, float]:
    """Of the outputs of a file, and its standard error."""
    from lft.evaluate.loss import encoded, examples_of
    from lft.evaluate.loss import losses as measured

    with answerer.adapted.model.disable_adapter() if base else nullcontext():
        found = list(measured(answerer, encoded(answerer, examples_of(file), 4096)))
    losses, counts = [one.total for one in found], [one.tokens for one in found]
    value = math.exp(sum(losses) / sum(counts))
    mean = sum(counts) / len(counts)
    spread = [loss - count * math.log(value) for loss, count in zip(losses, counts, strict=True)]
    return value, value * stdev(spread) / mean / math.sqrt(len(spread)) if len(spread) > 1 else 0.0


if __name__ == "__main__":
    main()
