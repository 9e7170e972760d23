"""Training an encoder-decoder: equal for any accumulation, exact on resume, and what is saved is what was trained."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file

from lft.base.binding import Binding
from lft.base.decode import Asking, Decoding, generate
from lft.base.device import Placement
from lft.base.load import load_model, load_tokenizer
from lft.base.resolve import resolve_base
from lft.base.tokens import add_tokens, extend_tokenizer, token_training
from lft.data.example import Turn
from lft.data.pairs import Pair
from lft.data.prepare import prepare
from lft.data.prompts import PromptFormat, prompt_text, recipe_format
from lft.data.tokens import IGNORE, Encoder
from lft.errors import InputError, MachineError
from lft.evaluate.answer import open_answerer
from lft.files import new_folder
from lft.plan import batch_plan
from lft.recipe.schema import Base, Recipe
from lft.train.adapter import save_adapter
from lft.train.arguments import Setting
from lft.train.batches import PackedRows, Segment, StreamedRows
from lft.train.events import Step
from lft.train.folder import RunFolder
from lft.train.full import load_full, save_full
from lft.train.ledger import Ledger
from lft.train.loss import attach_loss
from lft.train.methods import Tuned
from lft.train.order import BLANK
from lft.train.seq2seq import PairCollator, Seq2SeqTrainer, seq2seq_arguments
from lft.train.world import World
from tests.examples import ExampleList, example
from tests.tiny import PAIR_FAMILIES, save_tiny_pair, sentence, sentences, tiny_pair_model

FORM = PromptFormat("plain", encoder_decoder=True, newlines="token")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    for family in PAIR_FAMILIES:
        save_tiny_pair(folder / family, family)
    return folder


def paragraphs(rng: random.Random) -> str:
    return "\n".join(sentence(rng, rng.randint(2, 6)) for _ in range(rng.randint(1, 3)))


def examples(count: int = 16) -> ExampleList:
    rng = random.Random(7)
    return ExampleList([example(text, paragraphs(rng)) for text in sentences(count, seed=9, low=2, high=8)])


@dataclass
class Run:
    """A trainer with the model inside it, and what it told."""

    trainer: Seq2SeqTrainer
    model: Any
    tokenizer: Any
    steps: list[Step]

    def train(self, checkpoint: Path | None = None) -> Run:
        """Go on from a checkpoint as a run does: the weights first, all else by Trainer."""
        if checkpoint is not None and hasattr(self.model, "peft_config"):
            set_peft_model_state_dict(self.model, load_file(checkpoint / "adapter_model.safetensors"))
        elif checkpoint is not None:
            load_full(self.model, checkpoint)
        self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return self


def run(bases: Path, place: Path, family: str = "t5", *, lora: bool = True, rows: Any = None, **train: Any) -> Run:
    """As a run does it: load, add the newline, tune, attach the loss, train."""
    settings = {"epochs": 2, "learning_rate": 1e-2, "global_batch_size": 8, "save_every": 2, "keep_last": 9}
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "base": {"model": str(bases / family), "dtype": "float32"},
            "data": {"train": "unused", "prompt": "plain", "packing": False, "max_length": 64},
            "train": {**settings, **train},
        }
    )
    torch.manual_seed(recipe.train.seed)
    base = resolve_base(recipe.base, place / "cache", lambda _: None)
    tokenizer = load_tokenizer(base)
    model: Any = load_model(base, torch.float32, "cpu")
    form = recipe_format(recipe.data, tokenizer, encoder_decoder=True)
    assert form == FORM
    added = add_tokens(tokenizer, model, form.added_tokens)
    rows = rows or PackedRows(
        prepare(examples(), Encoder(tokenizer, form, 64, "error"), place / "cache", lambda _: None), None
    )
    if lora:
        config = LoraConfig(
            task_type="SEQ_2_SEQ_LM",
            r=4,
            target_modules="all-linear",
            trainable_token_indices=token_training(model, added),
        )
        model = get_peft_model(model, config)
    attach_loss(model.get_base_model() if lora else model)
    setting = Setting(
        plan=batch_plan(recipe),
        placement=Placement("cpu", torch.float32, "test"),
        checkpoints=place / "checkpoints",
        validated=not isinstance(rows, StreamedRows),
        optimizer="adamw_torch",
    )
    place.mkdir(parents=True, exist_ok=True)
    steps: list[Step] = []
    ledger = Ledger(
        folder=RunFolder(place),
        world=World(),
        report=lambda event: steps.append(event) if isinstance(event, Step) else None,
        save_model_to=lambda draft: _save(model, tokenizer, draft),
        keep_last=9,
        keep_best=False,
        shifted=False,
    )
    trainer = Seq2SeqTrainer(
        model=model,
        tokenizer=tokenizer,
        arguments=seq2seq_arguments(recipe, setting),
        rows=rows,
        validation=rows if isinstance(rows, PackedRows) else None,
        ledger=ledger,
    )
    return Run(trainer, model, tokenizer, steps)


def _save(model: Any, tokenizer: Any, draft: Path) -> None:
    binding = Binding(
        "base", None, "weights", "tokenizer", model.get_input_embeddings().weight.shape[0], "tiny", {}, "0"
    )
    if hasattr(model, "peft_config"):
        save_adapter(Tuned(model, (), 1, 1), tokenizer, binding, FORM, draft, checkpoint=True)
    else:
        save_full(model, model.state_dict(), tokenizer, binding, FORM, draft)


def answers(one: Run, prompts: list[str]) -> list[str]:
    texts = [prompt_text(FORM, (Turn("user", prompt),), one.tokenizer) for prompt in prompts]
    found = generate(
        one.model, one.tokenizer, texts, Decoding(max_new_tokens=48, greedy=True), Asking(restored=FORM.restored)
    )
    return [answer.text for answer in found]


def logits(model: Any) -> torch.Tensor:
    ids = torch.tensor([[5, 6, 113, 7, 1]])
    with torch.no_grad():
        return model.eval()(input_ids=ids, decoder_input_ids=ids).logits


# --- batches -------------------------------------------------------------------------------------------------------


def test_a_batch_is_padded_on_each_side_and_shifted_on_the_decoders() -> None:
    rows = [
        {"row": (Segment(Pair((5, 6, 1), (7, 8, 9, 1)), 3),)},
        {"row": (Segment(Pair((5, 1), (7, 1)), 4),)},
    ]
    batch = PairCollator(pad=0, start=0)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 1], [5, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["decoder_input_ids"].tolist() == [[0, 7, 8, 9], [0, 7, 1, 0]]
    assert batch["labels"].tolist() == [[7, 8, 9, 1], [7, 1, IGNORE, IGNORE]]
    assert batch["examples"] == (3, 4)


def test_the_decoders_side_is_what_the_model_makes_of_the_labels() -> None:
    model = tiny_pair_model("t5")
    batch = PairCollator.of(model)([{"row": (Segment(Pair((5, 1), (7, 8, 1)), 0),)}, {"row": BLANK}])
    assert torch.equal(batch["decoder_input_ids"], model.prepare_decoder_input_ids_from_labels(batch["labels"]))


def test_a_blank_row_adds_nothing() -> None:
    model = tiny_pair_model("t5")
    attach_loss(model)
    batch = PairCollator.of(model)([{"row": BLANK}])
    batch.pop("examples")
    assert float(model(**batch, supervised=True).loss) == 0.0


def test_a_model_without_a_start_for_its_decoder_is_refused() -> None:
    model = tiny_pair_model("t5")
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = None
    with pytest.raises(MachineError, match="decoder_start_token_id"):
        PairCollator.of(model)


# --- training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["t5", "t5-v1.1"])
def test_one_by_eight_equals_eight_by_one(bases: Path, tmp_path: Path, family: str) -> None:
    one = run(bases, tmp_path / "a", family, micro_batch_size=1).train()
    eight = run(bases, tmp_path / "b", family, micro_batch_size=8).train()
    assert len(one.steps) == len(eight.steps) == 4
    assert [s.loss for s in one.steps] == pytest.approx([s.loss for s in eight.steps], rel=1e-4)
    assert [s.grad_norm for s in one.steps] == pytest.approx([s.grad_norm for s in eight.steps], rel=1e-3)


def test_the_first_loss_is_transformers_own_mean_over_the_labels(bases: Path, tmp_path: Path) -> None:
    one = run(bases, tmp_path, micro_batch_size=2, epochs=1, log_every=1)
    order = list(one.trainer.order)[:8]
    dataset = one.trainer.train_dataset
    batch = one.trainer.data_collator([dataset[number] for number in order])
    batch.pop("examples")
    with torch.no_grad():
        wanted = one.model(**batch).loss.item()
    assert one.train().steps[0].loss == pytest.approx(wanted, rel=1e-5)


def test_the_validation_loss_is_a_mean_over_tokens(bases: Path, tmp_path: Path) -> None:
    small, large = (run(bases, tmp_path / str(n), micro_batch_size=n) for n in (1, 8))
    assert small.trainer.evaluate()["eval_loss"] == pytest.approx(large.trainer.evaluate()["eval_loss"], rel=1e-5)


WHOLE_SET = {"global_batch_size": 16, "micro_batch_size": 16, "save_every": "end", "eval_every": "end"}


def test_an_adapter_learns(bases: Path, tmp_path: Path) -> None:
    one = run(bases, tmp_path, "t5", epochs=25, learning_rate=3e-2, schedule="constant", **WHOLE_SET).train()
    assert one.steps[-1].loss < 0.5 * one.steps[0].loss


def test_a_small_set_is_learnt_by_heart_with_its_line_breaks(bases: Path, tmp_path: Path) -> None:
    settings = {"epochs": 80, "learning_rate": 6e-3, "schedule": "constant", **WHOLE_SET}
    one = run(bases, tmp_path, "t5-v1.1", lora=False, **settings).train()
    assert one.trainer.evaluate()["eval_loss"] < 0.1
    asked = examples().examples[:6]
    got = answers(one, [item.turns[0].content for item in asked])
    assert got == [item.output for item in asked]
    assert any("\n" in text for text in got)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("family", ["t5", "t5-v1.1"])
def test_going_on_from_a_checkpoint_is_bit_for_bit(bases: Path, tmp_path: Path, family: str, lora: bool) -> None:
    whole = run(bases, tmp_path, family, lora=lora, micro_batch_size=4).train()
    checkpoint = tmp_path / "checkpoints" / "step-2"
    assert (checkpoint / "manifest.json").is_file()
    resumed = run(bases, tmp_path / "again", family, lora=lora, micro_batch_size=4).train(checkpoint)
    assert [s.step for s in resumed.steps] == [3, 4]
    wanted, got = (dict(one.model.named_parameters()) for one in (whole, resumed))
    assert wanted.keys() == got.keys()
    assert [name for name in wanted if not torch.equal(wanted[name], got[name])] == []


@pytest.mark.parametrize("family", PAIR_FAMILIES)
def test_an_adapter_is_loaded_by_plain_peft_as_it_was_trained(bases: Path, tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForSeq2SeqLM

    one = run(bases, tmp_path, family, micro_batch_size=8).train()
    plain = AutoModelForSeq2SeqLM.from_pretrained(bases / family, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(plain, tmp_path / "checkpoints" / "step-4")
    assert torch.equal(logits(loaded), logits(one.model))
    merged = loaded.merge_and_unload()
    assert torch.allclose(logits(merged), logits(one.model), atol=1e-4)


@pytest.mark.parametrize("family", ["t5", "t5-v1.1"])
def test_a_fully_tuned_model_is_loaded_as_it_was_trained(bases: Path, tmp_path: Path, family: str) -> None:
    one = run(bases, tmp_path, family, lora=False, micro_batch_size=8).train()
    loaded = load_model(
        resolve_base(Base(model=str(tmp_path / "checkpoints" / "step-4")), tmp_path / "cache", lambda _: None),
        torch.float32,
        "cpu",
    )
    assert torch.equal(logits(loaded), logits(one.model))
    saved = json.loads((tmp_path / "checkpoints" / "step-4" / "config.json").read_text())
    assert saved["architectures"] == [type(one.model).__name__]


def test_a_stream_is_trained_on(bases: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve_base(Base(model=str(bases / "t5")), tmp_path, lambda _: None))
    extend_tokenizer(tokenizer, FORM.added_tokens)
    rows = StreamedRows(examples(), Encoder(tokenizer, FORM, 64, "error"), None, 42)
    one = run(bases, tmp_path, rows=rows, max_steps=3, micro_batch_size=4).train()
    assert len(one.steps) == 3


def test_answers_of_the_saved_adapter_are_those_of_the_trained_model(bases: Path, tmp_path: Path) -> None:
    from lft.base.fingerprint import fingerprint

    one = run(bases, tmp_path / "run", "t5-v1.1", epochs=20, learning_rate=2e-2, **WHOLE_SET).train()
    marks = fingerprint(bases / "t5-v1.1", tmp_path)
    rows = one.model.get_input_embeddings().weight.shape[0]
    binding = Binding(str(bases / "t5-v1.1"), None, marks.weights, marks.tokenizer, rows, "tiny", {}, "0")
    with new_folder(tmp_path / "adapter") as draft:
        save_adapter(Tuned(one.model, (), 1, 1), one.tokenizer, binding, FORM, draft)
    answerer = open_answerer(tmp_path / "adapter", tmp_path / "cache", lambda _: None)
    asked = [item.turns[0].content for item in examples().examples[:3]]
    talks = [(Turn("user", prompt),) for prompt in asked]
    decoding = Decoding(max_new_tokens=48, greedy=True)
    assert [answer.text for answer in answerer.reply(talks, decoding)] == answers(one, asked)
    told: list[str] = []
    (spoken,) = answerer.reply(talks[:1], decoding, told.append)
    assert "".join(told).strip() == spoken.text


def test_the_lora_lies_on_every_linear_layer_but_the_head(bases: Path, tmp_path: Path) -> None:
    one = run(bases, tmp_path, "t5-v1.1")
    kinds = {name.split(".lora_A")[0].split(".")[-1] for name, _ in one.model.named_parameters() if "lora_A" in name}
    assert kinds == {"q", "k", "v", "o", "wi_0", "wi_1", "wo"}


def test_float16_is_refused(bases: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="overflow in float16"):
        load_model(resolve_base(Base(model=str(bases / "t5")), tmp_path, lambda _: None), torch.float16, "cpu")


def test_bfloat16_trains(bases: Path, tmp_path: Path) -> None:
    base = resolve_base(Base(model=str(bases / "t5")), tmp_path, lambda _: None)
    model: Any = load_model(base, torch.bfloat16, "cpu")
    tokenizer = load_tokenizer(base)
    extend_tokenizer(tokenizer, ["\n"])
    attach_loss(model)
    batch = PairCollator.of(model)([{"row": (Segment(Pair((5, 6, 1), (7, 8, 1)), 0),)}])
    batch.pop("examples")
    loss = model(**batch, supervised=True).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert loss.dtype == torch.float32
