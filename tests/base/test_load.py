from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lft.base.load import ensure_pad, load_model, load_tokenizer
from lft.base.resolve import BaseRef
from lft.errors import InputError, MachineError
from tests.raw_safetensors import header_of, write_raw
from tests.tiny import FAMILIES, save_tiny, tiny_model, tiny_tokenizer


def ref_of(folder: Path) -> BaseRef:
    return BaseRef(str(folder), "folder", folder, None, False)


@pytest.fixture
def broken(llama, tmp_path):
    """A copy of the tiny llama to damage."""
    shutil.copytree(llama, tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path, **kw):
    import torch

    return load_model(ref_of(folder), torch.float32, "cpu", **kw)


def set_config(folder: Path, **keys: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def drop(folder: Path, name: str) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop(name)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_with_the_weights_that_were_saved(tmp_path, family):
    import torch

    loaded = load(save_tiny(tmp_path / family, family))
    source = tiny_model(family, len(tiny_tokenizer()))
    assert loaded.dtype == torch.float32
    assert not loaded.training
    stored = source.state_dict()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_the_dtype_asked_for_is_the_dtype_in_memory(llama):
    import torch

    model = load_model(ref_of(llama), torch.bfloat16, "cpu")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_tied_head_is_not_a_missing_weight(tmp_path):
    model = load(save_tiny(tmp_path, "llama", tie_word_embeddings=True))
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_a_missing_weight_is_an_error_not_a_random_matrix(broken):
    drop(broken, "model.layers.1.mlp.up_proj.weight")
    with pytest.raises(InputError, match=r"1 weights are not in the checkpoint, first model\.layers\.1\.mlp\.up_proj"):
        load(broken)


def test_a_weight_of_another_shape_is_named_with_both_shapes(broken):
    set_config(broken, intermediate_size=96)
    with pytest.raises(InputError, match=r"6 weights .*has \(32, 64\), config\.json wants \(32, 96\)"):
        load(broken)


def test_weights_that_the_model_does_not_use_are_counted_and_said(broken):
    said: list[str] = []
    set_config(broken, num_hidden_layers=1)
    load(broken, notify=said.append)
    assert len(said) == 1
    assert "9 tensors" in said[0]


def test_an_unknown_architecture_is_named(broken):
    set_config(broken, model_type="llamma")
    with pytest.raises(InputError, match="model_type 'llamma'"):
        load(broken)


def test_a_model_with_its_own_code_is_not_run(broken):
    set_config(broken, model_type="own", auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    (broken / "evil.py").write_text(f"open({str(broken / 'ran')!r}, 'w')")
    with pytest.raises(InputError) as caught:
        load(broken)
    assert "trust_remote_code" in caught.value.fix
    assert not (broken / "ran").exists()


@pytest.mark.parametrize("kind", ["vit", "bart", "t5gemma"])
def test_a_model_that_is_neither_decoder_nor_t5_is_refused(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(InputError, match=f"'{kind}' is not a causal"):
        load(tmp_path)


def test_a_configuration_that_makes_no_sense_is_an_input_error(broken):
    set_config(broken, hidden_size="wide")
    with pytest.raises(InputError):
        load(broken)


def test_pickled_weights_are_never_opened(broken):
    (broken / "model.safetensors").unlink()
    (broken / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(InputError):
        load(broken)


def test_weights_that_are_no_safetensors_are_an_input_error(broken):
    write_raw(broken / "model.safetensors", header_of([]) | {"x": 1}, b"")
    with pytest.raises(InputError):
        load(broken)


def test_attention_that_is_not_installed_is_an_error_with_a_way_out(llama):
    with pytest.raises((MachineError, InputError)) as caught:
        load(llama, attention="flash_attention_2")
    assert "flash" in str(caught.value).lower()


def test_a_tokenizer_survives_loading(llama):
    tokenizer = load_tokenizer(ref_of(llama))
    text = "the red cat é \n  sings"
    assert tokenizer(text).input_ids == tiny_tokenizer()(text).input_ids
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_a_missing_or_damaged_tokenizer_is_an_input_error(broken):
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="tokenizer"):
        load_tokenizer(ref_of(broken))
    (broken / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no tokenizer beside the model"):
        load_tokenizer(ref_of(broken))


def test_the_padding_id_is_never_eos():
    assert ensure_pad(tiny_tokenizer()) == 0
    assert ensure_pad(tiny_tokenizer(pad=None)) == 3  # unknown token
    same = tiny_tokenizer(pad="</s>")
    assert ensure_pad(same) not in (None, same.eos_token_id)


def test_the_padding_id_leaves_the_tokenizer_alone():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    # As GPT-2: one special token plays every part.
    backend = Tokenizer(models.WordLevel({"end": 0, "!": 1, "a": 2}, unk_token="end"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="end", bos_token="end", unk_token="end")
    assert ensure_pad(tokenizer) == 1
    assert tokenizer.pad_token is None
