"""From config.json to a shape, family by family, with the defaults that transformers gives to absent keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lft.errors import InputError
from lft.plan.shape import Linear, ModelShape, Part, Parts, Side, Stack
from lft.recipe.problems import listed, nearest, shown

Config = Mapping[str, Any]


def shape_of(config: Config, where: str = "config.json") -> ModelShape:
    """The shape that a configuration describes.

    Raises:
        InputError: an unknown family, or a size that is missing or no positive number.
    """
    text = config.get("text_config")
    config = text if isinstance(text, Mapping) else config
    family = str(config.get("model_type") or "")
    reader = _READERS.get(family)
    if reader is None:
        close = nearest(family, _READERS) if family else None
        hint = f"nearest: {close}" if close else f"known: {listed(sorted(_READERS), 20)}"
        raise InputError(f"model_type {shown(family)} has no shape here; {hint}", where=where)
    try:
        return reader(_Sizes(config, where), family)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"its sizes do not make a {family} model ({error})", where=where) from None


@dataclass(frozen=True, slots=True)
class _Sizes:
    """A configuration that is asked for numbers."""

    config: Config
    where: str

    def number(self, *keys: str, default: int | None = None) -> int:
        """The first key that is there, as a positive integer."""
        for key in keys:
            value = self.config.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{key} is {shown(str(value))}, not a positive number", where=self.where)
            return value
        if default is None:
            raise InputError(f"{keys[0]} is missing", where=self.where, fix="fetch config.json again")
        return default

    def flag(self, key: str, default: bool) -> bool:
        """A yes or no."""
        value = self.config.get(key)
        return default if value is None else bool(value)

    def share(self, key: str, default: float) -> float:
        """A probability."""
        value = self.config.get(key)
        return float(default if value is None else value)


def _linears(
    prefix: str, count: int, side: Side, rows: Sequence[tuple[str, int, int, bool, Part, str]]
) -> list[Linear]:
    return [
        Linear(f"{prefix}.{{}}.{name}", inputs, outputs, bias, count, part, source, side)
        for name, inputs, outputs, bias, part, source in rows
    ]


def _of_part(linears: Sequence[Linear], part: Part) -> int:
    return sum(linear.parameters for linear in linears if linear.part == part)


@dataclass(frozen=True, slots=True)
class _Gated:
    """What differs between the families of LLaMA's plan: RMS norms, rotary positions, a gated feed-forward."""

    qkv_bias: bool | None = None  # None: attention_bias decides
    output_bias: bool | None = None
    tied: bool = False
    head_dim: int | None = None
    norms: int = 2
    qk_norm: bool = False
    window: bool = False


_LLAMA_LIKE: Final = {
    "llama": _Gated(),
    "mistral": _Gated(qkv_bias=False, output_bias=False, window=True),
    "qwen2": _Gated(qkv_bias=True, output_bias=False),
    "qwen3": _Gated(qk_norm=True, head_dim=128),
    "gemma": _Gated(tied=True, head_dim=256),
    "gemma2": _Gated(tied=True, head_dim=256, norms=4, window=True),
}


