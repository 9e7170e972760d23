"""A fine-tuning run from recipe to verified adapter."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lft
from lft.base.binding import Binding
from lft.base.decode import Decoding, generate
from lft.base.device import Placement, device_and_dtype
from lft.base.fingerprint import Fingerprint, fingerprint
from lft.base.load import load_model, load_tokenizer
from lft.base.resolve import BaseRef, resolve_base
from lft.base.tokens import add_tokens, extend_tokenizer, token_training
from lft.data.example import Turn
from lft.data.packing import efficiency
from lft.data.prepare import prepare
from lft.data.prompts import PromptFormat, prompt_format, prompt_text, stop_id
from lft.data.sources import open_split
from lft.data.streaming import stream_split
from lft.data.tokens import Counts, Encoder
from lft.errors import InputError
from lft.files import new_folder
from lft.plan import BatchPlan, batch_plan
from lft.recipe import to_yaml
from lft.recipe.schema import Recipe
from lft.train.adapter import save_adapter
from lft.train.attention import isolate
from lft.train.batches import PackedRows, StreamedRows
from lft.train.events import Note, Report, Sample, Saved
from lft.train.folder import Lock, RunFolder, newest_whole_checkpoint, package_versions, python_version
from lft.train.methods import Tuned, add_lora
from lft.train.trainer import Interruption, LftTrainer, handled_signals, sft_config, total_steps


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
    lock: Lock

    @property
    def shares_rows(self) -> bool:
        """Whether several sequences lie in one row of a batch."""
        return self.recipe.data.packing or self.plan.micro_rows > 1

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        rows = 0 if isinstance(self.rows, StreamedRows) else len(self.rows)
        return total_steps(self.recipe.train, rows, self.plan)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. Losses are validation losses in nats per token; ``signal`` is set when it was interrupted."""

    folder: Path
    adapter: Path | None
    steps: int
    seconds: float
    before: float | None
    after: float | None
    signal: int | None

    @property
    def fall(self) -> float | None:
        """Share by which the validation loss fell."""
        return None if self.before is None or self.after is None else (self.before - self.after) / self.before


def prepare_inputs(recipe: Recipe, cache: Path, report: Report) -> Inputs:
    """Everything before the model is loaded; each refusal that can come early comes here.

    Raises:
        RecipeError, InputError, MachineError: what was wrong, where, and what to do.
    """
    placement, plan = device_and_dtype(recipe.base.dtype), batch_plan(recipe)
    note = _noter(report)
    base = resolve_base(recipe.base, cache, note)
    tokenizer = load_tokenizer(base)
    form = prompt_format(recipe.data.prompt, recipe.data.eoi, tokenizer)
    extend_tokenizer(tokenizer, form.added_tokens)
    rows, data = _train_rows(recipe, tokenizer, form, cache, note)
    validation, checked = _validation_rows(recipe, tokenizer, form, cache, note)
    identity = fingerprint(base.folder, cache)
    lock = _lock(recipe, base, identity, placement, data, checked)
    return Inputs(recipe, base, identity, tokenizer, form, placement, plan, rows, validation, lock)


def finetune(inputs: Inputs, report: Report, resume: RunFolder | None = None) -> Outcome:
    """Train, and save an adapter that was read back.

    Args:
        inputs: from ``prepare_inputs``.
        report: told what happens.
        resume: go on with this run from its newest whole checkpoint.

    Raises:
        TrainingError: the loss became non-finite, or the saved adapter is not what was in memory.
        InputError: there is nothing to resume, or the run no longer is what it was.
    """
    recipe = inputs.recipe
    folder = resume or RunFolder.create(Path(recipe.output.runs), recipe.name, to_yaml(recipe))
    report = _logged(report, folder)
    checkpoint = _checkpoint(inputs, resume, report) if resume else None
    if resume is None:
        folder.write_lock(inputs.lock)
    report(Note(f"run folder {folder.path}"))
    torch.manual_seed(recipe.train.seed)
    tuned = _tuned_model(inputs, report)
    interruption = Interruption(report)
    trainer = _trainer(inputs, tuned, folder, report)
    trainer.add_callback(interruption)
    before = _first_loss(trainer, inputs, folder, resume)
    if resume is None:
        _samples(inputs, tuned.model, folder, "before", report)
    began = time.monotonic()
    with handled_signals(interruption):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - began
    if interruption.signal is not None:
        return Outcome(folder.path, None, trainer.state.global_step, seconds, before, None, interruption.signal)
    after = _last_loss(trainer, inputs)
    _samples(inputs, tuned.model, folder, "after", report)
    with new_folder(folder.adapter) as draft:
        trainer.save_model_to(draft)
    report(Saved("adapter", folder.adapter))
    return Outcome(folder.path, folder.adapter, trainer.state.global_step, seconds, before, after, None)


def _train_rows(
    recipe: Recipe, tokenizer: Any, form: PromptFormat, cache: Path, note: Callable[[str], None]
) -> tuple[PackedRows | StreamedRows, str]:
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
    prepared = prepare(examples, encoder, cache, note)
    rows = PackedRows(prepared, capacity)
    note(describe("train", rows, capacity))
    return rows, examples.digest


def _validation_rows(
    recipe: Recipe, tokenizer: Any, form: PromptFormat, cache: Path, note: Callable[[str], None]
) -> tuple[PackedRows | None, str | None]:
    data = recipe.data
    examples = open_split(data, "validation", seed=recipe.train.seed, cache=cache, notify=note)
    if examples is None:
        return None, None
    prepared = prepare(examples, Encoder(tokenizer, form, data.max_length, data.overlong), cache, note)
    capacity = data.max_length if data.packing else None
    rows = PackedRows(prepared, capacity)
    note(describe("validation", rows, capacity))
    return rows, examples.digest


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
        line + "".join(f"; {text}" for text in losses(counts)) + ("; tokens from the cache" if prepared.cached else "")
    )


