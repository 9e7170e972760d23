"""`lft adapters search`: weights of a merge by the loss on a few examples."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lft.cli.adapters_common import LockedOption, LockFileOption, folder_of, lock_of, opened, printable
from lft.cli.adapters_merge import BaseOfOption, BaseOption, FilesOption
from lft.cli.common import ProgressLine, cache_folder, quiet_libraries

_DECIMALS = 3
_NAME = re.compile(r"[A-Za-z_~.][\w./@:~-]*[\w/~]", re.ASCII)


def search(
    adapters: Annotated[list[str], typer.Argument(metavar="ADAPTER...", help="names of the registry, or folders")],
    data: Annotated[Path, typer.Option(metavar="FILE", help=".json, .jsonl or .parquet with a few examples")],
    base: BaseOption = None,
    files_of: FilesOption = None,
    base_of: BaseOfOption = None,
    examples: Annotated[int, typer.Option(min=1, help="so many of the file's first examples")] = 32,
    trials: Annotated[int, typer.Option(min=1, help="how often the loss is asked")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="seed of the random steps")] = 0,
    max_length: Annotated[int, typer.Option(min=1, help="longest example, in tokens")] = 2048,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
) -> None:
    """Search the weights of a sum by the loss on a few examples (LoraHub), and print the merge to type.

    It begins with equal weights. A stack stands for its adapters. Measure the merge on other examples: these were
    searched on.
    """
    quiet_libraries()
    from lft.adapters.inputs import On, open_inputs
    from lft.adapters.search import search as found_by
    from lft.adapters.store.stacks import place_in
    from lft.adapters.unstack import adapters_in
    from lft.base.resolve import named_base, resolve_base
    from lft.evaluate.few_shot import weighed
    from lft.evaluate.loss import encoded, examples_of

    shots, store, lock, cache = examples_of(data, examples), opened(), lock_of(locked, lock_file), cache_folder()
    place = place_in(store, lambda text: folder_of(text, store, lock), cache)
    refs = adapters_in(adapters, place)
    on = On(resolve_base(named_base(base), cache, _say), cache, place.find) if base is not None else None
    inputs, bound = open_inputs(refs, place.folder_of, on), on.ref if on else None
    with weighed(inputs, bound, cache, _say, place.find, files_of, base_of) as model, ProgressLine() as line:
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
    given = {"--base": base, "--files-of": files_of, "--base-of": base_of, "--lock-file": lock_file}
    options = [str(word) for key, value in given.items() if value for word in (key, value)]
    words = [_sum(refs, weights), *rows, *options, *(["--locked"] if locked else []), "--name", "NAMESPACE/NAME"]
    print(printable(f"lft adapters merge {shlex.join(words)}"))


def _sum(refs: list[str], weights: list[float]) -> str:
    """The expression that means these weights."""
    names = [ref if _NAME.fullmatch(ref) else json.dumps(ref, ensure_ascii=False) for ref in refs]
    return " + ".join(f"{weight}*{name}" for weight, name in zip(weights, names, strict=True)).replace("+ -", "- ")


def _say(text: str) -> None:
    typer.echo(text, err=True)
