"""The loss of an encoder-decoder is transformers' own, value and gradients, for each kind of head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lft.base.tokens import add_tokens, token_training
from lft.data.tokens import IGNORE
from lft.errors import MachineError
from lft.train import loss as loss_module
from lft.train.loss import attach_loss
from tests.tiny import PAIR_FAMILIES, tiny_pair_model, tiny_pair_tokenizer

VOCABULARY = 168


def batch(*, mark: int | None = None) -> dict[str, Any]:
    """Three examples of different lengths, padded as the collator pads them."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, VOCABULARY, (3, 9), generator=generator)
    labels = torch.randint(3, VOCABULARY, (3, 12), generator=generator)
    if mark is not None:
        ids[0, 2] = labels[0, 3] = labels[2, 1] = mark
    mask = torch.ones_like(ids)
    mask[1, 5:] = mask[2, 7:] = 0
    labels[0, 9:] = labels[1, 4:] = IGNORE
    shifted = torch.zeros_like(labels)
    shifted[:, 1:] = labels[:, :-1].clamp(min=0)
    return {"input_ids": ids * mask, "attention_mask": mask, "decoder_input_ids": shifted, "labels": labels}


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(model: Any, inputs: dict[str, Any]) -> None:
    own = {
        key: value for key, value in inputs.items() if key != "decoder_input_ids"
    }  # it makes its own from the labels
    count = int((inputs["labels"] != IGNORE).sum())
    theirs, ours = model(**own, use_cache=False).loss * count, model(**inputs, supervised=True).loss
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    mine, wanted = gradients(model, ours), gradients(model, theirs)
    assert mine.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert torch.allclose(mine[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()) + 1e-9), name


@pytest.mark.parametrize("chunk", [3, 256])
@pytest.mark.parametrize("family", PAIR_FAMILIES)
def test_loss_and_all_gradients_are_transformers_own(family: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "CHUNK", chunk)
    model = tiny_pair_model(family, VOCABULARY)
    attach_loss(model)
    assert_same(model, batch())


@pytest.mark.parametrize("family", PAIR_FAMILIES)
def test_the_row_of_an_added_newline_gets_its_gradient(family: str) -> None:
    tokenizer, model = tiny_pair_tokenizer(), tiny_pair_model(family, VOCABULARY)
    added = add_tokens(tokenizer, model, ["\n"])
    config = LoraConfig(
        target_modules="all-linear", trainable_token_indices=token_training(model, added), task_type="SEQ_2_SEQ_LM"
    )
    tuned = get_peft_model(model, config)
    attach_loss(tuned.get_base_model())
    assert_same(tuned, batch(mark=added.ids[0]))
    rows = {name: p for name, p in tuned.named_parameters() if "trainable_tokens" in name}
    assert len(rows) == 1  # one row for encoder, decoder and head
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in rows.values())


@pytest.mark.parametrize("family", PAIR_FAMILIES)
def test_gradient_checkpointing_changes_nothing(family: str) -> None:
    found = []
    for recompute in (False, True):
        model = tiny_pair_model(family, VOCABULARY).train()
        attach_loss(model)
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        loss = model(**batch(), supervised=True).loss
        found.append((loss.item(), gradients(model, loss)))
    assert found[0][0] == found[1][0]
    assert all(torch.allclose(found[0][1][name], gradient, atol=1e-6) for name, gradient in found[1][1].items())


def test_places_without_a_label_never_reach_the_head() -> None:
    model = tiny_pair_model("t5", VOCABULARY)
    attach_loss(model)
    seen: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda module, args, out: seen.append(args[0].shape[0]))
    model(**batch(), supervised=True)
    assert sum(seen) == int((batch()["labels"] != IGNORE).sum())


def test_without_supervised_it_is_the_forward_it_was() -> None:
    model, plain = tiny_pair_model("t5", VOCABULARY), tiny_pair_model("t5", VOCABULARY)
    attach_loss(model)
    assert torch.equal(model(**batch()).loss, plain(**batch()).loss)


def test_an_unknown_step_behind_the_head_is_refused() -> None:
    model = tiny_pair_model("t5", VOCABULARY)
    plain = model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        out = plain(*args, **kwargs)
        out.logits = out.logits * 3
        return out

    model.forward = scaled
    with pytest.raises(MachineError, match="would differ from the model's own"):
        attach_loss(model)
