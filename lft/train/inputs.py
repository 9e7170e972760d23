"""Everything a run needs before the model is loaded: base, tokenizer, rows of tokens, and the lock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from lft.base.attach import Lower, lower_adapters, nowhere
from lft.base.device import Placement, device_and_dtype
from lft.base.fingerprint import Fingerprint, fingerprint
from lft.base.load import is_encoder_decoder, load_config, load_tokenizer
from lft.base.places import or_remembered, remember
from lft.base.positions import beyond_training, require_positions
from lft.base.resolve import BaseRef, resolve_base
from lft.base.tokens import extend_tokenizer
from lft.data.example import Turn
from lft.data.packing import efficiency
from lft.data.prepare import prepare
from lft.data.prompts import PromptFormat, prompt_text, recipe_format
from lft.data.sources import open_split
from lft.data.streaming import held_split, stream_split
from lft.data.tokens import Encoder, changes
from lft.errors import InputError, LftError
from lft.files import require_folder_place
from lft.literal import encoded
from lft.plan import BatchPlan, batch_plan
from lft.recipe import to_yaml
from lft.recipe.schema import Base, Launch, Output, Recipe
from lft.train.arguments import total_steps
from lft.train.batches import PackedRows, StreamedRows
from lft.train.events import Note, Report
from lft.train.folder import Lock, LockedBelow, package_versions, python_version
from lft.train.record import SplitCounts


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt in the model's format, and the answer that a person gave."""

    prompt: str
    reference: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run starts from: the base on disk, the tokenizer, and rows of tokens."""

    recipe: Recipe
    base: BaseRef
    identity: Fingerprint
    tokenizer: Any
    form: PromptFormat
    placement: Placement
    plan: BatchPlan
    rows: PackedRows | StreamedRows
    validation: PackedRows | None
    below: tuple[Lower, ...]  # adapters kept active and frozen, lowest first
    lock: Lock
    notes: tuple[str, ...]  # what was told while they were prepared, for the run's log
    questions: tuple[Question, ...]  # of the validation split, for evaluation by generation

    @property
    def shares_rows(self) -> bool:
        """Whether several sequences lie in one row of a batch; an encoder-decoder's lie side by side, padded."""
        return not self.form.encoder_decoder and (self.recipe.data.packing or self.plan.micro_rows > 1)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        rows = 0 if isinstance(self.rows, StreamedRows) else len(self.rows)
        return total_steps(self.recipe.train, rows, self.plan)


def prepare_inputs(recipe: Recipe, cache: Path, report: Report, pinned: Lock | None = None) -> Inputs:
    """Everything before the model is loaded; each refusal that can come early comes here.

    Args:
        recipe: what to do.
        cache: where tokens and converted bases are kept.
        report: told what happens.
        pinned: the lock of a run that is gone on with: its commit of the base, wherever the branch is by now.

    Raises:
        RecipeError, InputError, MachineError: what was wrong, where, and what to do.
    """
    recipe = _anchored(recipe)
    require_folder_place(Path(recipe.output.runs))
    placement = device_and_dtype(recipe.base.dtype)
    batch_plan(recipe)  # a batch that cannot be divided is refused before anything is fetched
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        report(Note(text))

    base, tokenizer, form = open_base(recipe, cache, note, pinned)
    plan = batch_plan(recipe, _fitting_rows(recipe, base, placement))
    rows, data = train_rows(recipe, tokenizer, form, cache, note)
    validation, checked = _validation_rows(recipe, tokenizer, form, cache, note)
    _require_positions(recipe, load_config(base), (rows, validation), tokenizer, form, note)
    questions = _questions(recipe, tokenizer, form, cache)
    identity = fingerprint(base.folder, cache)
    below = _below(recipe, base, identity, cache)
    lock = _lock(recipe, base, identity, placement, data, checked, below)
    return Inputs(
        recipe, base, identity, tokenizer, form, placement, plan, rows, validation, below, lock, tuple(notes), questions
    )


def _below(recipe: Recipe, base: BaseRef, identity: Fingerprint, cache: Path) -> tuple[Lower, ...]:
    """The adapters below; where they and the base lie is kept for whoever uses what is trained here."""
    base.remember(cache, identity.weights)
    found = lower_adapters(recipe.method.on_top_of, identity, or_remembered(nowhere, cache))
    for one in found:
        remember(cache, one.digest, one.folder)
    return found


