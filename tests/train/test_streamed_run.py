"""A run over a stream: the right rows in the right order, isolated and counted, and exactly these again when resumed.

What is trained on is read where nothing can be mistaken about it: the labels that reach the loss. Every output is told
apart by its number, so the labels of a run, decoded, are the list of the examples that it saw.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from lft.data.prompts import PromptFormat
from lft.data.tokens import IGNORE, Encoder
from lft.errors import InputError, MachineError
from lft.recipe.schema import Recipe
from lft.train import batches, loss
from lft.train.events import Note, Step
from lft.train.folder import RunFolder, newest_whole_checkpoint
from lft.train.inputs import prepare_inputs
from lft.train.run import Outcome, finetune
from tests.examples import example
from tests.tiny import save_tiny, sentences, tiny_model, tiny_tokenizer

ROWS, HELD_OUT, STEPS, WINDOW = 30, 6, 20, 8
TEXTS = sentences(ROWS + HELD_OUT, seed=4, low=2, high=9)
TRAIN = [{"input": f"Say {n}.", "output": f"Here is {n}: {TEXTS[n]}"} for n in range(ROWS)]
EMPTY, LONG = {"input": "Be silent.", "output": ""}, {"input": "Go on.", "output": TEXTS[0] * 40}
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    save_tiny(folder / "llama", "llama")
    held_out = [{"input": "Ask.", "output": text} for text in TEXTS[ROWS:]]
    write(folder / "one" / "train.jsonl", TRAIN)
    write(folder / "one" / "validation.jsonl", held_out)
    write(folder / "en" / "train.jsonl", TRAIN[:20])
    write(folder / "en" / "validation.jsonl", held_out)
    write(folder / "de" / "train.jsonl", TRAIN[20:])
    write(folder / "flawed" / "train.jsonl", [*TRAIN[:9], EMPTY, LONG, LONG])
    return folder


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several windows to a pass."""
    monkeypatch.setattr(batches, "STREAM_WINDOW", WINDOW)


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(material: Path, runs: Path, source: str = "one", *, packing: bool = True, **train: Any) -> Recipe:
    mixture = [{"path": str(material / name), "weight": w} for name, w in (("en", 3.0), ("de", 1.0))]
    settings = {"max_steps": STEPS, "learning_rate": 1e-2, "save_every": 3, "keep_last": 99, "eval_every": "end"}
    return Recipe.model_validate(
        {
            "name": "streamed",
            "base": {"model": str(material / "llama"), "dtype": "float32"},
            "data": {
                "train": mixture if source == "mixture" else str(material / source),
                "split": {"train": "train", "validation": None if source == "flawed" else "validation"},
                "streaming": True,
                "packing": packing,
                "eoi": "text",
                "max_length": 80,
                "overlong": "drop",
            },
            # dropout: its random numbers must go on too
            "method": {"r": 4, "alpha": 8, "dropout": 0.1},
            "train": {**settings, "global_batch_size": 4, "micro_batch_size": 2, **train},
            "output": {"runs": str(runs)},
        }
    )


