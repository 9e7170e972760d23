"""A plan as text of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from lft.plan.fit import Change
from lft.plan.hardware import GIB
from lft.plan.memory import Memory
from lft.plan.overview import Plan
from lft.plan.setup import Setup
from lft.plan.trainable import LORA_LIKE

_WIDTH = 80
_CHANGES = 10  # of those that are ranked
_LABEL = 11


def report_lines(plan: Plan, source: str, launch: Sequence[str]) -> Iterator[str]:
    """The whole plan, line by line.

    Args:
        plan: from ``plan_run``.
        source: where the sizes of the base come from, in words.
        launch: the command, one line a machine.
    """
    recipe = plan.recipe
    yield f"{recipe.name}: {recipe.base.model} on {plan.setup.fleet}"
    yield from _entry("model", _model(plan.setup, source))
    yield from _entry("trained", _trained(plan.setup))
    yield from _entry("batch", f"{plan.batch}, rows of {recipe.data.max_length:,} tokens")
    yield from _entry("engine", _engine(plan))
    yield from _entry("compute", _compute(plan.setup))
    yield ""
    yield from memory_lines(plan)
    if not plan.fits:
        yield ""
        yield from change_lines(plan)
    yield ""
    yield from _entry("data", _data(plan))
    yield from _entry("time", _time(plan))
    yield from _entry("disk", _disk(plan))
    yield "run"
    for line in launch:
        yield from _command(line)


def _command(line: str) -> Iterator[str]:
    """A command that can be pasted, broken with backslashes where it is too long for a line."""
    if line.startswith("#"):
        yield from textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent="  # ")
        return
    rows = textwrap.wrap(line, _WIDTH - 6, break_long_words=False, break_on_hyphens=False)
    for number, row in enumerate(rows):
        yield f"{'    ' if number else '  '}{row}{'' if number == len(rows) - 1 else ' ' + chr(92)}"


def memory_lines(plan: Plan) -> Iterator[str]:
    """Memory of one device, part by part."""
    memory, setup = plan.memory, plan.setup
    yield "memory of one device, GiB"
    sides = " on either side" if setup.shape.encoder_decoder else ""
    rows = (
        ("weights", memory.weights, _quantized(setup)),
        ("gradients", memory.gradients, ""),
        ("optimizer", memory.optimizer, plan.recipe.train.optimizer),
        ("activations", memory.activations, f"{setup.micro_rows} x {setup.row_tokens:,} tokens{sides}"),
        ("loss", memory.loss, "logits of 256 positions at a time"),
        ("buffers", memory.buffers, ""),
        ("allocator", memory.allocator, "freed blocks that are not used again"),
        ("framework", memory.framework, "libraries" if not setup.cuda else "CUDA context and workspaces"),
    )
    for name, amount, note in rows:
        if amount:
            yield f"  {name:<12}{amount / GIB:9.2f}  {note}".rstrip()
    yield f"  {'highest':<12}{memory.total / GIB:9.2f}  {_verdict(plan)}"
    yield f"{'':25}at the {memory.moment}"
    if memory.host:
        yield f"  {'host':<12}{memory.host / GIB:9.2f}  in each machine's memory, loading or offloaded"


def _quantized(setup: Setup) -> str:
    if setup.quantize is None:
        return ""
    double = " and its constants" if setup.double_quant and setup.quantize != "int8" else ""
    return f"{setup.quantize}{double}; not embedding, norms, head"


def _verdict(plan: Plan) -> str:
    capacity = plan.setup.fleet.device.memory
    if capacity is None:
        return "the memory of this device is not known"
    share = plan.memory.total / capacity
    verdict = "fits" if plan.fits else "does not fit" if share > 1 else "too tight"
    return f"of {capacity / GIB:.2f}: {verdict} ({share:.0%})"


def change_lines(plan: Plan) -> Iterator[str]:
    """What to change, with the new figure of each."""
    yield f"to make it fit ({'GiB':>3}; * fits)"
    for change in plan.changes[:_CHANGES]:
        yield from _change(change)
    if not plan.changes:
        yield "  nothing that is known here needs less"


def _change(change: Change) -> Iterator[str]:
    mark = "*" if change.fits else " "
    yield from textwrap.wrap(
        f"{mark}{_figure(change.memory):>8}  {change.words}", _WIDTH, initial_indent=" ", subsequent_indent=" " * 12
    )
    if change.overrides:
        yield from textwrap.wrap(
            " ".join(change.overrides), _WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 12,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def _figure(memory: Memory) -> str:
    return f"{memory.total / GIB:.2f}"


def _entry(label: str, text: str) -> Iterator[str]:
    indent = " " * _LABEL
    yield from textwrap.wrap(f"{label:<{_LABEL}}{text}", _WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _model(setup: Setup, source: str) -> str:
    shape, parts = setup.shape, setup.shape.parts
    named = (("embedding", parts.embedding), ("attention", parts.attention), ("mlp", parts.mlp), ("head", parts.head))
    listed = ", ".join(f"{name} {millions(count)}" for name, count in named if count)
    tied = ", head tied to the embedding" if shape.tied else ""
    return f"{shape.family}, {shape.layers} layers, {shape.total:,} parameters ({listed}{tied}); sizes from {source}"


def _trained(setup: Setup) -> str:
    trainable = setup.trainable
    rows = f"; {trainable.tokens:,} of them rows of added tokens" if trainable.tokens else ""
    if trainable.full:
        return f"all {trainable.total:,} parameters"
    if trainable.method is None:
        return f"{trainable.kind}: its parameters are not estimated here, and not in the figures below"
    counted: Counter[str] = Counter()
    for target in trainable.targets:
        counted[target.linear.name] += target.count
    where = f" on {sum(counted.values())} linear layers ({', '.join(counted)})" if counted else ""
    rank = f" r={setup.rank}" if trainable.kind in (*LORA_LIKE, "dora") else ""
    share = trainable.total / setup.shape.total
    return f"{trainable.kind}{rank}{where}: {trainable.total:,} parameters, {share:.2%} of the base{rows}"


def _engine(plan: Plan) -> str:
    chosen = " (chosen here: the recipe says none, which is one device)" if plan.engine_chosen else ""
    return plan.setup.engine + chosen


def _compute(setup: Setup) -> str:
    bits = {2: "16 bit", 4: "float32"}
    mixed = f", {bits[setup.weight_bytes]} weights" if setup.weight_bytes > setup.compute_bytes else ""
    stack = setup.shape.decoder
    attention = "fused attention"
    if stack.softcap or stack.relative:
        attention = f"attention with {'capped scores' if stack.softcap else 'a bias'} written out"
    activations = "recomputed" if setup.checkpointing else "kept"
    return f"{bits[setup.compute_bytes]}{mixed}; {attention}; activations {activations}"


def _data(plan: Plan) -> str:
    amount, run = plan.amount, plan.run
    if amount is None:
        known = "not here, so rows and steps are not known; `--tokens N` plans with a number of tokens"
        return f"{known}; train.max_steps gives {run.steps:,} steps of full rows" if run else known
    total = f"; {run.steps:,} steps, {run.tokens:,} tokens in all" if run else ""
    return (
        f"{amount.examples:,} examples, {amount.tokens:,} tokens, {amount.rows:,} rows an epoch ({amount.how}){total}"
    )


def _time(plan: Plan) -> str:
    pace = plan.pace
    if pace is None:
        return "the peak speed of this device is not known"
    speed = (
        f"{pace.tokens_per_second:,.0f} tokens/s at {pace.flops / 1e9:.3g} GFLOP a token, assuming "
        f"{pace.utilisation:.0%} of the peak"
    )
    device = plan.setup.fleet.device
    if plan.setup.compute_bytes == 2 and device.cuda and not device.bfloat16:
        speed += " in float32: this device only emulates bfloat16"
    return f"{lasting(plan.seconds)}; {speed}" if plan.seconds is not None else speed


def _disk(plan: Plan) -> str:
    disk = plan.disk
    return (
        f"base {size(disk.base)}; {'model' if plan.setup.trainable.full else 'adapter'} {size(disk.result)}; "
        f"checkpoint {size(disk.checkpoint)}, {disk.kept} at once; run folder {size(disk.run)} at its fullest"
    )


def lasting(seconds: float) -> str:
    """Seconds as people say them: 45 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86400:.1f} days"


def size(amount: float) -> str:
    """Bytes as 1.4 GB, 35 MB."""
    if amount >= 1e9:
        return f"{amount / 1e9:.1f} GB"
    return f"{amount / 1e6:.0f} MB" if amount >= 1e6 else f"{amount / 1e3:.0f} kB"


def millions(count: int) -> str:
    """A count as 6.7 B, 131 M, 12 k."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)