def _fitting_rows(recipe: Recipe, base: BaseRef, placement: Placement) -> int | None:
    """What ``micro_batch_size: auto`` means on the GPUs of this machine, by the plan; None leaves it to the rule."""
    if placement.device == "cpu" or recipe.train.micro_batch_size != "auto":
        return None
    from lft.plan.families import shape_of
    from lft.plan.fit import auto_micro_batch
    from lft.plan.hardware import Fleet, nearest_device

    try:
        shape = shape_of(json.loads((base.folder / "config.json").read_bytes()))
    except LftError:  # a family that the plan does not know
        return None
    device = nearest_device(torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory)
    return auto_micro_batch(recipe, shape, Fleet(device, recipe.launch.gpus, recipe.launch.nodes))


def _pinned(base: Base, lock: Lock | None) -> Base:
    return base if lock is None or lock.revision is None else base.model_copy(update={"revision": lock.revision})


def open_base(
    recipe: Recipe, cache: Path, note: Callable[[str], None], pinned: Lock | None = None
) -> tuple[BaseRef, Any, PromptFormat]:
    """The recipe's base on disk, its tokenizer with the format's added tokens, and the prompt format.

    Raises:
        RecipeError, InputError, MachineError: as ``prepare_inputs``.
    """
    base = resolve_base(_pinned(recipe.base, pinned), cache, note)
    tokenizer = load_tokenizer(base)
    form = recipe_format(recipe.data, tokenizer, is_encoder_decoder(base))
    extend_tokenizer(tokenizer, form.added_tokens)
    return base, tokenizer, form


def train_rows(
    recipe: Recipe, tokenizer: Any, form: PromptFormat, cache: Path, note: Callable[[str], None]
) -> tuple[PackedRows | StreamedRows, str]:
    """The rows that are trained on, before their order is drawn, and a digest of their data.

    Raises:
        InputError: missing, unreadable or unfit data.
        MachineError: no space for the cache.
    """
    data, seed = recipe.data, recipe.train.seed
    encoder = Encoder(tokenizer, form, data.max_length, data.overlong)
    capacity = data.max_length if data.packing else None
    if data.streaming:
        stream = stream_split(data, "train", seed=seed, notify=note)
        if stream is None:  # the schema has no null for this split
            raise InputError("data.split.train names no split")
        for verdict in stream.verdicts:
            note(f"format of {verdict}")
        return StreamedRows(stream, encoder, capacity, seed), stream.digest
    examples = open_split(data, "train", seed=seed, cache=cache, notify=note)
    if examples is None:  # the schema has no null for this split
        raise InputError("data.split.train names no split")
    for verdict in examples.verdicts:
        note(f"format of {verdict}")
    prepared = prepare(examples, encoder, cache, note, "train")
    rows = PackedRows(prepared, capacity)
    note(describe("train", rows, capacity))
    return rows, examples.digest


def _validation_rows(
    recipe: Recipe, tokenizer: Any, form: PromptFormat, cache: Path, note: Callable[[str], None]
) -> tuple[PackedRows | None, str | None]:
    data = recipe.data
    examples = (
        held_split(data, "validation", notify=note)  # opening a hub data set would fetch its training split too
        if data.streaming
        else open_split(data, "validation", seed=recipe.train.seed, cache=cache, notify=note)
    )
    if examples is None:
        return None, None
    prepared = prepare(examples, Encoder(tokenizer, form, data.max_length, data.overlong), cache, note, "validation")
    capacity = data.max_length if data.packing else None
    rows = PackedRows(prepared, capacity)
    note(describe("validation", rows, capacity))
    return rows, examples.digest


def _require_positions(
    recipe: Recipe,
    config: Any,
    splits: tuple[PackedRows | StreamedRows | None, ...],
    tokenizer: Any,
    form: PromptFormat,
    note: Callable[[str], None],
) -> None:
    """No sequence and no sample may be longer than a base that looks its positions up; positions begin anew with each
    packed sequence, so the longest sequence counts. Of a stream, ``data.max_length`` is all that is known."""
    limit = recipe.data.max_length
    seen = (one.prepared.counts.longest if isinstance(one, PackedRows) else limit for one in splits if one is not None)
    longest = min(max(seen), limit)
    require_positions(config, longest, "data.max_length", "set data.max_length to {} or less, and data.overlong")
    for prompt in recipe.train.sample_prompts:
        text = prompt_text(form, (Turn("user", prompt),), tokenizer)
        ids = encoded(tokenizer, [text], add_special_tokens=form.adds_special_tokens)[0]
        what = "a train.sample_prompts with its train.sample_tokens"
        require_positions(config, len(ids) + recipe.train.sample_tokens, what, "lower train.sample_tokens")
    if told := beyond_training(config, longest):
        note(told)


