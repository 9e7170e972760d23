"""Rules between keys: each is one small function that says what is broken, or None.

A rule lists the dotted keys it reads; the first that the recipe writes is the place a problem points at, and a rule
stays silent while one of them is itself wrong.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from lft.recipe.closed import Rule
from lft.recipe.kinds import KINDS
from lft.recipe.problems import shown
from lft.recipe.schema import Data, Recipe, Source

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def sources_of(data: Data) -> tuple[Source, ...]:
    """The training sources as a list, however they are written."""
    train = data.train
    return (Source(path=train, weight=1.0, revision=None),) if isinstance(train, str) else train


def remote_code_is_pinned(recipe: Recipe) -> str | None:
    """A branch can change under a run; code that is executed may not."""
    base = recipe.base
    if not base.trust_remote_code or (base.revision and _COMMIT.fullmatch(base.revision)):
        return None
    return "base.trust_remote_code: true runs code of the repository, so base.revision must be a 40-hex commit"


def revision_has_a_hub(recipe: Recipe) -> str | None:
    """Folders and packages have no commits; a revision there would be ignored silently."""
    if recipe.base.revision is None or not _is_local(recipe.base.model):
        return None
    return f"base.revision: {shown(recipe.base.model)} is not on the hub and has no revisions; remove the key"


def source_revision_has_a_hub(recipe: Recipe) -> str | None:
    """As for the base."""
    for source in sources_of(recipe.data):
        if source.revision is not None and _is_local(source.path):
            return f"data.train: {shown(source.path)} is not on the hub and has no revisions; remove its revision"
    return None


def there_is_a_source(recipe: Recipe) -> str | None:
    """An empty mixture trains on nothing."""
    return None if sources_of(recipe.data) else "data.train: the list of sources is empty; name at least one {path: …}"


def sources_differ(recipe: Recipe) -> str | None:
    """A source listed twice is a slip; its weight says how often it is seen."""
    seen = set()
    for source in sources_of(recipe.data):
        if (source.path, source.revision) in seen:
            return f"data.train: {shown(source.path)} is listed twice; list it once and raise its weight"
        seen.add((source.path, source.revision))
    return None


def splits_differ(recipe: Recipe) -> str | None:
    """A model is not measured on what it was trained on."""
    split = recipe.data.split
    if split.train != split.validation:
        return None
    return (
        f"data.split: train and validation are both {shown(split.train)}, so the validation loss would be that of the "
        "training data; name another split, or write validation: null"
    )


def paths_are_printable(recipe: Recipe) -> str | None:
    """A line break or NUL in a path is never meant, and breaks whatever opens it."""
    for key, value in (
        ("base.model", recipe.base.model),
        ("output.runs", recipe.output.runs),
        *(("data.train", source.path) for source in sources_of(recipe.data)),
    ):
        if not value.isprintable() or value != value.strip():
            return f"{key}: {shown(value)} has spaces around it or characters that cannot be seen"
    return None


def alpaca_prompt_has_one_turn(recipe: Recipe) -> str | None:
    """Alpaca's template has one instruction, one input and one response; a conversation does not fit into it."""
    if recipe.data.prompt == "alpaca" and recipe.data.format == "messages":
        return "data.prompt: alpaca writes one instruction and one answer, data.format messages has turns; use chat"
    return None


def streaming_has_an_end(recipe: Recipe) -> str | None:
    """A stream has no length, so epochs cannot be turned into steps for the schedule."""
    if recipe.data.streaming and recipe.train.max_steps is None:
        return "data.streaming: a stream has no known length, so train.max_steps must say when to stop"
    return None


def batch_divides(recipe: Recipe) -> str | None:
    """Accumulation is derived; it must be a whole number for the global batch to be exact."""
    train, launch = recipe.train, recipe.launch
    micro = train.micro_batch_size if isinstance(train.micro_batch_size, int) else 1
    per_pass = micro * launch.gpus * launch.nodes
    if train.global_batch_size % per_pass == 0:
        return None
    parts = f"{micro} sequences x {launch.gpus} gpus x {launch.nodes} nodes"
    return f"train.global_batch_size: {train.global_batch_size} is not a multiple of {per_pass} ({parts}, one pass)"


def modules_are_named(recipe: Recipe) -> str | None:
    """No target module means nothing to train."""
    if recipe.method.target_modules == ():
        return "method.target_modules: the list is empty; name modules or write all-linear"
    return None


