"""`lft adapters search`: weights of a merge by the loss on a few examples."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lft.cli.adapters_common import folder_of, opened, printable
from lft.cli.adapters_merge import BaseOption, FilesOption
from lft.cli.common import ProgressLine, cache_folder, quiet_libraries

_DECIMALS = 3
_NAME = re.compile(r"[A-Za-z_~.][\w./@:~-]*[\w/~]", re.ASCII)


def search(
    adapters: Annotated[list[str], typer.Argument(metavar="ADAPTER...", help="names of the registry, or folders")],
    data: Annotated[Path, typer.Option(metavar="FILE", help=".json, .jsonl or .parquet with a few examples")],
    base: BaseOption = None,
    files_of: FilesOption = None,
    examples: Annotated[int, typer.Option(min=1, help="so many of the file's first examples")] = 32,
    trials: Annotated[int, typer.Option(min=1, help="how often the loss is asked")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="seed of the random steps")] = 0,
    max_length: Annotated[int, typer.Option(min=1, help="longest example, in tokens")] = 2048,
) -> None:
    """Search the weights of a sum by the loss on a few examples (LoraHub), and print the merge to type.

    It begins with equal weights. Measure the merge on other examples: these were searched on.
    """
    quiet_libraries()
    from lft.adapters.inputs import On, open_inputs
    from lft.adapters.search import search as found_by
    from lft.adapters.store.checkout import finder
    from lft.base.places import or_remembered
    from lft.base.resolve import named_base, resolve_base
    from lft.evaluate.few_shot import weighed
    from lft.evaluate.loss import encoded, examples_of

    shots, store, refs = examples_of(data, examples), opened(), list(dict.fromkeys(adapters))
    cache = cache_folder()
    find = or_remembered(finder(store), cache)
    on = On(resolve_base(named_base(base), cache, _say), cache, find) if base is not None else None
    inputs = open_inputs(refs, lambda text: folder_of(text, store), on)
    with weighed(inputs, on.ref if on else None, cache, _say, find, files_of) as model, ProgressLine() as line:
        tokens = encoded(model.answerer, shots, max_length)
        done = []

        def loss(weights: tuple[float, ...]) -> float:
            done.append(model.loss(weights, tokens))
            line.update(f"trial {len(done)} of {trials}: best {min(done):.4f}", last=len(done) == trials)
            return done[-1]

        found = found_by(loss, len(refs), trials=trials, seed=seed, start=[1 / len(refs)] * len(refs))
        weights = [round(weight, _DECIMALS) for weight in found.weights]
        final = model.loss(weights, tokens)
        said = f"{done[0]:.4f} with equal weights, {final:.4f} with those found"
        line.line(f"loss a token, on {len(tokens)} examples: {said}")
        rows = ["replaced=mean"] if model.brings_rows else []
    for ref, weight in zip(refs, weights, strict=True):
        print(printable(f"{weight:>8}  {ref}"))
    options = [word for key, value in (("--base", base), ("--files-of", files_of)) if value for word in (key, value)]
    words = [_sum(refs, weights), *rows, *options, "--name", "NAMESPACE/NAME"]
    print(printable(f"lft adapters merge {shlex.join(words)}"))


def _sum(refs: list[str], weights: list[float]) -> str:
    """The expression that means these weights."""
    names = [ref if _NAME.fullmatch(ref) else json.dumps(ref, ensure_ascii=False) for ref in refs]
    return " + ".join(f"{weight}*{name}" for weight, name in zip(weights, names, strict=True)).replace("+ -", "- ")


def _say(text: str) -> None:
    typer.echo(text, err=True)
