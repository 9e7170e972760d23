"""The loss, computed on supervised positions only.

A language model's head is its largest matrix. Prompt positions carry no label, so they never reach the head; the rest
go through it in chunks whose gradient is taken at once, so the logits of the whole row are never in memory:

    hidden [N x d] ──keep──▶ [K x d] ──chunks of C──▶ logits [C x V] ──▶ cross-entropy, d loss / d hidden

One matrix product forward and one back per chunk, none of it twice.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear
from transformers.modeling_outputs import CausalLMOutput, Seq2SeqLMOutput

from lft.data.tokens import IGNORE
from lft.errors import MachineError

CHUNK = 256
Logits = Callable[[torch.Tensor], torch.Tensor]


class _ChunkedCrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    """Sum of cross-entropies of ``logits(hidden)``; gradients are made in the forward pass, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, targets: torch.Tensor, logits: Logits, *weights: torch.Tensor
    ) -> torch.Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        wanted = [hidden.requires_grad, *(weight.requires_grad for weight in weights)]
        grads = [torch.zeros_like(t) if w else None for t, w in zip((hidden, *weights), wanted, strict=True)]
        trained = [weight for weight in weights if weight.requires_grad]
        for start in range(0, len(targets), CHUNK):
            stop = min(start + CHUNK, len(targets))
            with torch.enable_grad():
                part = hidden[start:stop].detach().requires_grad_()
                loss = cross_entropy(logits(part).float(), targets[start:stop], reduction="sum")
            total += loss.detach()
            if any(wanted):
                _accumulate(grads, start, stop, torch.autograd.grad(loss, [part, *trained]))
        ctx.grads = grads
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scaled = [None if grad is None else grad * grad_outputs[0] for grad in ctx.grads]
        return (scaled[0], None, None, *scaled[1:])


def _accumulate(grads: list[torch.Tensor | None], start: int, stop: int, new: tuple[torch.Tensor, ...]) -> None:
    """Add one chunk's gradients: the hidden states' into their rows, the weights' onto the sum."""
    if grads[0] is not None:
        grads[0][start:stop] = new[0]
    trained = [grad for grad in grads[1:] if grad is not None]
    for total, grad in zip(trained, new[1:], strict=True):
        total += grad


@dataclass(frozen=True, slots=True)
class Head:
    """Hidden states [K x d] to logits [K x V], and the parameters in it that are trained.

    ``sharded`` is the linear layer whose weight DeepSpeed's ZeRO-3 keeps in parts; None where it is whole.
    """

    logits: Logits
    trained: tuple[torch.Tensor, ...]
    sharded: torch.nn.Module | None = None