def kind_can_be_trained(recipe: Recipe) -> str | None:
    """PEFT has methods whose result would not load, or which need more than instruction data."""
    kind = KINDS.get(recipe.method.kind)
    if kind is None or kind.refused is None:
        return None
    return f"method.kind: {recipe.method.kind} cannot be trained by lft: {kind.refused}"


def virtual_tokens_stand_alone(recipe: Recipe) -> str | None:
    """Virtual tokens stand in front of a row; of several sequences in it, only the first would be right."""
    kind = KINDS.get(recipe.method.kind)
    if kind is None or kind.packs or (not recipe.data.packing and recipe.train.micro_batch_size == 1):
        return None
    return (
        f"method.kind: {recipe.method.kind} puts virtual tokens in front of each sequence, so a row holds one; "
        "set data.packing: false and train.micro_batch_size: 1"
    )


def quantized_base_is_frozen(recipe: Recipe) -> str | None:
    """4- and 8-bit weights have no gradients; PEFT would take the packed bytes for weights in most methods."""
    method, base = recipe.method.kind, recipe.base
    kind = KINDS.get(method)
    if base.quantize is None:
        return f"method.kind: {method} needs base.quantize: nf4 or fp4" if method == "loftq" else None
    if kind is None:
        return f"base.quantize: {base.quantize} weights cannot be trained, method.kind is {method}; use lora"
    if not kind.quantized:
        return f"base.quantize: {method} does not work on quantized layers; remove it, or use lora, dora, eva or ia3"
    if method == "loftq" and base.quantize == "int8":
        return "base.quantize: loftq is for 4 bit; write nf4 or fp4"
    return None


def int8_rows_stand_alone(recipe: Recipe) -> str | None:
    """LLM.int8 looks over a whole row for the features that it keeps in 16 bit (measured: logits of a sequence move by
    2 % with what lies beside it)."""
    if recipe.base.quantize != "int8" or (not recipe.data.packing and recipe.train.micro_batch_size == 1):
        return None
    return (
        "base.quantize: int8 rounds the sequences of a row together, so a row may hold one; set data.packing: false "
        "and train.micro_batch_size: 1, or use nf4"
    )


def four_bit_settings_are_used(recipe: Recipe) -> str | None:
    """They would be ignored silently by a base that is not in 4 bit."""
    base = recipe.base
    if base.quantize in ("nf4", "fp4"):
        return None
    if base.compute_dtype != "auto":
        return f"base.compute_dtype: {base.compute_dtype} is only for base.quantize nf4 or fp4; remove it"
    if not base.double_quant:
        return "base.double_quant: false is only for base.quantize nf4 or fp4; remove it"
    return None


def stack_is_a_sum(recipe: Recipe) -> str | None:
    """Only plain LoRA adds to what is below it without changing it."""
    method = recipe.method
    if not method.on_top_of:
        return None
    if len(set(method.on_top_of)) < len(method.on_top_of):
        return "method.on_top_of: an adapter is listed twice; it would be added twice"
    kind = KINDS.get(method.kind)
    if kind is None or not kind.stacks:
        return f"method.on_top_of: {method.kind} cannot be trained on top of adapters; lora, lora+ and rslora can"
    odd = [name for name in ("bias", "modules_to_save") if method.options.get(name) not in (None, "none")]
    return f"method.on_top_of: method.options.{odd[0]} would change what lies below; remove it" if odd else None


def adalora_has_ranks_to_give_up(recipe: Recipe) -> str | None:
    """AdaLoRA starts with more ranks than it keeps; with none to give up PEFT 0.21 fails in its first step."""
    method = recipe.method
    target = method.options.get("target_r", 8)
    if method.kind != "adalora" or not isinstance(target, int) or target < method.r:
        return None
    return f"method.r: adalora goes from r down to method.options.target_r ({target}), so r must be above it"


def one_process_without_engine(recipe: Recipe) -> str | None:
    """Without an engine there is one process on one device."""
    launch = recipe.launch
    if launch.engine == "none" and (launch.gpus > 1 or launch.nodes > 1):
        return f"launch.engine: none is one process on one device, not {launch.gpus} x {launch.nodes}; use ddp or zero2"
    return None


