"""`lft data`: what will be trained on, token by token or as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sized
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lft.cli.common import cache_folder, quiet_libraries
from lft.cli.recipes import OverridesArgument, RecipeArgument

if TYPE_CHECKING:
    from lft.data.audit import Audit, SplitAudit
    from lft.recipe.schema import Recipe
    from lft.train.batches import PackedRows, Row, StreamedRows

app = typer.Typer(
    help="Look at training data: preview, audit.", add_completion=False, rich_markup_mode=None, no_args_is_help=True
)

_GREEN, _DIM, _BOLD, _OFF = "\033[32m", "\033[2m", "\033[1m", "\033[0m"


@app.command()
def preview(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    rows: Annotated[int, typer.Option(min=1, help="rows to show")] = 1,
    start: Annotated[int, typer.Option(min=0, help="first row")] = 0,
    ids: Annotated[bool, typer.Option("--ids", help="one line a token: id, label, text")] = False,
) -> None:
    """Show the very tokens, labels and pack boundaries that are trained on (green or [[ ]]: in the loss)."""
    from lft.recipe import load_recipe

    quiet_libraries()
    from lft.errors import RecipeError

    packed, tokenizer = _packed(load_recipe(recipe, overrides or ()).recipe)
    total = len(packed) if isinstance(packed, Sized) else None
    if total is not None and start >= total:
        raise RecipeError(f"there are {total} rows; --start {start} is past the last")
    for number, row in enumerate(_some(packed, start, rows), start):
        for line in _row_lines(row, number, tokenizer, ids, sys.stdout.isatty()):
            typer.echo(line)
    count = "rows as they stream, again and again" if total is None else f"{total} rows in all"
    typer.echo(f"\n{count}; more with --start and --rows")


@app.command()
def audit(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Report on the whole set: tokens, supervision, losses, duplicates, overlap. Exit 3 when something is amiss."""
    from lft.recipe import load_recipe

    quiet_libraries()
    from lft.data.audit import audit as audited
    from lft.data.sources import open_split
    from lft.data.tokens import Encoder
    from lft.train.inputs import open_base

    checked = load_recipe(recipe, overrides or ()).recipe
    data, seed, cache = checked.data, checked.train.seed, cache_folder()
    _, tokenizer, form = open_base(checked, cache, typer.echo)
    train = open_split(data, "train", seed=seed, notify=typer.echo, cache=cache)
    validation = open_split(data, "validation", seed=seed, notify=typer.echo, cache=cache)
    assert train is not None
    encoder = Encoder(tokenizer, form, data.max_length, data.overlong)
    found = audited(train, validation, encoder, cache, typer.echo)
    for line in audit_lines(found):
        typer.echo(line)
    if found.problems:
        raise typer.Exit(3)


def _packed(recipe: Recipe) -> tuple[PackedRows | StreamedRows, Any]:
    """The very rows of `lft finetune`, and the tokenizer."""
    from lft.train.inputs import open_base, train_rows

    _, tokenizer, form = open_base(recipe, cache_folder(), typer.echo)
    return train_rows(recipe, tokenizer, form, cache_folder(), typer.echo)[0], tokenizer


def _some(packed: PackedRows | StreamedRows, start: int, rows: int) -> Iterator[Row]:
    from lft.train.batches import PackedRows

    if isinstance(packed, PackedRows):
        return (packed[number] for number in range(start, min(start + rows, len(packed))))
    return islice(packed, start, start + rows)


def _row_lines(row: Row, number: int, tokenizer: Any, ids: bool, colour: bool) -> Iterator[str]:
    from lft.data.preview import sides_of, token_views

    total = sum(len(segment.tokens) for segment in row)
    yield f"row {number}: {len(row)} sequences, {total:,} tokens"
    for place, segment in enumerate(row):
        for side, tokens in sides_of(segment.tokens):
            name = side or f"sequence {place}"
            head = f"{name} · example {segment.example} · {tokens.supervised:,} of {len(tokens):,} in the loss "
            yield f"{'─' * 2} {head}{'─' * max(76 - len(head), 0)}"
            views = list(token_views(tokens, tokenizer))
            if ids:
                for view in views:
                    yield f"{view.id:>7}  {'label' if view.supervised else '-':<5}  {view.text!r}"
            else:
                yield _painted(views, colour)