def describe(part: str, packed: PackedRows, capacity: int | None) -> str:
    """One line on a split: nothing dropped or cut without being named."""
    prepared, rows = packed.prepared, packed.rows
    counts = prepared.counts
    full = f", {efficiency(prepared.lengths, rows, capacity):.0%} full" if capacity else ""
    line = (
        f"{part}: {counts.examples:,} examples, {counts.tokens:,} tokens "
        f"({counts.supervised / counts.tokens:.0%} supervised), {len(rows):,} rows{full}"
    )
    return (
        line + "".join(f"; {text}" for text in changes(counts)) + ("; tokens from the cache" if prepared.cached else "")
    )


def _lock(
    recipe: Recipe,
    base: BaseRef,
    identity: Fingerprint,
    placement: Placement,
    data: str,
    validation: str | None,
    below: tuple[Lower, ...],
) -> Lock:
    return Lock(
        base=base.written,
        revision=base.revision,
        weights=identity.weights,
        tokenizer=identity.tokenizer,
        data=data,
        validation=validation,
        seed=recipe.train.seed,
        device=placement.device,
        dtype=str(placement.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        adapters_below=tuple(one.digest for one in below),
        weights_below=tuple(one.identity.weights for one in below),
        packages=package_versions(),
        python=python_version(),
        recipe=_digest(recipe),
        config=identity.config_digest,
        engine=recipe.launch.engine,
        devices=recipe.launch.gpus * recipe.launch.nodes,
        below=tuple(LockedBelow(one.name, one.digest, one.share.share) for one in below),
    )


def _digest(recipe: Recipe) -> str:
    """Of all that the recipe says but for where it runs and where its results go."""
    said = recipe.model_copy(update={"launch": Launch(), "output": Output()})
    return hashlib.sha256(to_yaml(said).encode()).hexdigest()


def _anchored(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths for whatever is a file or folder here: a run is gone on with from anywhere."""
    sources = recipe.data.train
    train = (
        _absolute(sources)
        if isinstance(sources, str)
        else tuple(source.model_copy(update={"path": _absolute(source.path)}) for source in sources)
    )
    return recipe.model_copy(
        update={
            "base": recipe.base.model_copy(update={"model": _absolute(recipe.base.model)}),
            "data": recipe.data.model_copy(update={"train": train}),
            "method": recipe.method.model_copy(update={"on_top_of": tuple(map(_absolute, recipe.method.on_top_of))}),
        }
    )


def _absolute(written: str) -> str:
    path = Path(written).expanduser()
    return str(path.absolute()) if path.exists() else written


def _questions(recipe: Recipe, tokenizer: Any, form: PromptFormat, cache: Path) -> tuple[Question, ...]:
    data, wanted = recipe.data, recipe.train.eval_answers
    if not wanted:
        return ()
    opened = (
        held_split(data, "validation", notify=lambda _: None)
        if data.streaming
        else open_split(data, "validation", seed=recipe.train.seed, cache=cache, notify=lambda _: None)
    )
    return tuple(
        Question(prompt_text(form, one.turns[:-1], tokenizer, one.context), one.turns[-1].content)
        for one in islice(opened or (), wanted)
    )


def split_counts(inputs: Inputs) -> dict[str, SplitCounts]:
    """What became of the examples of each split; of a stream nothing is known before it is read."""
    found = {}
    for name, rows in (("train", inputs.rows), ("validation", inputs.validation)):
        if isinstance(rows, PackedRows):
            capacity = inputs.recipe.data.max_length if inputs.recipe.data.packing else None
            full = efficiency(rows.prepared.lengths, rows.rows, capacity) if capacity else None
            found[name] = SplitCounts.of(rows.prepared.counts, len(rows), full)
        elif rows is not None and rows.encoder.counts.examples:
            found[name] = SplitCounts.of(rows.encoder.counts, None, None)
    return found
