"""A fine-tuning run from inputs to a verified adapter or model, in one process or as one of several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from lft.recipe import to_yaml
from lft.train.arguments import Setting
from lft.train.batches import StreamedRows
from lft.train.events import Note, Report, Saved, noter
from lft.train.faults import explained
from lft.train.folder import RunFolder
from lft.train.inputs import Inputs, split_counts
from lft.train.ledger import Ledger
from lft.train.model import Subject, subject
from lft.train.optimizers import make_loraplus, optimizer_name
from lft.train.progress import Interruption, handled_signals
from lft.train.record import held, recorded, write_data
from lft.train.report import write_report
from lft.train.resume import Start, going_on, require_shared
from lft.train.samples import answer_questions, answer_samples
from lft.train.world import World, shared_folder
from lft.train.zero import declare_outside, deepspeed_config


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. Losses are validation losses in nats per token; ``signal`` is set when it was interrupted.

    ``result`` is the folder of the adapter, or of the model where every weight was trained.
    """

    folder: Path
    result: Path | None
    steps: int
    seconds: float
    before: float | None
    after: float | None
    signal: int | None

    @property
    def fall(self) -> float | None:
        """Share by which the validation loss fell."""
        return None if self.before is None or self.after is None else (self.before - self.after) / self.before


def finetune(
    inputs: Inputs,
    report: Report,
    resume: RunFolder | None = None,
    world: World | None = None,
    interruption: Interruption | None = None,
    made: Callable[[Path], None] = lambda _: None,
) -> Outcome:
    """Train, and save an adapter or a model that was read back.

    Args:
        inputs: from ``prepare_inputs``.
        report: told what happens.
        resume: go on with this run from its newest whole checkpoint, or from its beginning where there is none.
        world: the processes; None is this one alone.
        interruption: asked after each step whether to stop; None handles the signals of this process.
        made: told the run folder as soon as there is one.

    Raises:
        TrainingError: the loss became non-finite, or what was saved is not what was in memory.
        InputError: the run cannot go on, or no longer is what it was.
        MachineError: out of memory or disk.
    """
    world = world or World()
    journal = _Journal(report, inputs.notes)
    folder = resume
    try:
        with ExitStack() as stack:
            if folder is not None:
                stack.enter_context(_alone_in(folder, world, journal))
            start = going_on(inputs, folder, world, journal.tell)
            torch.manual_seed(inputs.recipe.train.seed)  # the same start in every process
            tuned = subject(inputs, world, start.checkpoint, journal.tell)
            if folder is None:
                folder = _new_folder(inputs, world)
                stack.enter_context(_alone_in(folder, world, journal))
            stack.enter_context(_recorded(folder, inputs, world, journal))
            made(folder.path)
            outcome = _trained(tuned, folder, start, world, interruption, journal.tell)
            if world.is_main:
                write_data(folder.path, split_counts(inputs))  # again: a stream is counted while it is read
            return journal.ended(outcome)
    except Exception as error:
        raise explained(error, None if folder is None else folder.path, world.size > 1) from error


def _new_folder(inputs: Inputs, world: World) -> RunFolder:
    """Made only now, when the model stands: what is refused before leaves nothing behind."""
    path = None
    if world.is_main:
        folder = RunFolder.create(Path(inputs.recipe.output.runs), inputs.recipe.name, to_yaml(inputs.recipe))
        folder.write_lock(inputs.lock)
        path = folder.path.absolute() if world.size > 1 else folder.path
    found = RunFolder(world.from_main(path))
    require_shared(found, world)
    return found


class _Journal:
    """What is told goes on the screen, and into log.txt as soon as the run has a folder."""

    def __init__(self, screen: Report, notes: tuple[str, ...]) -> None:
        self.screen = screen
        self.waiting = list(notes)
        self.folder: RunFolder | None = None
        self.outcome: Outcome | None = None

    def tell(self, event: Any) -> None:
        """One event."""
        if isinstance(event, Note):
            self._log(event.text)
        elif isinstance(event, Saved):
            self._log(f"saved {event.what} {event.path.name}")
        self.screen(event)

    def open(self, folder: RunFolder) -> None:
        """From now on there is a log."""
        self.folder, waiting, self.waiting = folder, self.waiting, []
        for text in waiting:
            folder.log(text)

    def ended(self, outcome: Outcome) -> Outcome:
        """The run is over."""
        self.outcome = outcome
        return outcome

    def _log(self, text: str) -> None:
        if self.folder is None:
            self.waiting.append(text)
        else:
            self.folder.log(text)


@contextmanager
def _alone_in(folder: RunFolder, world: World, journal: _Journal) -> Iterator[None]:
    """While the block runs, no other run works in this folder; what is told is logged there."""
    if not world.is_main:
        yield
        return
    with held(folder.path):
        journal.open(folder)
        journal.tell(Note(f"run folder {folder.path}"))
        yield


@contextmanager
def _recorded(folder: RunFolder, inputs: Inputs, world: World, journal: _Journal) -> Iterator[None]:
    """While the block runs, state.json says so; however it ends, state.json and report.html say how.

    Whatever goes wrong with the report, the run stands.
    """
    if not world.is_main:
        yield
        return
    write_data(folder.path, split_counts(inputs))
    try:
        with recorded(folder.path, inputs.steps) as session:
            yield
            if journal.outcome is not None:
                session.done, session.signal = journal.outcome.steps, journal.outcome.signal
    finally:
        try:
            journal.screen(Saved("report", write_report(folder.path)))
        except Exception as error:
            journal.screen(Note(f"report.html was not written ({error}); try: lft runs report {folder.path}"))


