"""Exports that others read: GGUF adapters, PEFT folders of stacks, server lines, Modelfiles."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from lft.adapters.adapter import open_adapter
from lft.adapters.deltas import Delta, Factors, read_delta
from lft.adapters.export import gguf_lora
from lft.adapters.export.gguf_lora import export_gguf_lora
from lft.adapters.export.gguf_model import export_gguf
from lft.adapters.export.gguf_names import permuted, unpermuted
from lft.adapters.export.ollama import Modelfile, Said, Template, base_line, go_rendered, template_of, write_modelfile
from lft.adapters.export.peft import compressed, export_peft
from lft.adapters.export.serving import VLLM_RANKS, sglang_line, vllm_line
from lft.adapters.stack import Stacked, stacked
from lft.base.gguf import converted
from lft.errors import InputError, RecipeError
from tests.adapters.test_export_merged import loaded, logits, saved_adapter, saved_base, with_adapter

Q = "model.layers.0.self_attn.q_proj.weight"


def exported(base: Path, delta: Delta, file: Path, **kw: Any) -> Any:
    return export_gguf_lora(base, delta, file, name="a/b", base_name="tiny/llama", **kw)


def test_a_gguf_adapter_holds_the_same_products_for_other_ranks_and_scales(tmp_path: Path) -> None:
    import gguf

    base = saved_base(tmp_path / "base")
    made = saved_adapter(base, tmp_path / "a", rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}, use_rslora=True)
    delta = read_delta(open_adapter(made))
    found = exported(base, delta, tmp_path / "a.gguf")
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    said = {name: field.contents() for name, field in reader.fields.items()}
    assert (said["general.type"], said["adapter.type"], said["general.architecture"]) == ("adapter", "lora", "llama")
    scale = said["adapter.lora.alpha"] / found.rank
    tensors = {tensor.name: torch.tensor(np.array(tensor.data)) for tensor in reader.tensors}
    assert len(tensors) == 2 * len(delta.factors)
    product = scale * tensors["blk.0.attn_v.weight.lora_b"] @ tensors["blk.0.attn_v.weight.lora_a"]
    pair = delta.factors[Q.replace("q_proj", "v_proj")]
    torch.testing.assert_close(product, pair.b @ pair.a)
    q, q_pair = tensors["blk.0.attn_q.weight.lora_b"], delta.factors[Q]
    assert not torch.equal(q[:, : q_pair.rank], q_pair.b)  # llama.cpp's own order of rows
    torch.testing.assert_close(unpermuted(q, 4) @ tensors["blk.0.attn_q.weight.lora_a"], q_pair.b @ q_pair.a)


def test_rows_lie_in_the_order_of_llama_cpp() -> None:
    """Row i of a head's first half is followed by row i of its second half (convert_hf_to_gguf.py, `permute`)."""
    rows = torch.arange(16.0)[:, None]
    assert permuted(rows, 2).flatten().tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]


@given(heads=st.integers(1, 6), half=st.integers(1, 5), columns=st.integers(1, 4))
def test_the_order_of_rows_is_undone_exactly(heads: int, half: int, columns: int) -> None:
    rows = torch.arange(float(heads * half * 2 * columns)).view(-1, columns)
    assert torch.equal(unpermuted(permuted(rows, heads), heads), rows)


