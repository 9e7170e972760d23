"""Rules between keys: each is one small function that says what is broken, or None.

A rule lists the dotted keys it reads; the first that the recipe writes is the place a problem points at, and a rule
stays silent while one of them is itself wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from lft.recipe.problems import shown
from lft.recipe.schema import Recipe, Source

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Rule:
    """A promise between the keys it reads."""

    reads: tuple[str, ...]
    broken_by: Callable[[Recipe], str | None]


def sources_of(recipe: Recipe) -> tuple[Source, ...]:
    """The training sources as a list, however they are written."""
    train = recipe.data.train
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
    for source in sources_of(recipe):
        if source.revision is not None and _is_local(source.path):
            return f"data.train: {shown(source.path)} is not on the hub and has no revisions; remove its revision"
    return None


def there_is_a_source(recipe: Recipe) -> str | None:
    """An empty mixture trains on nothing."""
    return None if sources_of(recipe) else "data.train: the list of sources is empty; name at least one {path: …}"


def sources_differ(recipe: Recipe) -> str | None:
    """A source listed twice is a slip; its weight says how often it is seen."""
    seen = set()
    for source in sources_of(recipe):
        if (source.path, source.revision) in seen:
            return f"data.train: {shown(source.path)} is listed twice; list it once and raise its weight"
        seen.add((source.path, source.revision))
    return None


def paths_are_printable(recipe: Recipe) -> str | None:
    """A line break or NUL in a path is never meant, and breaks whatever opens it."""
    for key, value in (
        ("base.model", recipe.base.model),
        ("output.runs", recipe.output.runs),
        *(("data.train", source.path) for source in sources_of(recipe)),
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


def one_process_without_engine(recipe: Recipe) -> str | None:
    """Without an engine there is one process on one device."""
    launch = recipe.launch
    if launch.engine == "none" and (launch.gpus > 1 or launch.nodes > 1):
        return f"launch.engine: none is one process on one device, not {launch.gpus} x {launch.nodes}; use ddp or zero2"
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
    Rule(("base.model", "data.train", "output.runs"), paths_are_printable),
    Rule(("data.prompt", "data.format"), alpaca_prompt_has_one_turn),
    Rule(("data.streaming", "train.max_steps"), streaming_has_an_end),
    Rule(("method.target_modules",), modules_are_named),
    Rule(("train.global_batch_size", "train.micro_batch_size", "launch.gpus", "launch.nodes"), batch_divides),
    Rule(("train.sample_prompts",), sample_prompts_say_something),
    Rule(("launch.engine", "launch.gpus", "launch.nodes"), one_process_without_engine),
    Rule(("output.adapter",), adapter_name_stays_inside),
)
