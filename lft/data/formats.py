"""Rows to examples: which format the columns of a source are, and each row read strictly in that format."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lft.data.example import Example, Role, Turn
from lft.errors import InputError

Format = Literal["longform", "alpaca", "messages", "prompt-completion"]
Row = Mapping[str, object]

# In the order in which `auto` prefers them where the columns fit more than one.
_NEEDS: dict[Format, tuple[str, ...]] = {
    "messages": ("messages",),
    "alpaca": ("instruction", "output"),
    "longform": ("input", "output"),
    "prompt-completion": ("prompt", "completion"),
}
_OPTIONAL: dict[Format, tuple[str, ...]] = {
    "messages": ("conversations", "system"),
    "alpaca": ("input", "system", "history"),
    "longform": (),
    "prompt-completion": (),
}
_IN_WORDS = {
    "longform": "input, output",
    "alpaca": "instruction, output (and maybe input)",
    "messages": "messages (a list of {role, content}) or conversations (a list of {from, value})",
    "prompt-completion": "prompt, completion",
}
_LABELS = ("source", "subset", "lang")
KNOWN_COLUMNS = frozenset({c for f in _NEEDS for c in _NEEDS[f] + _OPTIONAL[f]} | set(_LABELS) | {"split", "tools"})

# Column names seen in the wild -> the name that a format here gives the same thing.
_OTHER_NAMES = {
    "response": "output", "answer": "output", "target": "output", "reply": "output", "chosen": "output",
    "question": "input", "query": "input", "task": "instruction", "instruct": "instruction",
    "conversation": "messages", "dialog": "messages", "chat": "messages", "turns": "messages",
}  # fmt: skip
_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
# Parts of a message that change what is learnt; to drop one without a word would be a lie about the data.
_MEANINGFUL_KEYS = ("tool_calls", "function_call", "tool_call_id", "reasoning_content", "thinking", "weight", "train")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The format of a source and why it was chosen."""

    format: Format
    reason: str

    def __str__(self) -> str:
        return f"{self.format} ({self.reason})"


def detect(columns: Sequence[str], first: Row, *, where: str | None = None) -> Verdict:
    """The format that fits ``columns``; ``first`` (a row) tells a list of messages from a text of that name.

    Raises InputError with the columns found and what each format needs where none fits.
    """
    fits = [name for name in _NEEDS if _fits(name, columns, first)]
    if not fits:
        raise _no_format(columns, first, where)
    chosen = fits[0]
    reason = _reason(chosen, columns)
    if len(fits) > 1:
        reason += f"; {' and '.join(fits[1:])} would fit too, set data.format to choose"
    return Verdict(chosen, reason + _unused(chosen, columns))


def named(fmt: Format, columns: Sequence[str], *, where: str | None = None) -> Verdict:
    """The verdict where the recipe names the format; InputError if a column that it needs is not there."""
    if fmt == "messages" and "conversations" in columns:
        missing = []
    else:
        missing = [name for name in _NEEDS[fmt] if name not in columns]
    if missing:
        raise InputError(
            f"format {fmt} needs {' and '.join(f'`{m}`' for m in missing)}; the columns are {_listed(columns)}",
            where=where,
            fix=f"{fmt} needs {_IN_WORDS[fmt]}{_looks_like(columns)}; or set data.format: auto",
        )
    return Verdict(fmt, "named in the recipe" + _unused(fmt, columns))


def to_example(row: Row, fmt: Format, *, where: str | None = None) -> Example:
    """``row`` as an example; ``where`` is the file and line that an error names.

    An empty output passes (the audit counts it, tokenisation drops and counts it); an empty instruction does not,
    except in messages. Raises InputError for missing, null or non-text values and for turns that cannot be trained on.
    """
    turns, context = _READERS[fmt](row, where)
    if not turns or turns[-1].role != "assistant":
        last = f"the last turn is the {turns[-1].role}'s" if turns else "there are no turns"
        raise InputError(f"{last}, not the assistant's", where=where, fix="end each example with an assistant turn")
    source, subset, lang = (_label(row, name) for name in _LABELS)
    return Example(turns=turns, context=context, source=source, subset=subset, lang=lang)


# --- one reader a format -------------------------------------------------------------------------------------------


def _longform(row: Row, where: str | None) -> tuple[tuple[Turn, ...], str]:
    return (Turn("user", _asked(row, "input", where)), Turn("assistant", _text(row, "output", where))), ""


def _alpaca(row: Row, where: str | None) -> tuple[tuple[Turn, ...], str]:
    if row.get("history"):
        raise InputError("`history` holds earlier turns", where=where, fix="write such rows in the messages format")
    context = "" if row.get("input") is None else _text(row, "input", where)
    asked, answer = _asked(row, "instruction", where), _text(row, "output", where)
    return (*_system(row, where), Turn("user", asked), Turn("assistant", answer)), context


def _messages(row: Row, where: str | None) -> tuple[tuple[Turn, ...], str]:
    if row.get("tools"):
        raise InputError("`tools` is set; tool use is not trained here", where=where, fix="leave such rows out")
    column = "messages" if row.get("messages") is not None or "conversations" not in row else "conversations"
    return (*_system(row, where), *_turns(_value(row, column, where), column, where)), ""


def _prompt_completion(row: Row, where: str | None) -> tuple[tuple[Turn, ...], str]:
    prompt, completion = _value(row, "prompt", where), _value(row, "completion", where)
    if isinstance(prompt, str) and isinstance(completion, str):
        return (Turn("user", _asked(row, "prompt", where)), Turn("assistant", _text(row, "completion", where))), ""
    if isinstance(prompt, str) or isinstance(completion, str):
        what = f"`prompt` is {_kind(prompt)} and `completion` is {_kind(completion)}"
        raise InputError(what, where=where, fix="make both text, or both a list of {role, content}")
    return (*_turns(prompt, "prompt", where), *_turns(completion, "completion", where)), ""


