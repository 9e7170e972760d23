"""What config.json says about the function that a model computes, so that two of them can be compared.

The text is kept whole where it is recorded, not as a digest: a copy that another version of the library wrote says more
(its defaults) or says it otherwise (``rope_theta`` became ``rope_parameters``), and is the same model all the same. Two
texts that differ are therefore read by the library at hand, both by the same one, and compared by what they come to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lft.base.files import read_json

# Where a model came from, how it is stored or run, its training, its generation; of the tie, the weights tell.
_IGNORED = frozenset(
    {
        "architectures", "attn_implementation", "auto_map", "bos_token_id", "dtype", "eos_token_id",
        "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "id2label",
        "initializer_factor", "initializer_range", "keys_to_ignore_at_inference", "label2id", "layerdrop",
        "output_attentions", "output_hidden_states", "output_past", "output_router_logits", "pad_token_id", "prefix",
        "pretraining_tp", "problem_type", "return_dict", "router_aux_loss_coef", "sep_token_id",
        "task_specific_params", "tie_word_embeddings", "tokenizer_class", "torch_dtype", "torchscript",
        "transformers_version", "use_cache",
    }
)  # fmt: skip
_IGNORED_ENDS = ("dropout", "_pdrop", "dropout_rate", "dropout_prob")


def configuration(folder: Path) -> str:
    """The part of config.json that changes what a model computes, as JSON with sorted keys.

    Raises:
        InputError: there is no readable config.json.
    """
    return canonical(_kept(read_json(folder / "config.json")))


def canonical(content: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def differences(one: str, other: str) -> tuple[str, ...]:
    """Keys in which two configurations differ once what they leave out is filled in; none means the same function."""
    if one == other:
        return ()
    first, second = (_interpreted(json.loads(text)) for text in (one, other))
    return tuple(key for key in sorted({*first, *second}) if first.get(key) != second.get(key))


def _kept(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {
        key: _kept(value)
        for key, value in content.items()
        if value is not None
        and key not in _IGNORED
        and not key.endswith(_IGNORED_ENDS)
        and (not key.startswith("_") or key == "_remove_final_layer_norm")  # OPT's; others are the library's own
    }


def _interpreted(content: dict[str, Any]) -> dict[str, Any]:
    """With the library's defaults and present names; as it stands where the library does not know the model."""
    from transformers import CONFIG_MAPPING

    try:
        said = CONFIG_MAPPING[content["model_type"]].from_dict(dict(content)).to_dict()
    except Exception:  # an unknown model, or values that its class refuses
        return content
    found: dict[str, Any] = _kept(json.loads(json.dumps(said, default=str)))
    return found