def supervised_loss(head: Head, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropies in nats.

    Args:
        head: the model's head.
        hidden: shape [K x d], at the positions that predict a label.
        targets: shape [K], the labels.
    """

    def loss() -> torch.Tensor:
        summed: torch.Tensor = _ChunkedCrossEntropy.apply(hidden, targets, head.logits, *head.trained)
        return summed

    if head.sharded is None:
        return loss()
    # ZeRO-3 puts a weight together for the duration of its layer's forward and backward. So the whole loss becomes that
    # layer's forward, this once.
    layer, plain = head.sharded, head.sharded.forward
    layer.forward = lambda _: loss()
    try:
        summed: torch.Tensor = layer(hidden)
    finally:
        layer.forward = plain
    return summed


def head_of(model: Any) -> Head:
    """The model's head with whatever its family does to logits behind it."""
    config = model.config.get_text_config()
    softcap, scale = getattr(config, "final_logit_softcapping", None), _logit_scale(config)
    project, trained, sharded = _projection(model.get_output_embeddings())

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        raw = project(hidden)
        scaled = raw if scale == 1.0 else raw * scale
        return scaled if softcap is None else torch.tanh(scaled / softcap) * softcap

    return Head(logits, trained, sharded)


def _projection(module: Any) -> tuple[Logits, tuple[torch.Tensor, ...], torch.nn.Module | None]:
    """The linear map of a head module.

    Where PEFT trains rows of it (added tokens), its wrapper would copy the whole matrix at each call and make a
    gradient of the same size; those rows' logits are computed by themselves instead.
    """
    tokens = getattr(module, "token_adapter", None)
    if tokens is None or tokens.merged or len(tokens.active_adapters) != 1:
        project, sharded = _linear(module)
        return project, tuple(parameter for parameter in module.parameters() if parameter.requires_grad), sharded
    base, sharded = _linear(tokens.base_layer)
    rows = tokens.trainable_tokens_delta[tokens.active_adapters[0]]
    ids = torch.tensor(tokens.token_indices[tokens.active_adapters[0]], device=rows.device)

    def project_rows(hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = base(hidden)
        return logits.index_copy_(1, ids, (hidden @ rows.to(hidden.dtype).T).to(logits.dtype))

    return project_rows, (rows,) if rows.requires_grad else (), sharded


def _linear(layer: Any) -> tuple[Logits, torch.nn.Module | None]:
    """A layer as a function; one that ZeRO-3 shards must be computed without its hooks, inside its own forward."""
    if not hasattr(getattr(layer, "weight", None), "ds_id"):
        return layer, None
    return lambda hidden: linear(hidden, layer.weight, layer.bias), layer


def _logit_scale(config: Any) -> float:
    if getattr(config, "scale_decoder_outputs", False):  # T5 v1.0; v1.1, FLAN-T5 and mT5 do not
        return 1.0 / math.sqrt(config.d_model)
    for key in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, key, None) is not None:
            return float(getattr(config, key))
    scaling = getattr(config, "logits_scaling", None)
    return 1.0 if scaling is None else 1.0 / float(scaling)


def attach_loss(model: Any) -> None:
    """Teach a model ``forward(..., supervised=True, labels)``: it then returns the *sum* of the loss.

    A decoder predicts the label at the place before it; an encoder-decoder is given ``decoder_input_ids`` that are
    shifted already, and predicts the label at its own place. As in TRL, the forward of this one object is replaced, so
    that wrappers around it (PEFT, DDP, DeepSpeed) keep working; without ``supervised`` it is the forward it was.

    Raises:
        MachineError: the family does something unknown behind its head, so the loss would be wrong.
    """
    _require_known_head(model)
    plain = model.forward
    summed = _paired_loss if model.config.is_encoder_decoder else _causal_loss

    def forward(self: Any, *args: Any, supervised: bool = False, labels: Any = None, **kwargs: Any) -> Any:
        if not supervised:
            return plain(*args, labels=labels, **kwargs) if labels is not None else plain(*args, **kwargs)
        return summed(self, args, {key: value for key, value in kwargs.items() if value is not None}, labels)

    model.forward = types.MethodType(forward, model)


def _causal_loss(model: Any, args: Any, inputs: dict[str, Any], labels: torch.Tensor) -> CausalLMOutput:
    if len(inputs.get("segment_lengths", ())) == 1:  # nothing to keep apart: any attention will do
        del inputs["segment_lengths"]
    hidden = model.base_model(*args, **inputs, use_cache=False).last_hidden_state
    keep = labels[:, 1:] != IGNORE
    return CausalLMOutput(loss=supervised_loss(head_of(model), hidden[:, :-1][keep], labels[:, 1:][keep]))


def _paired_loss(model: Any, _: Any, inputs: dict[str, Any], labels: torch.Tensor) -> Seq2SeqLMOutput:
    hidden, keep = _paired_hidden(model, **inputs), labels != IGNORE
    return Seq2SeqLMOutput(loss=supervised_loss(head_of(model), hidden[keep], labels[keep]))


def _paired_hidden(
    model: Any, input_ids: torch.Tensor, decoder_input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The decoder's last hidden states [B x T x d]; T5's classes with a head have no part that stops before it."""
    read = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    written = model.get_decoder()(
        input_ids=decoder_input_ids,
        encoder_hidden_states=read,
        encoder_attention_mask=attention_mask,
        use_cache=False,
    )
    hidden: torch.Tensor = written.last_hidden_state
    return hidden


def _require_known_head(model: Any) -> None:
    """Three tokens through the model's own head and through ours."""
    training = model.training
    model.eval()
    ids = torch.tensor([[1, 2, 3]], device=model.device)
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            own = model(input_ids=ids, decoder_input_ids=ids, use_cache=False).logits.float()
            hidden = _paired_hidden(model, ids, ids)
        else:
            own = model(input_ids=ids, use_cache=False).logits.float()
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        ours = head_of(model).logits(hidden[0])[None].float()
    model.train(training)
    if not torch.allclose(own, ours, rtol=2e-2, atol=1e-2 * float(own.abs().max())):
        raise MachineError(
            f"the loss would differ from the model's own: {type(model).__name__} changes its logits in a way that "
            "lft does not know",
            fix="report the model's name; nothing was trained",
        )