_READERS: dict[Format, Callable[[Row, str | None], tuple[tuple[Turn, ...], str]]] = {
    "longform": _longform,
    "alpaca": _alpaca,
    "messages": _messages,
    "prompt-completion": _prompt_completion,
}


# --- values --------------------------------------------------------------------------------------------------------


def _value(row: Row, column: str, where: str | None) -> object:
    if column not in row:
        raise InputError(
            f"this row has no `{column}`; it has {_listed(list(row))}",
            where=where,
            fix="give all rows the same columns",
        )
    value = row[column]
    if value is None:
        raise InputError(f"`{column}` is null", where=where, fix="fill it in or leave the row out")
    return value


def _text(row: Row, column: str, where: str | None) -> str:
    return _as_text(_value(row, column, where), f"`{column}`", where)


def _as_text(value: object, what: str, where: str | None) -> str:
    if not isinstance(value, str):
        raise InputError(f"{what} is {_kind(value)}, not text", where=where, fix="write it as a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # a lone surrogate: valid JSON, but no tokenizer and no file can take it
        raise InputError(
            f"{what} holds half a character (\\u{ord(value[error.start]):04x}) at position {error.start}",
            where=where,
            fix="export the data again; an emoji was cut in two",
        ) from None
    return value


def _asked(row: Row, column: str, where: str | None) -> str:
    text = _text(row, column, where)
    if not text.strip():
        raise InputError(f"`{column}` is empty", where=where, fix="leave the row out, or give it an instruction")
    return text


def _system(row: Row, where: str | None) -> tuple[Turn, ...]:
    return (Turn("system", _text(row, "system", where)),) if row.get("system") else ()


def _turns(value: object, column: str, where: str | None) -> Iterable[Turn]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        fix = "make it a list of {role, content}"
        raise InputError(f"`{column}` is {_kind(value)}, not a list of messages", where=where, fix=fix)
    return [_turn(item, f"`{column}`[{i}]", where) for i, item in enumerate(value)]


def _turn(item: object, at: str, where: str | None) -> Turn:
    if not isinstance(item, Mapping):
        raise InputError(f"{at} is {_kind(item)}, not a message", where=where, fix="write it as {role, content}")
    keys = ("role", "content") if item.get("role") is not None else ("from", "value")
    role, content = item.get(keys[0]), item.get(keys[1])
    if not isinstance(role, str) or role not in _ROLES:
        said = "no role" if role is None else f"role `{role}`"
        raise InputError(f"{at} has {said}", where=where, fix="roles are system, user (human) and assistant (gpt)")
    for key in _MEANINGFUL_KEYS:
        if item.get(key) not in (None, [], {}, ""):
            raise InputError(f"{at} has `{key}`, which would be lost", where=where, fix="leave such rows out")
    return Turn(_ROLES[role], _as_text(content, f"{at}.{keys[1]}", where))


def _label(row: Row, column: str) -> str:
    value = row.get(column)
    return str(value) if isinstance(value, str | int | float) else ""


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"{value}".lower()
    kinds: tuple[tuple[type, str], ...] = (
        (str, "text"),
        (int, "a number"),
        (float, "a number"),
        (Mapping, "an object"),
        (Sequence, "a list"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


# --- verdicts ------------------------------------------------------------------------------------------------------


def _fits(fmt: Format, columns: Sequence[str], first: Row) -> bool:
    if fmt == "messages":
        lists = (first.get(name) for name in ("messages", "conversations") if name in columns)
        return any(isinstance(value, Sequence) and not isinstance(value, str) for value in lists)
    return all(name in columns for name in _NEEDS[fmt])


def _reason(fmt: Format, columns: Sequence[str]) -> str:
    if fmt == "alpaca" and "input" in columns:
        return "columns instruction, input and output: with an instruction, input is its context"
    if fmt == "longform":
        return "columns input and output, no instruction"
    if fmt == "messages":
        return f"column {'messages' if 'messages' in columns else 'conversations'} holds a list of turns"
    return f"columns {' and '.join(_NEEDS[fmt])}"


def _unused(fmt: Format, columns: Sequence[str]) -> str:
    used = {*_NEEDS[fmt], *_OPTIONAL[fmt], *_LABELS, "split"}
    unused = [name for name in columns if name not in used]
    return f"; not used: {_listed(unused)}" if unused else ""


def _no_format(columns: Sequence[str], first: Row, where: str | None) -> InputError:
    what = f"no format fits the columns {_listed(columns)}"
    for name in ("messages", "conversations"):
        if name in columns:
            what += f" (`{name}` is {_kind(first.get(name))}, not a list)"
    needs = "; ".join(f"{name}: {words}" for name, words in _IN_WORDS.items())
    return InputError(what, where=where, fix=f"rename the columns. Needed are {needs}{_looks_like(columns)}")


def _looks_like(columns: Sequence[str]) -> str:
    known = sorted({name for names in _NEEDS.values() for name in names} | {"conversations"})
    hints = []
    for column in columns:
        plain = column.strip().strip("\ufeff").lower()
        near = next((to for other, to in _OTHER_NAMES.items() if plain.startswith(other)), None)
        near = near or next(iter(difflib.get_close_matches(plain, known, n=1, cutoff=0.8)), None)
        if near and column not in known:
            hints.append(f"`{column}` looks like `{near}`")
    return f". {', '.join(hints[:4])}" if hints else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(n if n.isidentifier() else repr(n) for n in names[:12])
    return (shown or "(none)") + (f" and {len(names) - 12} more" if len(names) > 12 else "")