def _painted(views: list[Any], colour: bool) -> str:
    """Green is in the loss; without colour the loss stands in [[ ]]."""
    text, inside = "", False
    for view in views:
        if view.supervised != inside:
            text += (_GREEN if view.supervised else _OFF) if colour else ("[[" if view.supervised else "]]")
            inside = view.supervised
        shown = view.text
        text += f"{_BOLD}{shown}{_OFF}{_GREEN if inside else ''}" if colour and view.special else shown
    return text + ((_OFF if colour else "]]") if inside else "")


def audit_lines(found: Audit) -> Iterator[str]:
    """The report, at most 80 columns wide."""
    yield from _split_lines(found.train)
    if found.validation is not None:
        yield from _split_lines(found.validation)
        exact = sum(pair.exact for pair in found.shared)
        near = len(found.shared) - exact
        yield f"\noverlap      {exact:,} validation outputs stand in train word for word, {near:,} nearly"
        for pair in found.shared[:5]:
            yield f"  validation {pair.right_index} ~ train {pair.left_index}: {pair.jaccard:.0%} of word 5-grams"
    yield ""
    yield from (f"amiss: {problem}" for problem in found.problems)
    if not found.problems:
        yield "nothing amiss"


def _split_lines(split: SplitAudit) -> Iterator[str]:
    counts = split.counts
    yield f"\n{split.part}"
    yield from (f"  format     {verdict}" for verdict in split.verdicts)
    yield f"  examples   {counts.examples:,} ({', '.join(f'{lang} {count:,}' for lang, count in split.languages)})"
    yield f"  tokens     {counts.tokens:,}, of which {counts.supervised / max(counts.tokens, 1):.1%} supervised"
    yield (
        f"  too long   {counts.overlong:,} ({counts.overlong / counts.examples:.1%}): {counts.dropped:,} dropped, "
        f"{counts.truncated:,} truncated, {counts.split:,} split; {counts.tokens_cut:,} tokens cut"
    )
    if counts.starts_masked:
        yield f"             {counts.starts_masked:,} first tokens of later parts not trained"
    if counts.inputs_overlong or counts.outputs_overlong:
        yield f"             {counts.inputs_overlong:,} by their input, {counts.outputs_overlong:,} by their output"
    if counts.spaces_lost or counts.unknown or counts.respelt:
        yield (
            f"  not kept   {counts.spaces_lost:,} spaces or tabs, {counts.unknown:,} unknown stretches; "
            f"{counts.respelt:,} texts respelt"
        )
    share = counts.eos_trained / max(counts.kept, 1)
    yield f"  end token  trained in {counts.eos_trained:,} of {counts.kept:,} sequences ({share:.1%})"
    yield f"  empty      {counts.empty:,} outputs; {counts.retokenised:,} answers tokenised apart from their prompt"
    if counts.empty_turns:
        yield f"             {counts.empty_turns:,} empty answers within conversations, read but not trained"
    if counts.specials:
        yield f"  spelt out  {counts.specials:,} special tokens in the texts, kept as text"
    yield f"  twice      {split.duplicate_outputs:,} outputs, {split.duplicate_inputs:,} inputs"
    yield f"  length     median {split.median:,}, 95 % {split.p95:,}, longest {counts.longest:,} tokens"
    most = max((entry.count for entry in split.histogram), default=0)
    for entry in split.histogram:
        yield f"  {entry.low:>6,}-{entry.high - 1:<6,} {'█' * round(40 * entry.count / most):<40} {entry.count:,}"