def engine_keeps_the_optimizer(recipe: Recipe) -> str | None:
    """DeepSpeed flattens and shards what an optimizer sees; some then become another one, in silence."""
    engine, kind, optimizer = recipe.launch.engine, recipe.method.kind, recipe.train.optimizer
    if not engine.startswith("zero"):
        return None
    if optimizer == "adafactor":
        return f"train.optimizer: adafactor factors matrices, but {engine} shows it flat parts; use ddp or adamw"
    if kind == "adalora":
        return f"method.kind: adalora looks at whole gradients, which {engine} does not keep; use ddp"
    if engine == "zero3-offload" and (optimizer != "adamw" or kind == "lora+"):
        what = "lora+" if kind == "lora+" else optimizer
        return f"launch.engine: zero3-offload runs DeepSpeed's own AdamW and would ignore {what}; use zero3"
    return None


def best_is_measured(recipe: Recipe) -> str | None:
    """The best checkpoint is the one with the lowest validation loss, so each must have one."""
    train = recipe.train
    if not train.keep_best:
        return None
    if recipe.data.split.validation is None:
        return "train.keep_best: there is no validation split (data.split.validation is null) that could tell"
    if train.save_every == "end":
        return "train.keep_best: save_every is end, so there is no checkpoint to choose from"
    if train.eval_every != train.save_every:
        return "train.keep_best: each checkpoint needs a validation loss; write train.eval_every as train.save_every"
    return None


def sample_prompts_say_something(recipe: Recipe) -> str | None:
    """A blank prompt would be answered with noise that looks like a result."""
    if any(not prompt.strip() for prompt in recipe.train.sample_prompts):
        return "train.sample_prompts: a prompt is blank; write the instruction or remove it"
    return None


def run_name_stays_inside(recipe: Recipe) -> str | None:
    """The name becomes a folder below output.runs."""
    return _leaves_folder("name", recipe.name)


def adapter_name_stays_inside(recipe: Recipe) -> str | None:
    """The name becomes a folder in the registry."""
    return _leaves_folder("output.adapter", recipe.output.adapter or "x")


def _leaves_folder(key: str, name: str) -> str | None:
    if all(part not in ("", ".", "..") for part in name.split("/")):
        return None
    return f"{key}: {shown(name)} becomes a folder name; it may not have empty, '.' or '..' parts"


def _is_local(path: str) -> bool:
    return "://" in path or PurePosixPath(path).is_absolute()


RULES: Final = (
    Rule(("name",), run_name_stays_inside),
    Rule(("base.trust_remote_code", "base.revision"), remote_code_is_pinned),
    Rule(("base.revision", "base.model"), revision_has_a_hub),
    Rule(("data.train",), there_is_a_source),
    Rule(("data.train",), sources_differ),
    Rule(("data.train",), source_revision_has_a_hub),
    Rule(("data.split",), splits_differ),
    Rule(("base.model", "data.train", "output.runs"), paths_are_printable),
    Rule(("data.prompt", "data.format"), alpaca_prompt_has_one_turn),
    Rule(("data.streaming", "train.max_steps"), streaming_has_an_end),
    Rule(("method.target_modules",), modules_are_named),
    Rule(("train.global_batch_size", "train.micro_batch_size", "launch.gpus", "launch.nodes"), batch_divides),
    Rule(("train.sample_prompts",), sample_prompts_say_something),
    Rule(("launch.engine", "launch.gpus", "launch.nodes"), one_process_without_engine),
    Rule(("train.keep_best", "train.eval_every", "train.save_every", "data.split"), best_is_measured),
    Rule(("launch.engine", "train.optimizer", "method.kind"), engine_keeps_the_optimizer),
    Rule(("output.adapter",), adapter_name_stays_inside),
    Rule(("method.kind",), kind_can_be_trained),
    Rule(("method.kind", "data.packing", "train.micro_batch_size"), virtual_tokens_stand_alone),
    Rule(("base.quantize", "method.kind"), quantized_base_is_frozen),
    Rule(("base.quantize", "data.packing", "train.micro_batch_size"), int8_rows_stand_alone),
    Rule(("base.compute_dtype", "base.double_quant", "base.quantize"), four_bit_settings_are_used),
    Rule(("method.on_top_of", "method.kind", "method.options"), stack_is_a_sum),
    Rule(("method.r", "method.options", "method.kind"), adalora_has_ranks_to_give_up),
)
