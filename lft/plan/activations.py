"""Bytes that a forward pass keeps for the backward pass.

Each term is a tensor that autograd saves in transformers' layers under lft's attention and loss; the sum is tested
against what PyTorch really saves (tests/plan/test_activations.py). N tokens of one pass, s bytes an element:

    norms        each norm's input (RMS norms work in float32); when trained, what they normalised as well
    linears      the input of each linear that is trained or carries an update: once a tensor where nothing copies it,
                 once a linear under autocast or dropout; r values for B
    attention    query, key, value, output: four times the heads' width, and one float32 a head and token
    scores       N x length only where they are written out: Gemma 2's softcap, attention dropout on a CPU, T5's bias
    activation   what the non-linearity and the gate keep, in tensors of the intermediate width
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from lft.plan.setup import Setup
from lft.plan.shape import Stack
from lft.plan.targets import Target

CHUNK: Final = 256  # supervised positions whose logits are in memory at once (lft.train.loss)
_FLOAT: Final = 4
_LOST_KEPT: Final = 0.7
_LOST_RECOMPUTED: Final = 0.32


def kept_by_all(setup: Setup) -> int:
    """Bytes that a whole forward pass keeps: everything, or each layer's input where activations are recomputed."""
    if setup.checkpointing:
        inputs = sum(s.layers * setup.tokens for s in setup.shape.stacks) * setup.shape.hidden
        return inputs * setup.compute_bytes + _outside(setup)
    return sum(stack.layers * kept_by_layer(setup, stack) for stack in setup.shape.stacks) + _outside(setup)


def recomputed(setup: Setup) -> int:
    """Bytes of the layer that is recomputed at the time; 0 where nothing is."""
    return max(kept_by_layer(setup, stack) for stack in setup.shape.stacks) if setup.checkpointing else 0


def kept_by_layer(setup: Setup, stack: Stack) -> int:
    """Bytes that one layer keeps."""
    tokens = setup.tokens
    per_token = _norms(setup, stack) + _linears(setup, stack) + _attention(setup, stack) + _activation(setup, stack)
    per_token += _dropped(setup, stack) * _mask_bytes(setup)
    return round(tokens * per_token) + _scores(setup, stack) + _cast_weights(setup)


def _dropped(setup: Setup, stack: Stack) -> int:
    """Elements a token that dropout marks: each sublayer's output, and in T5 the feed-forward's inside as well."""
    inside = stack.intermediate if stack.relative else 0
    return stack.dropouts * setup.shape.hidden + inside if stack.dropout else 0


def _cast_weights(setup: Setup) -> int:
    """Float32 weights that are trained in 16 bit: autocast's copies of one layer, which the backward pass reads."""
    mixed = setup.trainable.full and setup.compute_bytes < setup.weight_bytes
    return setup.shape.layer_parameters * setup.compute_bytes if mixed else 0


def autocast_cache(setup: Setup) -> int:
    """Bytes of autocast's copies of all layers, which live until the forward pass is over.

    0 where they are counted with what the layers keep.
    """
    return setup.shape.layers * _cast_weights(setup) if setup.checkpointing else 0


def unreused(setup: Setup, gathered: int = 0) -> int:
    """Bytes of freed blocks that a CPU's allocator cannot use again while the forward pass goes on.

    Args:
        setup: the step.
        gathered: bytes of the weights that ZeRO-3 puts together; until it knows their order, anew in each layer.

    The C library before 2.38 cannot put an aligned block into a freed one of the same size, so most of what a layer
    allocates and does not keep stays resident; the two shares are measured (docs/memory.md). CUDA allocates otherwise.
    """
    if setup.cuda:
        return 0
    total = 0.0
    for stack in setup.shape.stacks:
        allocated, kept = _allocated(setup, stack), kept_by_layer(setup, stack)
        lost = _LOST_RECOMPUTED * allocated if setup.checkpointing else _LOST_KEPT * max(allocated - kept, 0)
        total += stack.layers * lost
    matrices = setup.shape.quantizable * setup.compute_bytes if setup.quantize else 0  # each is dequantised when used
    return round(total + (matrices + gathered) * _LOST_KEPT)


def _allocated(setup: Setup, stack: Stack) -> float:
    """Bytes that the forward pass of one layer allocates, kept or not."""
    hidden, keys = setup.shape.hidden, stack.kv_heads * stack.head_dim
    linears = sum(target.linear.outputs * share for target, share in _every(setup, stack).items())
    targets = [target for target in setup.trainable.targets if target.linear.side == stack.side]
    each = 3 if setup.quantize is None else 4  # B's output, its scaled form, the sum; PEFT clones a quantised output
    adapters = sum(each * t.linear.outputs * t.count / stack.layers for t in targets if t.linear.per_layer)
    norms = stack.norm_inputs * hidden * (3 if stack.norm == "rms" else 1)
    rotary = 4.5 * (stack.width + keys) if stack.norm == "rms" and not stack.relative else 0
    repeated = 2 * stack.width if stack.kv_heads < stack.heads else 0
    activation = (2 if stack.kept > 1 else 1) * stack.intermediate
    sums = 2 * hidden + 2 * (stack.dropouts * hidden if stack.dropout else 0)
    dropped = sum(2 * t.linear.inputs * t.count / stack.layers for t in targets) if setup.adapter_dropout else 0
    wide = linears + adapters + norms + rotary + repeated + 3 * stack.width + activation + sums + dropped
    return setup.tokens * wide * setup.compute_bytes + _scores(setup, stack)


