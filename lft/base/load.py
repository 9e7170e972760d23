"""Load a resolved base model and its tokenizer: safetensors only, no network, no weight missing without an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lft.base.files import Notify
from lft.base.quantize import Quantization, require_quantized, settle
from lft.base.resolve import BaseRef
from lft.errors import InputError, MachineError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt",
)  # fmt: skip
# Encoder-decoders by model_type; others (BART, Pegasus, T5Gemma ...) lay out their sides and their start differently.
ENCODER_DECODERS = ("t5", "mt5")


def load_tokenizer(ref: BaseRef) -> PreTrainedTokenizerBase:
    """The base model's tokenizer. Raises InputError when it is missing or damaged."""
    from transformers import AutoTokenizer

    if not ref.trust_remote_code and not any((ref.folder / name).exists() for name in _TOKENIZER_FILES):
        raise InputError(
            f"no tokenizer beside the model: none of {', '.join(_TOKENIZER_FILES)}",
            where=_where(ref),
            fix="put the model's tokenizer files into the folder",
        )
    try:
        return AutoTokenizer.from_pretrained(ref.folder, local_files_only=True, trust_remote_code=ref.trust_remote_code)
    except Exception as error:  # tokenizers raises plain Exception for a damaged tokenizer.json
        raise InputError(
            f"the tokenizer cannot be loaded ({_reason(error)})",
            where=_where(ref),
            fix="fetch the model's tokenizer files again",
        ) from error


def ensure_pad(tokenizer: PreTrainedTokenizerBase) -> int:
    """An id to pad generation batches with that is not EOS; the tokenizer is left as it is.

    EOS as padding would be masked wherever padding is, and a model would never learn or be seen to stop. Padded
    positions are masked out by the attention mask, so any other id serves: the pad token, else the unknown token, else
    a special token nobody uses, else the lowest id. It is not written into the tokenizer: naming an ordinary token
    the pad token would make decoding drop it.
    """
    eos = tokenizer.eos_token_id
    reserved = [
        number
        for number, token in sorted(tokenizer.added_tokens_decoder.items())
        if any(part in token.content.lower() for part in ("pad", "reserved", "unused"))
    ]
    candidates = [tokenizer.pad_token_id, tokenizer.unk_token_id, *reserved, tokenizer.bos_token_id, 0, 1]
    return next(int(number) for number in candidates if number is not None and number != eos)


