"""Write lft/recipe/peft_options.json: every option of every PEFT method with its types, so that a recipe is checked
without importing PEFT. Run it after changing PEFT's version; a test fails until it was.

    python scripts/peft_options.py

Types are words with | between them: int, float, bool, str, none, dict, list[int], list[str], `=pattern` for a word, and
`{Name}` for a nested configuration that stands under `nested`. Options that all methods share are left out: lft sets
every one of them.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "lft" / "recipe" / "peft_options.json"
SIMPLE = {int: "int", float: "float", bool: "bool", str: "str", dict: "dict", type(None): "none"}
# Written in PEFT as one word that stands for many.
PLACEHOLDERS = {"pissa_niter_[number of iters]": r"=pissa_niter_\d+"}


def table() -> dict[str, Any]:
    """The whole table, as it is written."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    nested: dict[str, dict[str, str]] = {}
    kinds = {
        kind.value.lower(): {"config": config.__name__, "options": _fields(config, nested)}
        for kind, config in sorted(PEFT_TYPE_TO_CONFIG_MAPPING.items(), key=lambda item: item[0].value)
    }
    return {"peft": peft.__version__, "kinds": kinds, "nested": dict(sorted(nested.items()))}


def text() -> str:
    """The table as the file holds it: one option a line, so that a change of PEFT is a readable diff."""
    return json.dumps(table(), indent=1) + "\n"


def _fields(config: type, nested: dict[str, dict[str, str]]) -> dict[str, str]:
    from peft import PeftConfig

    shared = {field.name for field in dataclasses.fields(PeftConfig)} if issubclass(config, PeftConfig) else set()
    hints = typing.get_type_hints(config)
    return {
        field.name: "|".join(sorted(set(_types(hints[field.name], nested))))
        for field in dataclasses.fields(config)
        if field.init and field.name not in shared
    }


def _types(hint: Any, nested: dict[str, dict[str, str]]) -> list[str]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [word for argument in arguments for word in _types(argument, nested)]
        enums = any(isinstance(a, type) and issubclass(a, enum.Enum) for a in arguments)
        return [word for word in found if word != "str"] if enums else found
    if origin is typing.Literal:
        return [PLACEHOLDERS.get(word, "=" + re.escape(word).replace(r"\-", "-")) for word in arguments]
    if origin in (list, tuple, set):
        inner = arguments[0] if arguments else Any
        return [f"list[{SIMPLE.get(inner, 'any')}]"]
    if origin is dict:
        return ["dict"]
    return _plain(hint, nested)


def _plain(hint: Any, nested: dict[str, dict[str, str]]) -> list[str]:
    if hint in SIMPLE:
        return [SIMPLE[hint]]
    if hint is Any:
        return ["any"]
    if issubclass(hint, enum.Enum):
        return [f"={member.value}" for member in hint]
    if dataclasses.is_dataclass(hint):
        if hint.__name__ not in nested:
            nested[hint.__name__] = {}
            nested[hint.__name__] = _fields(hint, nested)
        return [f"{{{hint.__name__}}}"]
    return ["dict"]  # a TypedDict


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"{TARGET.name}: {len(table()['kinds'])} methods")
