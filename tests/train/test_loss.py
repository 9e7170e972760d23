"""The loss on supervised positions is the model's own loss, value and gradients, with less work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from lft.base.tokens import add_tokens, token_training
from lft.data.tokens import IGNORE
from lft.errors import MachineError
from lft.train import loss as loss_module
from lft.train.attention import isolate, packed_inputs
from lft.train.loss import attach_loss
from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer

VOCABULARY = 384


def batch(vocabulary: int = VOCABULARY) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(5, vocabulary, (length,), generator=generator).tolist() for length in (11, 25, 6)]
    inputs = packed_inputs(rows, "cpu")
    labels = inputs["input_ids"].clone()
    for start in (0, 11, 36):
        labels[0, start : start + 4] = IGNORE
    return {**inputs, "labels": labels}


def own_loss(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    logits = model(**{key: value for key, value in inputs.items() if key != "labels"}, use_cache=False).logits
    flat = logits[:, :-1].reshape(-1, logits.shape[-1]).float()
    return torch.nn.functional.cross_entropy(
        flat, inputs["labels"][:, 1:].reshape(-1), ignore_index=IGNORE, reduction="sum"
    )


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(model: Any, inputs: dict[str, Any]) -> None:
    ours, own = model(**inputs, supervised=True).loss, own_loss(model, inputs)
    assert float(ours) == pytest.approx(float(own), rel=1e-5)
    mine, theirs = gradients(model, ours), gradients(model, own)
    assert mine.keys() == theirs.keys()
    for name, wanted in theirs.items():
        assert torch.allclose(mine[name], wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()) + 1e-9), name


@pytest.mark.parametrize("chunk", [3, 256])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_all_gradients_are_the_models_own(family: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "CHUNK", chunk)
    model = tiny_model(family, VOCABULARY)
    isolate(model, VOCABULARY)
    attach_loss(model)
    assert_same(model, batch())


@pytest.mark.parametrize("tied", [True, False])
def test_the_row_of_an_added_token_gets_its_gradient(tied: bool) -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model("llama", len(tiny_tokenizer()), tie_word_embeddings=tied)
    added = add_tokens(tokenizer, model, ["[EOI]"])
    isolate(model, len(tokenizer))
    config = LoraConfig(
        target_modules="all-linear", trainable_token_indices=token_training(model, added), task_type="CAUSAL_LM"
    )
    tuned = get_peft_model(model, config)
    attach_loss(tuned.get_base_model())
    inputs = batch(len(tokenizer))
    inputs["input_ids"][0, 3] = added.ids[0]
    assert_same(tuned, inputs)
    rows = [p for name, p in tuned.named_parameters() if "trainable_tokens" in name]
    assert rows
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in rows)


@pytest.mark.parametrize(
    "config",
    [
        transformers.Gemma2Config(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, final_logit_softcapping=1.0,
        ),
        transformers.CohereConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, logit_scale=0.25,
        ),
        transformers.GraniteConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, logits_scaling=4.0,
        ),
    ],
    ids=lambda config: config.model_type,
)  # fmt: skip
def test_what_a_family_does_behind_its_head_is_part_of_the_loss(config: Any) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    isolate(model, VOCABULARY)
    attach_loss(model)
    assert_same(model, batch())


def test_an_unknown_step_behind_the_head_is_refused() -> None:
    model = tiny_model("llama", VOCABULARY)
    plain = model.forward

    def odd(*args: Any, **kwargs: Any) -> Any:
        out = plain(*args, **kwargs)
        out.logits = out.logits * 3
        return out

    model.forward = odd
    with pytest.raises(MachineError, match="would differ from the model's own"):
        attach_loss(model)


def test_prompt_positions_never_reach_the_head() -> None:
    model = tiny_model("llama", VOCABULARY)
    isolate(model, VOCABULARY)
    attach_loss(model)
    seen: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda module, args, out: seen.append(args[0].shape[0]))
    inputs = batch()
    model(**inputs, supervised=True)
    assert sum(seen) == int((inputs["labels"][:, 1:] != IGNORE).sum())


def test_a_batch_without_labels_has_loss_zero_and_no_failure() -> None:
    model = tiny_model("llama", VOCABULARY)
    isolate(model, VOCABULARY)
    attach_loss(model)
    inputs = batch()
    inputs["labels"] = torch.full_like(inputs["labels"], IGNORE)
    assert float(model(**inputs, supervised=True).loss) == 0.0