def _trained(
    tuned: Subject, folder: RunFolder, start: Start, world: World, interruption: Interruption | None, report: Report
) -> Outcome:
    """The run inside its folder: from the start, or from a checkpoint. What was trained is saved before all else."""
    inputs = tuned.inputs
    alone = interruption is None
    interruption = interruption or Interruption(report, world)
    torch.manual_seed(inputs.recipe.train.seed + world.rank)
    trainer = _trainer(tuned, folder, start, world, report)
    trainer.ledger.evaluated.update(folder.evaluations() if start.checkpoint else {})
    trainer.add_callback(interruption)
    trainer.add_callback(_Steps(trainer, tuned, start))
    if isinstance(inputs.rows, StreamedRows):
        inputs.rows.notify = noter(report)
    report(Note(f"batch: {inputs.plan}; {inputs.steps:,} steps"))
    began = time.monotonic()
    with handled_signals(interruption) if alone else ExitStack():
        trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
    if world.is_main:
        start.forget()
    seconds = time.monotonic() - began
    if isinstance(inputs.rows, StreamedRows):
        report(Note(inputs.rows.so_far()))
    steps, before = trainer.state.global_step, trainer.ledger.evaluated.get(0)
    if interruption.signal is not None and steps < trainer.state.max_steps:
        return Outcome(folder.path, None, steps, seconds, before, None, interruption.signal)
    result = folder.model if tuned.full else folder.adapter
    with shared_folder(result, world) as draft:
        tuned.save(trainer, draft, checkpoint=False)
    report(Saved("model" if tuned.full else "adapter", result))
    if inputs.validation is not None and steps not in trainer.ledger.evaluated:
        trainer.evaluate()
    answer_samples(tuned, trainer.ledger, "after")
    return Outcome(folder.path, result, steps, seconds, before, trainer.ledger.evaluated.get(steps), None)


class _Steps(TrainerCallback):  # type: ignore[misc]
    """What happens at the first step and after each one."""

    def __init__(self, trainer: Any, tuned: Subject, start: Start) -> None:
        self.trainer, self.tuned, self.start = trainer, tuned, start

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """The state before the first step, once DeepSpeed has what it shards: validation loss and sample answers."""
        if self.tuned.sharded:
            declare_outside(self.tuned.tuned.model)
        if self.start.checkpoint is None:
            if self.tuned.inputs.validation is not None:
                self.trainer.evaluate()
            answer_samples(self.tuned, self.trainer.ledger, "before")

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Evaluation by generation, where the recipe asks for it."""
        answer_questions(self.tuned, self.trainer.ledger, state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """The order of rows is told its epoch: of several processes that resume into the middle of one, accelerate's
        wrappers do not pass it on, and the rows would come in the order of the first epoch.
        """
        if self.trainer.order is not None:
            self.trainer.order.set_epoch(int(state.epoch or 0))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Methods that change their own shape while they are trained (AdaLoRA)."""
        if self.tuned.tuned.after_step is not None:
            self.tuned.tuned.after_step(state.global_step + 1)


def _trainer(tuned: Subject, folder: RunFolder, start: Start, world: World, report: Report) -> Any:
    inputs, recipe = tuned.inputs, tuned.inputs.recipe
    setting = Setting(
        plan=inputs.plan,
        placement=inputs.placement,
        checkpoints=folder.checkpoints,
        validated=inputs.validation is not None,
        optimizer=optimizer_name(recipe.train.optimizer, inputs.placement.device, noter(report)),
        deepspeed=deepspeed_config(recipe.launch, tuned.tuned.trainable, start.converted),
    )
    ledger = Ledger(
        folder=folder,
        world=world,
        report=report,
        save_model_to=lambda draft: tuned.save(trainer, draft, checkpoint=True),
        keep_last=recipe.train.keep_last,
        keep_best=recipe.train.keep_best,
        shifted=not inputs.form.encoder_decoder,
        optimizer=partial(_two_rates, ratio=recipe.method.loraplus_lr_ratio) if recipe.method.kind == "lora+" else None,
    )
    make, arguments = _library(inputs.form.encoder_decoder)
    trainer = make(
        model=tuned.tuned.model,
        tokenizer=inputs.tokenizer,
        arguments=arguments(recipe, setting),
        rows=inputs.rows,
        validation=inputs.validation,
        ledger=ledger,
    )
    return trainer


def _library(paired: bool) -> tuple[Any, Any]:
    """The trainer and what makes its arguments; only one of the two libraries is imported."""
    if paired:
        from lft.train.seq2seq import Seq2SeqTrainer, seq2seq_arguments

        return Seq2SeqTrainer, seq2seq_arguments
    from lft.train.causal import CausalTrainer, sft_config

    return CausalTrainer, sft_config


def _two_rates(trainer: Any, ratio: float) -> Any:
    """LoRA+'s optimizer."""
    kind = trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model)
    return make_loraplus(trainer.model, trainer.args, kind, ratio)