def test_what_llama_cpp_would_leave_out_is_refused(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    made = saved_adapter(base, tmp_path / "a", trainable_token_indices={"embed_tokens": [7]})
    with pytest.raises(InputError, match=r"this one changes model.embed_tokens"):
        exported(base, read_delta(open_adapter(made)), tmp_path / "a.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def test_a_family_without_gguf_is_named(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "opt")
    delta = read_delta(open_adapter(saved_adapter(base, tmp_path / "a")))
    with pytest.raises(InputError, match="model_type opt"):
        exported(base, delta, tmp_path / "a.gguf")


def test_a_damaged_gguf_is_found_by_reading_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = saved_base(tmp_path / "base")
    delta = read_delta(open_adapter(saved_adapter(base, tmp_path / "a")))
    monkeypatch.setattr(gguf_lora, "permuted", lambda rows, _: rows)  # the mistake that gives an incoherent model
    with pytest.raises(InputError, match="are not the adapter"):
        exported(base, delta, tmp_path / "a.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def test_half_precision_is_within_its_rounding_and_never_infinite(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    delta = read_delta(open_adapter(saved_adapter(base, tmp_path / "a")))
    exported(base, delta, tmp_path / "a.gguf", dtype="F16")
    huge = Delta({Q: Factors(torch.full((32, 1), 1e6), torch.ones(1, 32))})
    with pytest.raises(InputError, match="not finite in F16"):
        exported(base, huge, tmp_path / "b.gguf", dtype="F16")
    with pytest.raises(RecipeError, match="F32 or F16"):
        exported(base, delta, tmp_path / "c.gguf", dtype="BF16")


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_a_model_written_as_gguf_is_read_by_transformers_as_the_same_model(
    tmp_path: Path, family: str, dtype: str
) -> None:
    base = saved_base(tmp_path / "base", family, dtype=dtype, hidden=64, vocab=300)
    made = export_gguf(base, tmp_path / "model.gguf", "tiny")
    back = converted(made.file, tmp_path / "cache", lambda _: None)
    torch.testing.assert_close(logits(loaded(back)), logits(loaded(base)), atol=1e-5, rtol=1e-5)
    text = "The old cat reads under the tree.\n  Two lines, 10 apples!"
    ours, theirs = (AutoTokenizer.from_pretrained(folder)(text)["input_ids"] for folder in (base, back))
    assert ours == theirs


def test_a_model_that_does_more_than_its_gguf_would_say_is_refused(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    scaling = {"rope_type": "llama3", "factor": 8.0, "rope_theta": 1e4}
    (base / "config.json").write_text(json.dumps({**config, "rope_parameters": scaling}))
    with pytest.raises(InputError, match="scales its positions"):
        export_gguf(base, tmp_path / "model.gguf", "tiny")
    with pytest.raises(InputError, match="model_type opt"):
        export_gguf(saved_base(tmp_path / "opt", "opt"), tmp_path / "model.gguf", "tiny")
    assert not list(tmp_path.glob("*.gguf"))


def test_a_way_of_splitting_that_has_no_name_is_refused(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    file = base / "tokenizer.json"
    said = json.loads(file.read_text())
    said["pre_tokenizer"]["add_prefix_space"] = True
    file.write_text(json.dumps(said))
    with pytest.raises(InputError, match="way of splitting text is not known here"):
        export_gguf(base, tmp_path / "model.gguf", "tiny")


def stack_of(*folders: Path) -> Stacked:
    adapters = tuple(open_adapter(folder) for folder in folders)
    return Stacked(adapters, stacked([read_delta(one) for one in adapters]))


def test_a_stack_as_one_adapter_answers_as_the_stack(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    low = saved_adapter(base, tmp_path / "low", seed=1, r=2, target_modules=["q_proj", "up_proj"])
    top = saved_adapter(base, tmp_path / "top", seed=2, use_rslora=True)
    export_peft(stack_of(low, top), tmp_path / "out")
    one = with_adapter(base, low)
    one.load_adapter(str(top), "top")
    one.base_model.set_adapter(["default", "top"])
    torch.testing.assert_close(logits(with_adapter(base, tmp_path / "out")), logits(one), atol=2e-5, rtol=1e-5)
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["use_rslora"] is False


def test_of_rows_the_upper_adapter_has_the_last_word(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    low = saved_adapter(base, tmp_path / "low", seed=1, trainable_token_indices={"embed_tokens": [7, 9]})
    top = saved_adapter(base, tmp_path / "top", seed=2, trainable_token_indices={"embed_tokens": [9, 11]})
    both = stack_of(low, top).delta.rows["model.embed_tokens.weight"]
    below, above = (read_delta(open_adapter(f)).rows["model.embed_tokens.weight"].values for f in (low, top))
    assert both.tokens == (7, 9, 11)
    assert torch.equal(both.values, torch.stack([below[0], above[0], above[1]]))
    with pytest.raises(InputError, match=r"cannot have the weight 0.5"):
        stacked([read_delta(open_adapter(low))], [0.5])


def test_compressing_to_a_rank_tells_what_it_leaves_out(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    delta = stack_of(*(saved_adapter(base, tmp_path / f"{n}", seed=n) for n in (1, 2))).delta
    cut, errors = compressed(delta, 4)
    assert {pair.rank for pair in cut.factors.values()} == {4}
    exact, found = (pairs.factors[Q].b @ pairs.factors[Q].a for pairs in (delta, cut))
    assert errors[Q] == pytest.approx(float((exact - found).norm() / exact.norm()), rel=1e-4)
    assert compressed(delta, 8)[1] == {}


def test_server_lines_name_a_rank_that_the_server_takes(tmp_path: Path) -> None:
    delta = Delta({Q: Factors(torch.ones(4, 20), torch.ones(20, 4))})
    words = shlex.split(vllm_line("de", tmp_path, "user/base", delta))
    assert int(words[words.index("--max-lora-rank") + 1]) == 32
    module = json.loads(words[words.index("--lora-modules") + 1])
    assert module == {"name": "de", "path": str(tmp_path), "base_model_name": "user/base"}
    assert "--max-lora-rank 20" in sglang_line("de", tmp_path, "user/base", delta)
    too_high = Delta({Q: Factors(torch.ones(4, VLLM_RANKS[-1] + 1), torch.ones(VLLM_RANKS[-1] + 1, 4))})
    with pytest.raises(InputError, match="takes 512 at most"):
        vllm_line("de", tmp_path, "user/base", too_high)
    with pytest.raises(InputError, match=r"also changes lm_head.weight"):
        vllm_line("de", tmp_path, "b", Delta(delta.factors, whole={"lm_head.weight": torch.ones(2, 2)}))


def chatml(chat: Sequence[Said], ask: bool) -> str:
    text = "".join(f"<|im_start|>{said.role}\n{said.content}<|im_end|>\n" for said in chat)
    return text + ("<|im_start|>assistant\n" if ask else "")


def without_system(chat: Sequence[Said], ask: bool) -> str:
    if any(said.role == "system" for said in chat):
        raise ValueError("no system turns")
    return "<s>" + "".join(f"[{said.role}]{said.content}" for said in chat) + ("[assistant]" if ask else "")


def longform(chat: Sequence[Said], ask: bool) -> str:
    if not ask or len(chat) != 1:
        raise ValueError("one prompt")
    return f"{chat[0].content} [EOI]"


def counting(chat: Sequence[Said], ask: bool) -> str:
    return f"{len(chat)}:" + "|".join(said.content for said in chat) + ("?" if ask else "")


@pytest.mark.parametrize(
    ("render", "bos", "chats"), [(chatml, None, True), (without_system, "<s>", True), (longform, None, False)]
)
def test_the_go_template_renders_as_training_did(tmp_path: Path, render: Any, bos: str | None, chats: bool) -> None:
    template = template_of(render, bos, tmp_path)
    assert template.chats is chats
    asked = [Said("user", "Wie geht\u2019s?")]
    assert go_rendered(template, asked) == render(asked, True).removeprefix(bos or "")


def test_a_template_that_no_fixed_parts_can_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does more than"):
        template_of(lambda chat, ask: counting([*chat, *chat], ask), None, tmp_path)


def test_a_modelfile_says_what_ollama_needs_and_points_to_what_is_there(tmp_path: Path) -> None:
    written = Modelfile("./model", "./adapter.gguf", Template("{{ .Prompt }} [EOI]", False), ("</s>",), 2048, 0.9, None)
    with pytest.raises(InputError, match="not there"):
        write_modelfile(tmp_path, written)
    (tmp_path / "model").mkdir()
    (tmp_path / "adapter.gguf").touch()
    assert write_modelfile(tmp_path, written).read_text().splitlines() == [
        "FROM ./model",
        "ADAPTER ./adapter.gguf",
        'TEMPLATE """{{ .Prompt }} [EOI]"""',
        'PARAMETER stop "</s>"',
        "PARAMETER num_ctx 2048",
        "PARAMETER top_p 0.9",
    ]


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_families_whose_projections_llama_cpp_sorts_in_its_own_way_are_refused(tmp_path: Path, family: str) -> None:
    base = saved_base(tmp_path / "base", family)
    delta = read_delta(open_adapter(saved_adapter(base, tmp_path / "a")))
    with pytest.raises(InputError, match=f"model_type {family}"):
        exported(base, delta, tmp_path / "a.gguf")


@pytest.mark.parametrize("bias", ["lora_only", "all"])
def test_trained_biases_come_back_in_a_peft_folder(tmp_path: Path, bias: str) -> None:
    base = saved_base(tmp_path / "base", "qwen2")
    made = saved_adapter(base, tmp_path / "a", bias=bias)
    export_peft(stack_of(made), tmp_path / "out")
    torch.testing.assert_close(logits(with_adapter(base, tmp_path / "out")), logits(with_adapter(base, made)))


def test_a_base_for_ollama_is_found_from_where_the_modelfile_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = saved_base(tmp_path / "base", hidden=64)
    (tmp_path / "models").mkdir()
    export_gguf(base, tmp_path / "models/base.gguf", "tiny")
    monkeypatch.chdir(tmp_path / "models")
    line = base_line("base.gguf", tmp_path / "deep/er/out", "llama")
    assert line == "../../../models/base.gguf"
    assert base_line("base.gguf", tmp_path, "llama") == "./models/base.gguf"
    (tmp_path / "deep/er/out").mkdir(parents=True)
    written = Modelfile(line, None, Template("{{ .Prompt }}", False), (), 2048, 0.9, None)
    assert (write_modelfile(tmp_path / "deep/er/out", written).parent / line).is_file()
    with pytest.raises(InputError, match="a llama, the adapter belongs to a qwen2"):
        base_line("base.gguf", tmp_path, "qwen2")


@pytest.mark.parametrize("name", ["llama3.2", "llama3.2:3b", "user/model:tag", "hf.co/user/model-GGUF:Q4_K_M"])
def test_a_name_that_ollama_knows_stays_as_it_was_written(tmp_path: Path, name: str) -> None:
    assert base_line(name, tmp_path, "llama") == name


@pytest.mark.parametrize("wrong", ["none.gguf", "./none", "a b", "folder", "text.gguf", ""])
def test_a_base_that_ollama_would_not_find_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(InputError):
        base_line(wrong, tmp_path / "out", "llama")