def _llama_like(sizes: _Sizes, family: str) -> ModelShape:
    own = _LLAMA_LIKE[family]
    hidden, layers, heads = (sizes.number(k) for k in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    inner, vocabulary = sizes.number("intermediate_size"), sizes.number("vocab_size")
    kv_heads = sizes.number("num_key_value_heads", default=8 if family == "mistral" else heads)
    head_dim = sizes.number("head_dim", default=own.head_dim or hidden // heads)
    attention_bias, mlp_bias = sizes.flag("attention_bias", False), sizes.flag("mlp_bias", False)
    qkv = attention_bias if own.qkv_bias is None else own.qkv_bias
    out = attention_bias if own.output_bias is None else own.output_bias
    width, kv = heads * head_dim, kv_heads * head_dim
    linears = _linears(
        "model.layers",
        layers,
        "decoder",
        (
            ("self_attn.q_proj", hidden, width, qkv, "attention", "attention"),
            ("self_attn.k_proj", hidden, kv, qkv, "attention", "attention"),
            ("self_attn.v_proj", hidden, kv, qkv, "attention", "attention"),
            ("self_attn.o_proj", width, hidden, out, "attention", "attended"),
            ("mlp.gate_proj", hidden, inner, mlp_bias, "mlp", "mlp"),
            ("mlp.up_proj", hidden, inner, mlp_bias, "mlp", "mlp"),
            ("mlp.down_proj", inner, hidden, mlp_bias, "mlp", "activated"),
        ),
    )
    tied = sizes.flag("tie_word_embeddings", own.tied)
    norms = (own.norms * layers + 1) * hidden + (2 * layers * head_dim if own.qk_norm else 0)
    parts = Parts(
        embedding=vocabulary * hidden,
        attention=_of_part(linears, "attention"),
        mlp=_of_part(linears, "mlp"),
        norms=norms,
        head=0 if tied else vocabulary * hidden,
    )
    stack = Stack(
        side="decoder", layers=layers, heads=heads, kv_heads=kv_heads, head_dim=head_dim, intermediate=inner,
        norm="rms", norm_inputs=own.norms, kept=3, qk_norm=own.qk_norm,
        attention_dropout=sizes.share("attention_dropout", 0.0),
        softcap=family == "gemma2" and sizes.config.get("attn_logit_softcapping", 50.0) is not None,
        window=sizes.number("sliding_window", default=4096) if own.window and _windowed(sizes) else None,
    )  # fmt: skip
    positions = sizes.number("max_position_embeddings", default=4096)
    return ModelShape(family, hidden, vocabulary, hidden, positions, tied, (stack,), tuple(linears), parts)


def _windowed(sizes: _Sizes) -> bool:
    """``sliding_window: null`` switches it off."""
    return "sliding_window" not in sizes.config or sizes.config["sliding_window"] is not None


def _opt(sizes: _Sizes, family: str) -> ModelShape:
    hidden, layers, heads = (sizes.number(k) for k in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    inner, vocabulary = sizes.number("ffn_dim"), sizes.number("vocab_size")
    embedded = sizes.number("word_embed_proj_dim", default=hidden)
    positions = sizes.number("max_position_embeddings", default=2048)
    bias, affine = sizes.flag("enable_bias", True), sizes.flag("layer_norm_elementwise_affine", True)
    linears = _linears(
        "model.decoder.layers",
        layers,
        "decoder",
        (
            ("self_attn.k_proj", hidden, hidden, bias, "attention", "attention"),
            ("self_attn.v_proj", hidden, hidden, bias, "attention", "attention"),
            ("self_attn.q_proj", hidden, hidden, bias, "attention", "attention"),
            ("self_attn.out_proj", hidden, hidden, bias, "attention", "attended"),
            ("fc1", hidden, inner, bias, "mlp", "mlp"),
            ("fc2", inner, hidden, bias, "mlp", "activated"),
        ),
    )
    if embedded != hidden:
        linears += [
            Linear("model.decoder.project_out", hidden, embedded, False, 1, "head", "last"),
            Linear("model.decoder.project_in", embedded, hidden, False, 1, "embedding", "embedded"),
        ]
    before = sizes.flag("do_layer_norm_before", True)
    final = before and not sizes.flag("_remove_final_layer_norm", False)
    tied = sizes.flag("tie_word_embeddings", True)
    parts = Parts(
        embedding=vocabulary * embedded + (positions + 2) * hidden + _of_part(linears, "embedding"),
        attention=_of_part(linears, "attention"),
        mlp=_of_part(linears, "mlp"),
        norms=2 * hidden * (2 * layers + final) if affine else 0,
        head=_of_part(linears, "head") + (0 if tied else vocabulary * embedded),
    )
    dropout = sizes.share("dropout", 0.1)
    stack = Stack(
        side="decoder", layers=layers, heads=heads, kv_heads=heads, head_dim=hidden // heads, intermediate=inner,
        norm="layer", norm_inputs=2, kept=1, shares_kept=True, dropout=dropout, dropouts=2,
        attention_dropout=sizes.share("attention_dropout", 0.0),
    )  # fmt: skip
    return ModelShape(family, hidden, vocabulary, embedded, positions, tied, (stack,), tuple(linears), parts)


def _gpt2(sizes: _Sizes, family: str) -> ModelShape:
    hidden, layers, heads = (
        sizes.number("n_embd", "hidden_size"),
        sizes.number("n_layer", "num_hidden_layers"),
        sizes.number("n_head", "num_attention_heads"),
    )
    inner, vocabulary = sizes.number("n_inner", default=4 * hidden), sizes.number("vocab_size")
    positions = sizes.number("n_positions", "max_position_embeddings", default=1024)
    linears = _linears(
        "transformer.h",
        layers,
        "decoder",
        (
            ("attn.c_attn", hidden, 3 * hidden, True, "attention", "attention"),
            ("attn.c_proj", hidden, hidden, True, "attention", "attended"),
            ("mlp.c_fc", hidden, inner, True, "mlp", "mlp"),
            ("mlp.c_proj", inner, hidden, True, "mlp", "activated"),
        ),
    )
    tied = sizes.flag("tie_word_embeddings", True)
    parts = Parts(
        embedding=(vocabulary + positions) * hidden,
        attention=_of_part(linears, "attention"),
        mlp=_of_part(linears, "mlp"),
        norms=2 * hidden * (2 * layers + 1),
        head=0 if tied else vocabulary * hidden,
    )
    stack = Stack(
        side="decoder", layers=layers, heads=heads, kv_heads=heads, head_dim=hidden // heads, intermediate=inner,
        norm="layer", norm_inputs=2, kept=4, fused_qkv=True, dropout=sizes.share("resid_pdrop", 0.1), dropouts=2,
        attention_dropout=sizes.share("attn_pdrop", 0.1),
    )  # fmt: skip
    return ModelShape(family, hidden, vocabulary, hidden, positions, tied, (stack,), tuple(linears), parts)


def _gpt_neox(sizes: _Sizes, family: str) -> ModelShape:
    hidden, layers, heads = (sizes.number(k) for k in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    inner, vocabulary = sizes.number("intermediate_size"), sizes.number("vocab_size")
    bias = sizes.flag("attention_bias", True)
    linears = _linears(
        "gpt_neox.layers",
        layers,
        "decoder",
        (
            ("attention.query_key_value", hidden, 3 * hidden, bias, "attention", "attention"),
            ("attention.dense", hidden, hidden, bias, "attention", "attended"),
            ("mlp.dense_h_to_4h", hidden, inner, True, "mlp", "mlp"),
            ("mlp.dense_4h_to_h", inner, hidden, True, "mlp", "activated"),
        ),
    )
    tied = sizes.flag("tie_word_embeddings", False)
    parts = Parts(
        embedding=vocabulary * hidden,
        attention=_of_part(linears, "attention"),
        mlp=_of_part(linears, "mlp"),
        norms=2 * hidden * (2 * layers + 1),
        head=0 if tied else vocabulary * hidden,
    )
    stack = Stack(
        side="decoder", layers=layers, heads=heads, kv_heads=heads, head_dim=hidden // heads, intermediate=inner,
        norm="layer", norm_inputs=1 if sizes.flag("use_parallel_residual", True) else 2, kept=1, fused_qkv=True,
        dropout=sizes.share("hidden_dropout", 0.0), dropouts=2, attention_dropout=sizes.share("attention_dropout", 0.0),
    )  # fmt: skip
    positions = sizes.number("max_position_embeddings", default=2048)
    return ModelShape(family, hidden, vocabulary, hidden, positions, tied, (stack,), tuple(linears), parts)


def _t5(sizes: _Sizes, family: str) -> ModelShape:
    hidden, heads = sizes.number("d_model", "hidden_size"), sizes.number("num_heads", "num_attention_heads")
    layers = sizes.number("num_layers", "num_hidden_layers")
    inner, head_dim, vocabulary = sizes.number("d_ff"), sizes.number("d_kv"), sizes.number("vocab_size")
    plan = str(sizes.config.get("feed_forward_proj") or ("gated-gelu" if family == "mt5" else "relu"))
    decoders = sizes.number("num_decoder_layers", default=layers)
    linears = [
        *_t5_linears("encoder", layers, hidden, heads * head_dim, inner, plan.startswith("gated")),
        *_t5_linears("decoder", decoders, hidden, heads * head_dim, inner, plan.startswith("gated")),
    ]
    # The published v1.1 and mT5 checkpoints say false and hold a head of their own, which transformers keeps untied.
    tied = sizes.flag("tie_word_embeddings", True)
    biases = 2 * sizes.number("relative_attention_num_buckets", default=32) * heads
    parts = Parts(
        embedding=vocabulary * hidden,
        attention=_of_part(linears, "attention") + biases,
        mlp=_of_part(linears, "mlp"),
        norms=hidden * (2 * layers + 3 * decoders + 2),
        head=0 if tied else vocabulary * hidden,
    )
    dropout = sizes.share("dropout_rate", 0.1)
    kept, shares = (6, False) if plan.startswith("gated") else (1, not dropout)

    def stack(side: Side, depth: int) -> Stack:
        sublayers = 3 if side == "decoder" else 2
        return Stack(
            side=side, layers=depth, heads=heads, kv_heads=heads, head_dim=head_dim, intermediate=inner, norm="rms",
            norm_inputs=sublayers, kept=kept, shares_kept=shares, cross=side == "decoder", relative=True,
            dropout=dropout, dropouts=sublayers, attention_dropout=dropout,
        )  # fmt: skip

    stacks = (stack("encoder", layers), stack("decoder", decoders))
    return ModelShape(family, hidden, vocabulary, hidden, None, tied, stacks, tuple(linears), parts)


def _t5_linears(side: Side, count: int, hidden: int, width: int, inner: int, gated: bool) -> list[Linear]:
    def attention(place: str, source: str, memory: str) -> list[tuple[str, int, int, bool, Part, str]]:
        return [
            (f"{place}.q", hidden, width, False, "attention", source),
            (f"{place}.k", hidden, width, False, "attention", memory),
            (f"{place}.v", hidden, width, False, "attention", memory),
            (f"{place}.o", width, hidden, False, "attention", f"{source} attended"),
        ]

    rows = attention("layer.0.SelfAttention", "self", "self")
    if side == "decoder":
        rows += attention("layer.1.EncDecAttention", "cross", "encoded")
    place = f"layer.{2 if side == 'decoder' else 1}.DenseReluDense"
    first = ("wi_0", "wi_1") if gated else ("wi",)
    rows += [(f"{place}.{name}", hidden, inner, False, "mlp", "mlp") for name in first]
    rows.append((f"{place}.wo", inner, hidden, False, "mlp", "activated"))
    return _linears(f"{side}.block", count, side, rows)


_READERS: Final[Mapping[str, Callable[[_Sizes, str], ModelShape]]] = {
    **dict.fromkeys(_LLAMA_LIKE, _llama_like),
    "opt": _opt,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "t5": _t5,
    "mt5": _t5,
    "umt5": _t5,
}
