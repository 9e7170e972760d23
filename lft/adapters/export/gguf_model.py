"""A model folder as one GGUF file, for llama.cpp and what is built on it; tensor by tensor, read back bit for bit.

Matrices keep their precision, vectors are float32 (as llama.cpp's own converter writes them). What this writer does not
know to the letter (position scaling, other families, SentencePiece vocabularies) it refuses, and names llama.cpp's
converter instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from lft.adapters.export.gguf_names import Architecture, architecture, permuted, unpermuted
from lft.adapters.export.gguf_tokens import Vocabulary, vocabulary
from lft.adapters.export.stream import DTYPES, base_matrix
from lft.base.diff_files import require_new
from lft.base.files import need_room, read_json
from lft.base.headers import TensorInfo, read_headers
from lft.errors import InputError
from lft.files import new_file

_FAMILIES: Final = ("llama", "qwen2", "qwen3")  # by llama.cpp's names
_SLACK: Final = 64 * 1024 * 1024
_ELSEWHERE: Final = "write --to merged, and convert it with llama.cpp's convert_hf_to_gguf.py"


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A written model."""

    file: Path
    architecture: str
    tensors: int
    size: int


def export_gguf(model: Path, file: Path, name: str) -> GgufModel:
    """Write a model folder as GGUF and read it back.

    Args:
        model: config.json, safetensors, byte-level BPE tokenizer.
        file: a new file.
        name: the model's name, for people.

    Raises:
        InputError: a family, a setting or a tokenizer that this writer does not know; or the file is wrong.
        RecipeError: the file exists.
        MachineError: no room on the disk.
    """
    require_new(file)
    plan, config = architecture(model), read_json(model / "config.json")
    tensors = {plan.tensor(info.name, model): info for info in read_headers(model)}
    values = settings(plan, config, model)
    need_room(file.parent, sum(info.end - info.start for info in tensors.values()) + _SLACK, "the GGUF")
    rows = next(info.shape[0] for there, info in tensors.items() if there == "token_embd.weight")
    with new_file(file) as draft:
        _write(draft, plan, values, vocabulary(model, rows), tensors, name)
        _read_back(draft, plan, tensors)
    return GgufModel(file, plan.name, len(tensors), file.stat().st_size)


def settings(plan: Architecture, config: Mapping[str, Any], where: Path) -> dict[str, int | float]:
    """llama.cpp's hyper-parameters by their keys, without the architecture in front.

    Raises:
        InputError: the model does something that these keys do not say.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scaled = rope.get("rope_type", rope.get("type", "default")) != "default"
    windowed = bool(config.get("use_sliding_window", config.get("sliding_window") and plan.name == "llama"))
    odd = next(
        (what for what, is_so in (("scales its positions", scaled), ("attends in a window", windowed)) if is_so), ""
    )
    if odd or plan.name not in _FAMILIES:
        what = f"the model {odd}" if odd else f"of architecture {plan.name}"
        raise InputError(f"no GGUF is written for it here: {what}", where=str(where), fix=_ELSEWHERE)
    width = int(config.get("head_dim") or config["hidden_size"] // plan.heads)
    return {
        "context_length": int(config["max_position_embeddings"]),
        "embedding_length": int(config["hidden_size"]),
        "block_count": plan.layers,
        "feed_forward_length": int(config["intermediate_size"]),
        "attention.head_count": plan.heads,
        "attention.head_count_kv": plan.kv_heads,
        "attention.key_length": width,
        "attention.value_length": width,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        "rope.dimension_count": width,
    }


def _write(
    file: Path,
    plan: Architecture,
    values: Mapping[str, int | float],
    tokens: Vocabulary,
    tensors: Mapping[str, TensorInfo],
    name: str,
) -> None:
    import gguf

    writer = gguf.GGUFWriter(file, plan.name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    for key, value in values.items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(f"{plan.name}.{key}", value)
    _add_tokens(writer, tokens)
    for there, info in tensors.items():
        kind, width = _stored(info)
        size = width
        for length in info.shape:
            size *= length
        writer.add_tensor_info(there, info.shape, _numpy(info), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for info in tensors.values():
        writer.write_tensor_data(_numbers(info, plan))
    writer.close()


def _add_tokens(writer: Any, tokens: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokens.pre)
    writer.add_token_list(tokens.tokens)
    writer.add_token_types(tokens.kinds)
    writer.add_token_merges(tokens.merges)
    for part, number in tokens.special.items():
        writer.add_uint32(
            f"tokenizer.ggml.{'unknown' if part == 'unk' else 'padding' if part == 'pad' else part}_token_id", number
        )
    writer.add_add_bos_token(tokens.adds_bos)
    if tokens.chat_template is not None:
        writer.add_chat_template(tokens.chat_template)


def _stored(info: TensorInfo) -> tuple[Any, int]:
    """GGUF's type of a tensor and bytes of a value."""
    import gguf

    kinds = gguf.GGMLQuantizationType
    if len(info.shape) < 2:
        return kinds.F32, 4
    return {"F32": (kinds.F32, 4), "F16": (kinds.F16, 2), "BF16": (kinds.BF16, 2)}[info.dtype]


def _numpy(info: TensorInfo) -> Any:
    import numpy as np

    return np.dtype(np.float16 if _stored(info)[1] == 2 else np.float32)


def _numbers(info: TensorInfo, plan: Architecture) -> Any:
    """A tensor's bytes as GGUF has them: one tensor in memory."""
    tensor = permuted(base_matrix(info), plan.heads_of(info.name)).contiguous()
    if len(info.shape) < 2:
        return tensor.float().flatten().numpy()
    return tensor.view(torch.int16 if tensor.element_size() == 2 else torch.int32).numpy()


def _read_back(file: Path, plan: Architecture, tensors: Mapping[str, TensorInfo]) -> None:
    import gguf

    found = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    if found.keys() != tensors.keys():
        raise _wrong(file, f"it holds other tensors than the model: {sorted(found.keys() ^ tensors.keys())[0]}")
    for there, info in tensors.items():
        dtype = DTYPES[info.dtype] if len(info.shape) > 1 else torch.float32
        shape = (info.shape[0], -1) if info.shape else (1, 1)
        raw = torch.frombuffer(bytearray(found[there].data.tobytes()), dtype=dtype).view(shape)
        if not torch.equal(unpermuted(raw, plan.heads_of(info.name)).to(DTYPES[info.dtype]), base_matrix(info)):
            raise _wrong(file, f"{there} is not the model's {info.name}")


def _wrong(file: Path, what: str) -> InputError:
    return InputError(f"{what}: the export was read back and is wrong", where=str(file), fix="check the disk")
