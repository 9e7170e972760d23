"""[EOI] as one added token: in the tokenizer, in the model, and in the adapter that carries its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from lft.base.load import load_model, load_tokenizer
from lft.base.resolve import BaseRef
from lft.base.tokens import add_tokens, is_tied, token_training
from lft.errors import InputError
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer

EOI = "[EOI]"
# (family, configuration): tied and untied, OPT with its projected embedding, Gemma with its scaled one.
BASES = [
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"tie_word_embeddings": False}),
    ("opt", {}),
    ("gpt2", {}),
    ("gemma", {}),
    ("gpt_neox", {}),
    ("qwen3", {"tie_word_embeddings": True}),
]
NAMES = [f"{family}{'' if not kw else '-tied' if kw['tie_word_embeddings'] else '-untied'}" for family, kw in BASES]
each_base = pytest.mark.parametrize(("family", "kw"), BASES, ids=NAMES)


def ref_of(folder: Path) -> BaseRef:
    return BaseRef(str(folder), "folder", folder, None, False)


def loaded(folder: Path, dtype="float32"):
    import torch

    return load_tokenizer(ref_of(folder)), load_model(ref_of(folder), getattr(torch, dtype), "cpu")


def logits(model, ids):
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).logits


def test_the_marker_is_one_token_that_keeps_its_spaces_and_can_be_hidden(tmp_path):
    tokenizer, model = tiny_tokenizer(), tiny_model("llama", len(tiny_tokenizer()))
    added = add_tokens(tokenizer, model, [EOI])
    text = f"the red cat {EOI} a dog{EOI}\n"
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, load_tokenizer(ref_of(tmp_path))):
        ids = one(text).input_ids
        assert ids.count(added.ids[0]) == 2
        assert one.decode(ids) == text
        assert one.decode(ids, skip_special_tokens=True) == "the red cat  a dog\n"
    assert tiny_tokenizer()(" a dog").input_ids == tokenizer(" a dog").input_ids


@each_base
def test_old_logits_stay_and_tied_stays_tied_when_a_row_is_added(family, kw):
    import torch

    tokenizer = tiny_tokenizer()
    model = tiny_model(family, len(tokenizer), **kw)
    tied, ids = is_tied(model), tokenizer("the red cat sings over seven apples").input_ids
    before = logits(model, ids)
    added = add_tokens(tokenizer, model, [EOI])
    rows = added.rows_before
    assert added.resized
    assert (rows, added.rows_after, added.ids) == (len(tokenizer) - 1, len(tokenizer), (rows,))
    assert is_tied(model) == tied
    assert model.config.vocab_size == len(tokenizer)
    torch.testing.assert_close(logits(model, ids)[..., :rows], before, rtol=0, atol=0)


@each_base
def test_a_new_row_is_the_mean_of_the_old_ones_whatever_the_seed(family, kw):
    import torch

    found = []
    for seed in (1, 2):
        model = tiny_model(family, len(tiny_tokenizer()), **kw)
        torch.manual_seed(seed)
        after = torch.random.get_rng_state()
        added = add_tokens(tiny_tokenizer(), model, [EOI, "[MORE]"])
        assert torch.equal(torch.random.get_rng_state(), after)
        for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            mean = weight[: added.rows_before].mean(dim=0)
            torch.testing.assert_close(weight[added.rows_before :], mean.expand(2, -1), rtol=0, atol=1e-7)
        found.append(model.get_output_embeddings().weight.detach())
    assert torch.equal(*found)


def test_spare_rows_are_used_before_the_model_grows():
    import torch

    tokenizer = tiny_tokenizer()
    model = tiny_model("opt", len(tokenizer) + 7)
    before = model.get_input_embeddings().weight.detach().clone()
    added = add_tokens(tokenizer, model, [EOI])
    assert not added.resized
    assert added.rows_after == added.rows_before == len(before)
    assert added.ids == (len(tokenizer) - 1,)
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_a_token_that_is_there_already_keeps_its_id():
    tokenizer = tiny_tokenizer()
    model = tiny_model("llama", len(tokenizer))
    first = add_tokens(tokenizer, model, [EOI])
    again = add_tokens(tokenizer, model, [EOI, "<|user|>"])
    assert again.ids == (first.ids[0], 4)
    assert not again.resized


def test_a_grown_model_is_the_same_after_saving_and_loading(tmp_path):
    import torch

    for family, kw in BASES[:3]:
        tokenizer, model = loaded(save_tiny(tmp_path / f"{family}{kw}", family, **kw))
        added = add_tokens(tokenizer, model, [EOI])
        folder = tmp_path / f"{family}{kw}-grown"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        other_tokenizer, other = loaded(folder)
        ids = tokenizer(f"the red cat {EOI}").input_ids
        assert other_tokenizer(f"the red cat {EOI}").input_ids == ids
        assert ids[-1] == added.ids[0]
        assert is_tied(other) == is_tied(model)
        assert torch.equal(logits(other, ids), logits(model, ids))


def test_a_tokenizer_that_splits_the_marker_is_an_input_error(monkeypatch):
    tokenizer = tiny_tokenizer()
    monkeypatch.setattr(type(tokenizer), "add_tokens", lambda *a, **k: 0)
    with pytest.raises(InputError, match=r"\[EOI\]"):
        add_tokens(tokenizer, tiny_model("llama", len(tokenizer)), [EOI])


def trained_adapter(folder: Path, adapter: Path, dtype: str = "float32", rows_of=token_training):
    """Train two steps with the token's row, save the adapter; returns ids of a text with the token and its logits."""
    import torch
    from peft import LoraConfig, get_peft_model

    tokenizer, model = loaded(folder, dtype)
    indices = rows_of(model, add_tokens(tokenizer, model, [EOI]))
    rows = {name: model.get_submodule(name).weight[ids].detach().clone() for name, ids in indices.items()}
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", trainable_token_indices=indices)
    tuned = get_peft_model(model, config)
    ids = tokenizer(f"the red cat {EOI} a dog runs {EOI} x.").input_ids
    batch = torch.tensor([ids])
    optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], lr=0.3)
    for _ in range(2):
        tuned(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, row in rows.items():
        delta = tuned.base_model.model.get_submodule(name).token_adapter.trainable_tokens_delta["default"]
        assert not torch.equal(delta.to(row.dtype), row), f"the row of {name} was not trained"
    tuned.save_pretrained(adapter, save_embedding_layers=False)
    tokenizer.save_pretrained(adapter)
    return ids, logits(tuned, ids)


@each_base
@pytest.mark.parametrize("spare", [0, 7], ids=["grown", "spare-rows"])
def test_an_adapter_carries_the_trained_row_into_every_way_of_loading_it(family, kw, spare, tmp_path):
    import torch
    from peft import AutoPeftModelForCausalLM, PeftModel
    from safetensors import safe_open

    base, adapter = save_tiny(tmp_path / "base", family, extra_rows=spare, **kw), tmp_path / "adapter"
    ids, expected = trained_adapter(base, adapter)

    alone = AutoPeftModelForCausalLM.from_pretrained(adapter)
    torch.testing.assert_close(logits(alone, ids), expected, rtol=0, atol=1e-6)

    tokenizer, model = loaded(base)
    add_tokens(tokenizer, model, [EOI])
    ours = PeftModel.from_pretrained(model, adapter)
    torch.testing.assert_close(logits(ours, ids), expected, rtol=0, atol=1e-6)
    assert tokenizer(f"the red cat {EOI} a dog runs {EOI} x.").input_ids == ids

    merged = ours.merge_and_unload()
    assert is_tied(merged) == (family != "gpt_neox" and kw.get("tie_word_embeddings") is not False)
    torch.testing.assert_close(logits(merged, ids), expected, rtol=0, atol=1e-5)

    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        rows = [file.get_slice(key).get_shape()[0] for key in file.keys() if "token" in key]  # noqa: SIM118
    assert rows == [1] * (1 if is_tied(merged) else 2)


def test_the_row_of_a_bfloat16_base_is_carried_too(tmp_path):
    import torch
    from peft import AutoPeftModelForCausalLM

    base = save_tiny(tmp_path / "base", "llama")
    ids, expected = trained_adapter(base, tmp_path / "adapter", "bfloat16")
    again = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.bfloat16)
    assert torch.equal(logits(again, ids), expected)