def load_config(ref: BaseRef) -> PretrainedConfig:
    """The base model's configuration. Raises InputError when it is damaged or of an unknown architecture."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(ref.folder, local_files_only=True, trust_remote_code=ref.trust_remote_code)
    except Exception as error:  # validation of a hostile or odd config may raise nearly anything
        kind = _model_type(ref)
        known = "does not recognize" not in str(error)
        what = f"config.json cannot be used ({_reason(error)})" if known else f"model_type {kind!r} is not known here"
        raise InputError(what, where=_where(ref), fix=_config_fix(ref, known)) from error


def is_encoder_decoder(ref: BaseRef) -> bool:
    """Whether the base reads with an encoder and writes with a decoder (T5, mT5), by its configuration alone."""
    return load_config(ref).model_type in ENCODER_DECODERS


def _model_type(ref: BaseRef) -> str:
    try:
        return str(json.loads((ref.folder / "config.json").read_bytes()).get("model_type") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _config_fix(ref: BaseRef, known: bool) -> str:
    if "auto_map" in (ref.folder / "config.json").read_text(encoding="utf-8", errors="replace"):
        return "the model brings its own code: set base.trust_remote_code and pin base.revision, or choose another base"
    return "correct or fetch config.json again" if known else "update transformers, or choose another base model"


def load_model(
    ref: BaseRef,
    dtype: torch.dtype,
    device: str,
    attention: str = "sdpa",
    notify: Notify | None = None,
    quantization: Quantization | None = None,
) -> PreTrainedModel:
    """The base model as a causal or encoder-decoder language model with every weight from the checkpoint.

    Args:
        ref: a resolved base.
        dtype: of the weights in memory.
        device: "cpu", "cuda" or "cuda:N"; weights go there directly, without a second copy in memory.
        attention: sdpa, eager or flash_attention_2.
        notify: called when the checkpoint holds weights that this model does not use.
        quantization: store the linear layers in 4 or 8 bit; ``dtype`` is then that of all the rest.

    Raises:
        InputError: another kind of model, float16 for an encoder-decoder, weights missing or of another shape, or no
            layer that could be quantized.
        MachineError: not enough memory, or a package that the attention needs is missing.
    """
    config = load_config(ref)
    if config.model_type in ENCODER_DECODERS:
        _require_no_float16(ref, dtype)
    else:
        _require_causal(ref, config)
    model, loading = _from_pretrained(ref, config, dtype, device, attention, quantization)
    _require_whole(ref, loading)
    if quantization is not None:
        require_quantized(model, quantization, _where(ref))
        settle(model)
    unused = sorted(loading["unexpected_keys"])
    if unused and notify:
        notify(f"{len(unused)} tensors of the checkpoint are not used by this model: {', '.join(unused[:3])}")
    return model


def _require_causal(ref: BaseRef, config: PretrainedConfig) -> None:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    brings_code = ref.trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    decoder = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not config.is_encoder_decoder  # BART's decoder alone
    if not decoder and not brings_code:
        raise InputError(
            f"model_type {config.model_type!r} is not a causal language model",
            where=ref.written,
            fix="choose a decoder-only base model (LLaMA, OPT, Mistral, Qwen, Gemma, GPT-2 ...), T5, mT5 or FLAN-T5",
        )


def _require_no_float16(ref: BaseRef, dtype: torch.dtype) -> None:
    import torch

    if dtype == torch.float16:
        raise InputError(
            "T5's activations overflow in float16, and the loss becomes NaN",
            where=ref.written,
            fix="set base.dtype: bfloat16 or float32",
        )


def _from_pretrained(
    ref: BaseRef,
    config: PretrainedConfig,
    dtype: torch.dtype,
    device: str,
    attention: str,
    quantization: Quantization | None,
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if config.model_type in ENCODER_DECODERS else AutoModelForCausalLM
    placed: dict[str, Any] = {} if device == "cpu" else {"device_map": {"": device}}
    if quantization is not None:
        placed["quantization_config"] = quantization.config()
    try:
        model, loading = kind.from_pretrained(
            ref.folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=ref.trust_remote_code,
            ignore_mismatched_sizes=True,  # they are reported, and then an error with names and shapes
            output_loading_info=True,
            **placed,
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MachineError(
            f"not enough memory on {device} for the weights",
            where=ref.written,
            fix="choose a smaller base, base.quantize, or a machine with more memory (`lft plan` says how much)",
        ) from error
    except ImportError as error:
        fix = "install it, or use sdpa attention"
        raise MachineError(f"a package is missing ({_reason(error)})", where=ref.written, fix=fix) from error
    except Exception as error:
        raise InputError(f"the model cannot be loaded ({_reason(error)})", where=str(ref.folder)) from error
    return model, loading


def _require_whole(ref: BaseRef, loading: Mapping[str, Any]) -> None:
    """Tied weights are not among the missing ones: the library fills them from their partner."""
    where, fix = _where(ref), "config.json and the weights do not belong together; fetch both again"
    mismatched = sorted(loading["mismatched_keys"])
    if mismatched:
        name, stored, wanted = mismatched[0]
        shapes = f"the checkpoint has {tuple(stored)}, config.json wants {tuple(wanted)}"
        raise InputError(
            f"{len(mismatched)} weights have another shape than config.json says, first {name}: {shapes}",
            where=where,
            fix=fix,
        )
    missing = sorted(loading["missing_keys"])
    if missing:
        names = ", ".join(missing[:3])
        raise InputError(f"{len(missing)} weights are not in the checkpoint, first {names}", where=where, fix=fix)


def _where(ref: BaseRef) -> str:
    return ref.written if ref.kind == "folder" else f"{ref.written} ({ref.folder})"


def _reason(error: BaseException) -> str:
    """A library's message on one line, cut where it begins to ramble."""
    text = " ".join(str(error).split())
    return (text[:197] + "..." if len(text) > 200 else text) or type(error).__name__
