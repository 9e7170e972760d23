"""``method.options`` against PEFT's own options, without PEFT: from a table that ``scripts/peft_options.py`` writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from lft.recipe.kinds import KINDS, NOT_OPTIONS, START_OPTIONS, Kind
from lft.recipe.problems import listed, nearest, shown
from lft.recipe.schema import Method

_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "none": "null",
    "dict": "a mapping",
    "list[int]": "a list of whole numbers",
    "list[str]": "a list of texts",
    "list[any]": "a list",
}


@dataclass(frozen=True, slots=True)
class OptionFault:
    """What is wrong with one option; the path leads from ``method`` to it."""

    path: tuple[str, ...]
    what: str


@cache
def _table() -> dict[str, Any]:
    text = Path(__file__).with_name("peft_options.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def options_of(kind: str) -> tuple[str, ...]:
    """The options that a recipe may set for a kind."""
    made = KINDS[kind]
    return tuple(name for name in _types(made) if _refusal(kind, made, name) is None)


def peft_version() -> str:
    """The version of PEFT that the table describes."""
    return str(_table()["peft"])


def peft_methods() -> tuple[str, ...]:
    """PEFT's own names of its methods, in lower case."""
    return tuple(_table()["kinds"])


def saved_types(peft: str) -> Mapping[str, str]:
    """Every option that PEFT saves for a method, with its types; what all methods share is not in it."""
    types: dict[str, str] = _table()["kinds"][peft]["options"]
    return types


def saved_fault(name: str, types: str, value: Any) -> str | None:
    """What is wrong with the value of an option in a configuration that PEFT saved, as read from JSON."""
    found = next(_value_faults((name,), types, _frozen(value)), None)
    return found.what.removeprefix("method.") if found else None


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value


def option_faults(method: Method) -> Iterator[OptionFault]:
    """Everything that is wrong with a recipe's ``method.options``."""
    if method.kind == "full":
        yield from (OptionFault(("options",), "full fine-tuning has no options") for _ in range(bool(method.options)))
        return
    kind = KINDS[method.kind]
    if kind.refused:
        return
    types = _types(kind)
    for name, value in method.options.items():
        fault = _named_wrong(method.kind, kind, types, name) or _start_wrong(method.kind, name, value)
        if fault:
            yield OptionFault(("options", name), f"method.options.{name}: {fault}")
        else:
            yield from _value_faults(("options", name), types[name], value)
    for name in kind.required:
        if method.options.get(name) is None:
            yield OptionFault(("options",), f"method.options.{name} is missing: {method.kind} has no default for it")


def _types(kind: Kind) -> Mapping[str, str]:
    types: dict[str, str] = _table()["kinds"][kind.peft]["options"]
    return types


def _named_wrong(written: str, kind: Kind, types: Mapping[str, str], name: str) -> str | None:
    if reason := _refusal(written, kind, name):
        return reason
    if name in types:
        return None
    known = options_of(written)
    if close := nearest(name, known):
        return f"no option of {written}; nearest: {shown(close)}"
    if name in (*types, *NOT_OPTIONS):
        return NOT_OPTIONS[name]
    return f"no option of {written}; it has: {listed(known, limit=30)}"


def _refusal(written: str, kind: Kind, name: str) -> str | None:
    """Why a recipe may not set an option that PEFT has."""
    if key := {kind.rank: "r", kind.alpha: "alpha", kind.dropout: "dropout"}.get(name):
        return f"write method.{key}"
    if name in kind.refused_options:
        return kind.refused_options[name]
    if name in kind.fixed and name != "init_lora_weights":
        return f"method.kind: {written} sets it"
    if name in START_OPTIONS and START_OPTIONS[name] != written:
        return f"it is for method.kind: {START_OPTIONS[name]}"
    if name in START_OPTIONS or (name == "token_indices" and written == "trainable_tokens"):
        return None
    return NOT_OPTIONS.get(name)


def _start_wrong(written: str, name: str, value: Any) -> str | None:
    """Starts that need work of their own are kinds; the others are values of PEFT's option."""
    if name != "init_lora_weights":
        return None
    start = KINDS[written].start
    if start == "pissa" and isinstance(value, str) and re.fullmatch(r"pissa_niter_\d+", value):
        return None
    if start:
        return f"method.kind: {written} sets it" + (" (or pissa_niter_16 and the like)" if start == "pissa" else "")
    if isinstance(value, str) and value.split("_")[0] in ("pissa", "olora", "corda", "eva", "loftq"):
        return f"write method.kind: {value.split('_')[0]}"
    return None


def _value_faults(path: tuple[str, ...], types: str, value: Any) -> Iterator[OptionFault]:
    alternatives = types.split("|")
    nested = [word[1:-1] for word in alternatives if word.startswith("{")]
    if nested and isinstance(value, dict):
        yield from _nested_faults(path, _table()["nested"][nested[0]], value)
    elif not any(_is(word, value) for word in alternatives):
        words = [word[1:] for word in alternatives if word.startswith("=")]
        close = nearest(value, words) if isinstance(value, str) else None
        hint = f"; nearest: {shown(close)}" if close else ""
        yield OptionFault(
            path, f"method.{'.'.join(path)}: expected {_expectation(alternatives)}, got {_shown(value)}{hint}"
        )


def _nested_faults(path: tuple[str, ...], types: Mapping[str, str], value: dict[str, Any]) -> Iterator[OptionFault]:
    for name, inner in value.items():
        if name in types:
            yield from _value_faults((*path, name), types[name], inner)
        else:
            close = nearest(name, types)
            hint = f"nearest: {shown(close)}" if close else f"it has: {listed(types)}"
            yield OptionFault((*path, name), f"method.{'.'.join(path)}: no option {shown(name)}; {hint}")


def _is(word: str, value: Any) -> bool:
    if word.startswith("="):
        return isinstance(value, str) and re.fullmatch(word[1:], value) is not None
    if word.startswith("list["):
        return isinstance(value, tuple) and (word == "list[any]" or all(_is(word[5:-1], item) for item in value))
    if word in ("int", "float"):
        return isinstance(value, int if word == "int" else int | float) and not isinstance(value, bool)
    kinds = {"bool": bool, "str": str, "none": type(None), "dict": dict}
    return word in kinds and isinstance(value, kinds[word])


def _expectation(alternatives: list[str]) -> str:
    words = [word[1:].replace(r"\d+", "<n>").replace("\\", "") for word in alternatives if word.startswith("=")]
    said = [f"one of {listed(words, limit=30)}"] if words else []
    said += [_WORDS.get(word, "a mapping") for word in alternatives if not word.startswith("=")]
    return " or ".join(dict.fromkeys(said))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    return (
        f"a list of {len(value)}"
        if isinstance(value, tuple)
        else "a mapping"
        if isinstance(value, dict)
        else f"{value}"
    )