def biased(spare: int):
    """A GPT-J-like model: an untied head with a bias."""
    import torch

    tokenizer = tiny_tokenizer()
    model = tiny_model("llama", len(tokenizer) + spare)
    model.lm_head.bias = torch.nn.Parameter(torch.arange(len(tokenizer) + spare, dtype=torch.float32))
    return tokenizer, model


def test_a_head_with_a_bias_cannot_carry_a_new_row_and_says_so():
    tokenizer, model = biased(0)
    added = add_tokens(tokenizer, model, [EOI])
    assert model.lm_head.bias[-1] == model.lm_head.bias[:-1].mean()
    with pytest.raises(InputError, match="bias") as caught:
        token_training(model, added)
    assert "data.eoi: text" in caught.value.fix


def test_a_head_with_a_bias_and_a_spare_row_trains_the_input_row_only():
    tokenizer, model = biased(7)
    assert list(token_training(model, add_tokens(tokenizer, model, [EOI]))) == ["model.embed_tokens"]


def test_a_model_that_contradicts_its_configuration_about_tying_is_an_input_error():
    tokenizer, model = tiny_tokenizer(), tiny_model("llama", len(tiny_tokenizer()))
    added = add_tokens(tokenizer, model, [EOI])
    model.config.tie_word_embeddings = True
    with pytest.raises(InputError, match="disagree"):
        token_training(model, added)


@pytest.mark.parametrize("head", [True, False], ids=["with-head", "ids-only"])
def test_naming_only_the_ids_would_lose_the_row_of_an_untied_head(tmp_path, head):
    """Why `token_training` names the head. When this fails for ids-only, PEFT has been mended."""
    import torch
    from peft import AutoPeftModelForCausalLM

    def rows_of(model, added):
        ids = list(added.ids)
        return {"model.embed_tokens": ids} | ({"lm_head": ids} if head else {})

    ids, expected = trained_adapter(save_tiny(tmp_path / "base", "llama"), tmp_path / "adapter", rows_of=rows_of)
    torch.manual_seed(7)
    again = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert torch.allclose(logits(again, ids), expected, rtol=0, atol=1e-6) is head