def losses(counts: Counts) -> list[str]:
    """What was changed or left out, in words; an empty list means nothing was."""
    told = {
        "dropped as too long": counts.dropped,
        "cut at max_length": counts.truncated,
        "split at max_length": counts.split,
        "with an empty output left out": counts.empty,
        "tokens cut off": counts.tokens_cut,
        "answers tokenised apart from their prompt": counts.retokenised,
    }
    return [f"{number:,} {text}" for text, number in told.items() if number]


def _lock(
    recipe: Recipe, base: BaseRef, identity: Fingerprint, placement: Placement, data: str, validation: str | None
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
        adapters_below=(),
        packages=package_versions(),
        python=python_version(),
    )


def _checkpoint(inputs: Inputs, folder: RunFolder, report: Report) -> Path:
    changes = folder.read_lock().changes(inputs.lock)
    if changes:
        raise InputError(
            f"the run cannot go on bit for bit: {', '.join(changes)} changed since it began",
            where=str(folder.path),
            fix="restore what changed (see lock.json), or start a new run",
        )
    choice = newest_whole_checkpoint(folder.checkpoints)
    for line in choice.skipped:
        report(Note(line))
    report(Note(f"going on from step {choice.step}"))
    return choice.path


def _tuned_model(inputs: Inputs, report: Report) -> Tuned:
    placement = inputs.placement
    report(Note(f"loading {inputs.base.written} ({placement.reason})"))
    model = load_model(inputs.base, placement.dtype, placement.device, notify=_noter(report))
    added = add_tokens(inputs.tokenizer, model, inputs.form.added_tokens)
    if inputs.shares_rows:
        isolate(model, len(inputs.tokenizer))
    tuned = add_lora(model, inputs.recipe.method, token_training(model, added) if added.ids else {})
    report(Note(f"lora on {tuned}"))
    report(Note(f"batch: {inputs.plan}; {inputs.steps:,} steps"))
    return tuned


def _trainer(inputs: Inputs, tuned: Tuned, folder: RunFolder, report: Report) -> LftTrainer:
    recipe, binding = inputs.recipe, _binding(inputs, tuned.model)
    device, dtype = inputs.placement.device, inputs.placement.dtype

    def save_model_to(draft: Path) -> None:
        save_adapter(tuned.model, inputs.tokenizer, binding, inputs.form, draft)

    return LftTrainer(
        model=tuned.model,
        tokenizer=inputs.tokenizer,
        arguments=sft_config(recipe, inputs.plan, folder, device, dtype, inputs.validation is not None),
        rows=inputs.rows,
        validation=inputs.validation,
        folder=folder,
        keep_last=recipe.train.keep_last,
        save_model_to=save_model_to,
        report=report,
    )


def _binding(inputs: Inputs, model: Any) -> Binding:
    # What plain `peft` loads the base from: the hub's name, or the folder on this machine.
    config = model.peft_config["default"]
    config.base_model_name_or_path = inputs.base.written if inputs.base.kind == "hub" else str(inputs.base.folder)
    config.revision = inputs.base.revision
    return Binding(
        base=inputs.base.written,
        revision=inputs.base.revision,
        weights=inputs.identity.weights,
        tokenizer=inputs.identity.tokenizer,
        rows=model.get_input_embeddings().weight.shape[0],
        recipe=inputs.recipe.name,
        tags=dict(inputs.recipe.output.tags),
        lft=lft.__version__,
    )


def _first_loss(trainer: LftTrainer, inputs: Inputs, folder: RunFolder, resume: RunFolder | None) -> float | None:
    """Validation loss before the first step; a resumed run reads it from its own log."""
    if inputs.validation is None:
        return None
    return trainer.evaluate()["eval_loss"] if resume is None else folder.first_evaluation()


def _last_loss(trainer: LftTrainer, inputs: Inputs) -> float | None:
    if inputs.validation is None:
        return None
    found = trainer.evaluated.get(trainer.state.global_step)
    return found if found is not None else trainer.evaluate()["eval_loss"]


def _samples(inputs: Inputs, model: Any, folder: RunFolder, when: str, report: Report) -> None:
    """Answers to the recipe's sample prompts, greedy, so that before and after differ by the training alone."""
    prompts = inputs.recipe.train.sample_prompts
    if not prompts:
        return
    decoding = Decoding(max_new_tokens=inputs.recipe.train.sample_tokens, greedy=True, seed=inputs.recipe.train.seed)
    trained_with = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    for prompt in prompts:
        text = prompt_text(inputs.form, (Turn("user", prompt),), inputs.tokenizer)
        special, stop = inputs.form.adds_special_tokens, stop_id(inputs.form, inputs.tokenizer)
        answer = generate(model, inputs.tokenizer, [text], decoding, special=special, stop=stop)[0]
        folder.append(
            "samples.jsonl", {"when": when, "prompt": prompt, "text": answer.text, "finished": answer.finished}
        )
        report(Sample(when, prompt, answer.text))
    model.set_attn_implementation(trained_with)


def _noter(report: Report) -> Callable[[str], None]:
    return lambda text: report(Note(text))


def _logged(report: Report, folder: RunFolder) -> Report:
    """Notes and saves go to log.txt too."""

    def both(event: Any) -> None:
        if isinstance(event, Note):
            folder.log(event.text)
        elif isinstance(event, Saved):
            folder.log(f"saved {event.what} {event.path.name}")
        report(event)

    return both