def working(setup: Setup) -> int:
    """Bytes that the backward pass of one layer holds beside what was kept: gradients on their way."""
    stack = setup.shape.decoder
    streams = 3 if stack.kept > 1 else 2
    wide = streams * stack.intermediate + 2 * setup.shape.hidden
    return setup.tokens * wide * setup.compute_bytes + _scores(setup, stack)


def logits_at_once(setup: Setup) -> int:
    """Bytes of the loss's chunk: logits, their float32 form, log-probabilities and the gradient of both."""
    each = 3 * _FLOAT if setup.compute_bytes == _FLOAT else 3 * _FLOAT + 2 * setup.compute_bytes
    rows = min(CHUNK, setup.tokens)
    return rows * setup.shape.vocabulary * each


def hidden_gradients(setup: Setup) -> int:
    """Bytes of the last hidden states, their supervised rows, and the gradients of both."""
    return 3 * setup.tokens * setup.shape.embedding_width * setup.compute_bytes


def _outside(setup: Setup) -> int:
    """The last norm, and the tables of positions."""
    stack, tokens = setup.shape.decoder, setup.tokens
    last = setup.shape.hidden * (_norm_bytes(setup, stack) + (setup.compute_bytes if setup.trainable.full else 0))
    positions = 2 * stack.head_dim * setup.compute_bytes
    return tokens * (last + positions)


def _norm_bytes(setup: Setup, stack: Stack) -> int:
    # On CUDA autocast runs layer_norm in float32; on a CPU it stays in the tensor's own dtype.
    return _FLOAT if stack.norm == "rms" or setup.cuda else setup.compute_bytes


def _norms(setup: Setup, stack: Stack) -> int:
    hidden, full = setup.shape.hidden, setup.trainable.full
    normed = setup.compute_bytes if full and stack.norm == "rms" else 0
    heads = (stack.heads + stack.kv_heads) * stack.head_dim if stack.qk_norm else 0
    return (stack.norm_inputs * hidden + heads) * (_norm_bytes(setup, stack) + normed) + 2 * stack.norm_inputs * _FLOAT


def _mask_bytes(setup: Setup) -> int:
    """A dropped element's mark: CUDA keeps a bool, a CPU the noise itself."""
    return 1 if setup.cuda else setup.compute_bytes


def _linears(setup: Setup, stack: Stack) -> float:
    """Bytes a token of linear layers' inputs and, for LoRA, of the r values between A and B."""
    size = setup.compute_bytes
    if setup.trainable.full:
        return size * sum(_distinct(stack, _every(setup, stack)).values())
    targets = [target for target in setup.trainable.targets if target.linear.side == stack.side]
    shares = {target: target.count / stack.layers for target in targets if target.linear.per_layer}
    ranks = setup.rank * size * sum(shares.values())
    if setup.trainable.kind == "ia3":
        return size * sum(target.linear.outputs * share for target, share in shares.items())
    extra = 2 * size * sum(t.linear.outputs * s for t, s in shares.items()) if setup.trainable.kind == "dora" else 0
    if setup.adapter_dropout:  # each target drops its own copy; the adapter is float32, and so is a CPU's noise
        copy = size + (1 if setup.cuda else _FLOAT)
        return ranks + extra + copy * sum(t.linear.inputs * s for t, s in shares.items())
    if size < _FLOAT:  # each target casts its own copy
        return ranks + extra + size * sum(t.linear.inputs * s for t, s in shares.items())
    return ranks + extra + size * sum(_distinct(stack, shares).values())


def _every(setup: Setup, stack: Stack) -> dict[Target, float]:
    linears = (one for one in setup.shape.linears if one.side == stack.side and one.per_layer)
    return {Target(one, one.count): one.count / stack.layers for one in linears}


def _distinct(stack: Stack, shares: dict[Target, float]) -> dict[str, float]:
    """Widths of the tensors that are read, each once; ReLU's result is kept by itself already."""
    widths: dict[str, float] = defaultdict(float)
    for target, share in shares.items():
        source = target.linear.source
        if source != "encoded":  # all layers of the decoder read the one output of the encoder
            widths[source] = max(widths[source], target.linear.inputs * min(share, 1.0))
    if stack.shares_kept:
        widths.pop("activated", None)
    return widths


def _attention(setup: Setup, stack: Stack) -> int:
    """Query, key, value and output, keys and values as wide as the queries; a fused projection stays whole."""
    times = 2 if stack.cross else 1
    wide = (6 if stack.fused_qkv else 4) * stack.width
    if stack.attention_dropout and not setup.cuda:  # not fused: the output is not kept for it, nor the float32
        return times * (wide - stack.width) * setup.compute_bytes
    return times * (wide * setup.compute_bytes + stack.heads * _FLOAT)


def _scores(setup: Setup, stack: Stack) -> int:
    """Bytes of attention weights where they are written out."""
    pairs = setup.tokens * setup.row_tokens * stack.heads
    if stack.cross:
        pairs += setup.tokens * setup.row_tokens * stack.heads
    if stack.softcap:  # tanh, softmax in float32, and its cast
        return pairs * (_FLOAT + setup.compute_bytes + (setup.compute_bytes if setup.compute_bytes < _FLOAT else 0))
    if stack.attention_dropout and not setup.cuda:  # softmax, noise and what is left
        return pairs * 3 * setup.compute_bytes
    return pairs * setup.compute_bytes if stack.relative else 0  # T5's bias and mask, added anew in each layer


def _activation(setup: Setup, stack: Stack) -> int:
    return stack.kept * stack.intermediate * setup.compute_bytes
