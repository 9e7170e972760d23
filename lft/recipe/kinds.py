"""Every ``method.kind`` but full fine-tuning, in one table: which PEFT method it is, and what lft knows about it.

PEFT's own options stand in ``peft_options.json``; here stands what PEFT does not say: which of them are the recipe's
``r``, ``alpha`` and ``dropout``, what a method cannot do, and which methods cannot be trained to something that loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

_NOTHING: Final[Mapping[str, str | bool]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kind:
    """How one ``method.kind`` is made with PEFT.

    ``peft`` is PEFT's name for the method and ``fixed`` the options that make it this kind. ``rank``, ``alpha`` and
    ``dropout`` are PEFT's names for those keys of the recipe, None where the method has no such thing. ``targets`` says
    what ``method.target_modules`` means: linear layers; layers that the method chooses itself unless they are named
    (linear or norm); or nothing. ``required`` options have no default that works, ``refused_options`` cannot be kept.
    ``packs``: sequences may share a row. ``quantized``: PEFT has it for bitsandbytes' layers (others would take packed
    4-bit bytes for weights). ``stacks``: it can be trained on top of other adapters. ``refused``: why not at all.
    """

    peft: str
    fixed: Mapping[str, str | bool] = field(default_factory=lambda: _NOTHING)
    rank: str | None = None
    alpha: str | None = None
    dropout: str | None = None
    targets: Literal["linear", "own-linear", "own-norm", "none"] = "linear"
    required: tuple[str, ...] = ()
    refused_options: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  # type: ignore[arg-type,return-value]
    packs: bool = True
    quantized: bool = False
    stacks: bool = False
    refused: str | None = None

    @property
    def start(self) -> str:
        """How LoRA's matrices begin: PEFT's word, empty for the usual start."""
        value = self.fixed.get("init_lora_weights", "")
        return value if isinstance(value, str) else ""


def _start(word: str, quantized: bool = False) -> Kind:
    return replace(_LORA, fixed={"init_lora_weights": word}, stacks=False, quantized=quantized)


def _virtual(peft: str, **also: str) -> Kind:
    """Prompt learning: virtual tokens in front of a sequence, so a row can hold only one."""
    refused = {"modules_to_save": "virtual tokens are all that is trained", **also}
    return Kind(
        peft, targets="none", packs=False, quantized=True, required=("num_virtual_tokens",), refused_options=refused
    )


def _no(peft: str, why: str) -> Kind:
    return Kind(peft, refused=why)


_LORA: Final = Kind("lora", rank="r", alpha="lora_alpha", dropout="lora_dropout", quantized=True, stacks=True)
_TASK_IDS: Final = "it needs a task number with each example, which instruction data does not have"
_TOKENIZER: Final = "lft takes the base's tokenizer"
_SVD_BASIS: Final = (
    "what it saves is only right in a basis that PEFT computes anew when loading, and another machine's SVD may choose "
    "other signs (measured: logits change)"
)

KINDS: Final[Mapping[str, Kind]] = {
    "lora": _LORA,
    "lora+": _LORA,
    "rslora": replace(_LORA, fixed={"use_rslora": True}),
    # Its magnitudes are those of the base alone, so a stack would not be what its parts are.
    "dora": replace(_LORA, fixed={"use_dora": True}, stacks=False),
    "pissa": _start("pissa"),
    "olora": _start("olora"),
    "corda": _start("corda"),
    "loftq": _start("loftq", quantized=True),
    "eva": _start("eva", quantized=True),
    "adalora": Kind(
        "adalora",
        rank="init_r",
        alpha="lora_alpha",
        dropout="lora_dropout",
        refused_options={"r": "adalora does not use it; its first rank is method.r"},
        quantized=True,
    ),
    "adamss": Kind("adamss", rank="r", refused_options={"use_asa": "its allocation callback is not part of lft"}),
    "adaption_prompt": Kind("adaption_prompt", targets="none", required=("adapter_len", "adapter_layers")),
    "beft": Kind("beft"),
    "boft": Kind("boft", dropout="boft_dropout"),
    "c3a": Kind("c3a"),
    "cartridge": _virtual("cartridge"),
    "cpt": _no("cpt", "it needs a type for each token of each example, which instruction data does not have"),
    "deft": Kind("deft", rank="r", alpha="alpha", dropout="deft_dropout"),
    "delora": Kind("delora", rank="r"),
    "fourierft": Kind("fourierft"),
    "frod": _no("frod", _SVD_BASIS),
    "glora": Kind("glora", rank="r"),
    "gralora": Kind("gralora", rank="r", alpha="alpha", dropout="gralora_dropout"),
    "hira": Kind("hira", rank="r", dropout="hira_dropout", quantized=True),
    "hra": Kind("hra", rank="r"),
    "ia3": Kind("ia3", targets="own-linear", quantized=True),
    "lily": Kind("lily", rank="r"),
    "ln_tuning": Kind("ln_tuning", targets="own-norm", quantized=True),
    "loha": Kind("loha", rank="r", alpha="alpha"),
    "lokr": Kind("lokr", rank="r", alpha="alpha"),
    "miss": Kind("miss", rank="r", dropout="miss_dropout"),
    "multitask_prompt_tuning": _no("multitask_prompt_tuning", _TASK_IDS),
    "oft": Kind("oft"),  # its r is a number of blocks: the larger, the less is trained
    "osf": Kind("osf"),
    "p_tuning": _virtual("p_tuning"),
    "peanut": Kind("peanut", rank="r"),
    "poly": _no("poly", _TASK_IDS),
    "prefix_tuning": _virtual("prefix_tuning"),
    "prompt_tuning": _virtual("prompt_tuning", tokenizer_name_or_path=_TOKENIZER, tokenizer_kwargs=_TOKENIZER),
    "psoft": _no("psoft", _SVD_BASIS),
    "pvera": Kind("pvera", rank="r", dropout="pvera_dropout", quantized=True),
    "randlora": Kind("randlora", rank="r", alpha="randlora_alpha", dropout="randlora_dropout", quantized=True),
    "road": Kind("road", quantized=True),
    "shadow": _no("shadow", "it trains a second model with a loss of its own behind the head"),
    "shira": Kind("shira", rank="r"),
    "supertuning": Kind("supertuning"),  # its r adds a LoRA to it
    "tinylora": Kind("tinylora", rank="r", dropout="tinylora_dropout"),
    "trainable_tokens": Kind("trainable_tokens", targets="none", quantized=True),
    "unilora": Kind("unilora", rank="r", dropout="unilora_dropout"),
    "vblora": Kind("vblora", rank="r", dropout="vblora_dropout"),
    "vera": Kind("vera", rank="r", dropout="vera_dropout"),
    "waveft": Kind("waveft"),
    "xlora": _no("xlora", "it mixes adapters that are trained already; train them one by one"),
}

# Starts that change the base's weights: W becomes W - s·B·A, and what is saved must be turned back.
CHANGES_BASE: Final = ("pissa", "olora", "corda")
# Starts that look at training rows.
CALIBRATED: Final = ("eva", "corda")

_TARGETS: Final = "say it with method.target_modules, as a list or a regular expression"
_BASE: Final = "it follows from the base model"
_INPUTS: Final = "it needs inputs or callbacks of its own that a recipe cannot give"

# Options that a recipe may not set, and what to write instead.
NOT_OPTIONS: Final[Mapping[str, str]] = {
    "peft_type": "write method.kind",
    "task_type": _BASE,
    "base_model_name_or_path": "write base.model",
    "revision": "write base.revision",
    "inference_mode": "lft sets it",
    "auto_mapping": "lft sets it",
    "peft_version": "lft sets it",
    "target_modules": "write method.target_modules",
    "exclude_modules": _TARGETS,
    "layers_to_transform": _TARGETS,
    "layers_pattern": _TARGETS,
    "target_parameters": "lft puts adapters on modules",
    "fan_in_fan_out": _BASE,
    "token_dim": _BASE,
    "num_transformer_submodules": _BASE,
    "num_attention_heads": _BASE,
    "num_layers": _BASE,
    "layer_replication": "it builds another base model",
    "trainable_token_indices": "the rows of added tokens follow from data.prompt and data.eoi",
    "total_step": "lft sets it to the steps of the run",
    "use_dora": "write method.kind: dora",
    "loftq_config": "write method.kind: loftq with base.quantize",
    "lora_ga_config": _INPUTS,
    "velora_config": _INPUTS,
    "monteclora_config": _INPUTS,
    "kasa_config": _INPUTS,
    "arrow_config": _INPUTS,
    "use_bdlora": _INPUTS,
    "alora_invocation_tokens": "its positions are lost where sequences share a row",
    "use_qalora": "it is for GPTQ layers",
    "qalora_group_size": "it is for GPTQ layers",
    "megatron_config": "lft does not train with Megatron",
    "megatron_core": "lft does not train with Megatron",
    "runtime_config": "lft places the weights",
    "ensure_weight_tying": "lft follows the base's tied weights",
}
# These belong to one start of LoRA each.
START_OPTIONS: Final[Mapping[str, str]] = {"eva_config": "eva", "corda_config": "corda"}