@dataclass
class Run:
    """A run as the loss saw it; ``passes`` holds the outputs of each forward and backward pass, two to a step."""

    outcome: Outcome | None = None
    passes: list[list[str]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> list[str]:
        return [output for one in self.passes for output in one]

    @property
    def weights(self) -> bytes:
        assert self.outcome is not None
        assert self.outcome.result is not None
        return (self.outcome.result / WEIGHTS).read_bytes()


@pytest.fixture
def train(material: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    tokenizer, real = tiny_tokenizer(), loss.supervised_loss

    def run(chosen: Recipe, *, at_step: Any = None, resume: Path | None = None) -> Run:
        found = Run()

        def watched(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            if hidden.requires_grad:  # not in an evaluation
                text = tokenizer.decode(targets.tolist())
                assert text.endswith("</s>")
                found.passes.append(text.split("</s>")[:-1])
            return real(head, hidden, targets)

        def listen(event: object) -> None:
            if isinstance(event, Note):
                found.notes.append(event.text)
            elif isinstance(event, Step):
                found.steps.append(event)
                if at_step:
                    at_step(event.step)

        monkeypatch.setattr(loss, "supervised_loss", watched)
        inputs = prepare_inputs(chosen, material / "cache", listen)
        with contextlib.suppress(Killed):
            found.outcome = finetune(inputs, listen, RunFolder.open(resume) if resume else None)
        return found

    return run


class Killed(Exception):
    """Stands for a kill: nothing is saved, nothing is said."""


def only_run(runs: Path) -> Path:
    (folder,) = (path for path in (runs / "streamed").iterdir() if path.is_dir())
    return folder


# --- what is trained on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize("source", ["one", "mixture"])
def test_every_pass_trains_on_each_row_once_and_on_answers_alone(
    material: Path, tmp_path: Path, train: Any, source: str, packing: bool
) -> None:
    run = train(recipe(material, tmp_path, source, packing=packing))
    assert [step.step for step in run.steps] == list(range(1, STEPS + 1))
    assert run.outcome.steps == STEPS
    expected = {row["output"] for row in TRAIN}
    whole, rest = divmod(len(run.outputs), ROWS)
    assert whole >= 2
    for start in range(0, whole * ROWS, ROWS):
        assert set(run.outputs[start : start + ROWS]) == expected
    assert len(set(run.outputs[-rest:])) == rest
    if not packing:
        assert all(len(one) == 2 for one in run.passes)


def test_order_follows_seed_and_pass_and_nothing_else(material: Path, tmp_path: Path, train: Any) -> None:
    first, again, other = (train(recipe(material, tmp_path / f"{n}", seed=seed)) for n, seed in enumerate((1, 1, 2)))
    assert first.passes == again.passes
    assert first.weights == again.weights
    assert first.passes != other.passes
    assert first.outputs[:ROWS] != first.outputs[ROWS : 2 * ROWS]


def test_packed_sequences_of_a_stream_never_see_each_other(material: Path, tmp_path: Path, train: Any) -> None:
    run = train(recipe(material, tmp_path, max_steps=1).model_copy(update={"method": recipe_method(dropout=0.0)}))
    assert max(map(len, run.passes)) > 2, "else no row held two sequences"
    model, total, count = tiny_model("llama", len(tiny_tokenizer())), 0.0, 0
    encoder = Encoder(tiny_tokenizer(), PromptFormat("longform-eoi", eoi="text"), 80, "error")
    prompts = {row["output"]: row["input"] for row in TRAIN}
    for _, tokens in encoder.encode([example(prompts[output], output) for output in run.outputs]):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens.input_ids])).logits[0, :-1]
        labels = torch.tensor(tokens.labels[1:])
        total += float(cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum"))
        count += int((labels != IGNORE).sum())
    assert run.steps[0].loss == pytest.approx(total / count, rel=1e-5)


def recipe_method(**changes: Any) -> Any:
    from lft.recipe.schema import Method

    return Method(r=4, alpha=8.0, **changes)


# --- what is told --------------------------------------------------------------------------------------------------


def test_counts_of_every_pass_are_told_and_logged_with_all_that_was_left_out(
    material: Path, tmp_path: Path, train: Any
) -> None:
    run = train(recipe(material, tmp_path, "flawed"))
    told = [note for note in run.notes if note.startswith("train, pass")]
    amount = r"12 examples, \d+ tokens \(\d+% supervised\); 2 dropped as too long; 1 with an empty output left out"
    assert len(told) > 2
    for number, line in enumerate(told[:-1], 1):
        assert re.fullmatch(rf"train, pass {number}: {amount}", line)
    assert told[-1].startswith(f"train, pass {len(told)} as far as it was read: ")
    log = (run.outcome.folder / "log.txt").read_text()
    assert all(line in log for line in told)
    assert set(Counter(run.outputs)) == {row["output"] for row in TRAIN[:9]}


def test_a_bad_row_ends_the_run_with_its_file_and_line(material: Path, tmp_path: Path, train: Any) -> None:
    write(material / "broken" / "train.jsonl", [*TRAIN[:25], {"input": "no output"}])
    write(material / "broken" / "validation.jsonl", TRAIN[:1])
    with pytest.raises(InputError) as caught:
        train(recipe(material, tmp_path, "broken"))
    assert str(caught.value.where).endswith("train.jsonl:26")


class Dying:
    """Rows of a hub whose line goes dead after some of them."""

    def __iter__(self) -> Iterator[dict[str, str]]:
        yield from TRAIN * 4
        raise ConnectionError("no route to host")


def test_a_hub_that_is_lost_in_the_middle_of_a_run_is_one_message_with_the_last_checkpoint(
    material: Path, tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lft.data import hub, prepare

    monkeypatch.setattr(prepare, "SHARD", WINDOW)
    builder = SimpleNamespace(hash="c" * 40, as_streaming_dataset=lambda: {"train": Dying()})
    monkeypatch.setattr(hub, "_builder", lambda *_: builder)
    asked = recipe(material, tmp_path, "flawed", save_every=1)
    asked = asked.model_copy(update={"data": asked.data.model_copy(update={"train": "org/data"})})
    with pytest.raises(MachineError, match=r"the hub stopped answering after 120 rows of the stream") as caught:
        train(asked)
    step = newest_whole_checkpoint(only_run(tmp_path) / "checkpoints").step
    assert f"The last checkpoint is step {step}; go on with: lft finetune --resume" in str(caught.value)
    assert "data.streaming: false" in str(caught.value)


def test_a_stream_is_not_kept_and_its_validation_split_does_not_fetch_it(material: Path, tmp_path: Path) -> None:
    inputs = prepare_inputs(recipe(material, tmp_path), tmp_path / "cache", lambda _: None)
    assert inputs.validation is not None
    assert inputs.validation.prepared.counts.examples == HELD_OUT
    assert not (tmp_path / "cache" / "rows").exists()


def test_listeners_that_cannot_be_pickled_are_no_obstacle(material: Path, tmp_path: Path) -> None:
    def counting() -> Any:
        while True:
            yield

    listener = counting()
    next(listener)
    inputs = prepare_inputs(recipe(material, tmp_path, max_steps=1), material / "cache", listener.send)
    assert finetune(inputs, listener.send).steps == 1


# --- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "packing", "last"), [("one", True, 2), ("one", False, 10), ("mixture", True, 10), ("mixture", False, 2)]
)
def test_an_interrupted_streamed_run_goes_on_with_the_next_row_bit_for_bit(
    material: Path, tmp_path: Path, train: Any, source: str, packing: bool, last: int
) -> None:
    def interrupt(step: int) -> None:
        if step == last:
            signal.raise_signal(signal.SIGTERM)

    whole = train(recipe(material, tmp_path / "whole", source, packing=packing))
    chosen = recipe(material, tmp_path / "cut", source, packing=packing)
    cut = train(chosen, at_step=interrupt)
    assert cut.outcome.signal == signal.SIGTERM
    assert last <= cut.outcome.steps < STEPS
    resumed = train(chosen, resume=cut.outcome.folder)
    assert cut.passes + resumed.passes == whole.passes, "no row twice, none left out"
    assert resumed.weights == whole.weights


def test_a_killed_streamed_run_goes_on_from_its_checkpoint_bit_for_bit(
    material: Path, tmp_path: Path, train: Any
) -> None:
    def kill(step: int) -> None:
        if step == 11:
            raise Killed

    whole = train(recipe(material, tmp_path / "whole"))
    chosen = recipe(material, tmp_path / "cut")
    cut = train(chosen, at_step=kill)
    assert cut.outcome is None
    resumed = train(chosen, resume=only_run(tmp_path / "cut"))
    assert "going on from step 9" in resumed.notes
    assert cut.passes[: 2 * 9] + resumed.passes == whole.passes
    assert resumed.weights == whole.weights
    assert [note for note in resumed.notes if note.startswith("train, pass")] == [
        note for note in whole.notes if note.startswith("train, pass")
    ]


def test_a_stream_whose_files_changed_is_not_resumed(material: Path, tmp_path: Path, train: Any) -> None:
    write(material / "growing" / "train.jsonl", TRAIN)
    write(material / "growing" / "validation.jsonl", TRAIN[:2])
    run = train(recipe(material, tmp_path, "growing", max_steps=3))
    write(material / "growing" / "train.jsonl", TRAIN[1:])
    with pytest.raises(InputError, match=r"cannot go on bit for bit: .*data"):
        train(recipe(material, tmp_path, "growing", max_steps=3), resume=run.outcome.folder)
