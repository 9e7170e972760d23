"""An adapter's tokens against its base's: the same ids for the same texts, and a row for each that was added.

An adapter may bring a tokenizer of its own, with tokens that were added for it. It fits a base whose tokens it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lft.adapters.adapter import Adapter
from lft.adapters.cover import BaseTensors
from lft.base.embeddings import is_input
from lft.base.files import read_json
from lft.base.fingerprint import tokenizer_fingerprint
from lft.errors import InputError
from lft.recipe.problems import listed, shown

TEMPLATE_FILE: Final = "chat_template.jinja"
_FILE: Final = "tokenizer.json"
Verdict = tuple[bool | None, str]


def tokenizer_rung(adapter: Adapter, base: BaseTensors) -> Verdict:
    """Whether the tokens fit, and one line about it (L3 of ``lft.adapters.fit``)."""
    there = _fingerprint(base.folder)
    if there is None:
        return None, "the base folder has no tokenizer"
    if adapter.binding and adapter.binding.tokenizer != there:
        wanted = adapter.binding.tokenizer
        return False, f"the base has another tokenizer: trained with {wanted[:12]}, this is {there[:12]}"
    fits, why = _own(adapter, base)
    if fits is False:
        return fits, why
    if adapter.binding is None:
        return fits, why + _template(adapter, base)
    return True, "the base's own" + (f"; {why}" if fits else "") + _template(adapter, base)


def _fingerprint(folder: Path) -> str | None:
    try:
        return tokenizer_fingerprint(folder)
    except InputError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError("its tokenizer files cannot be read", where=str(folder), fix="fetch them again") from error


def _own(adapter: Adapter, base: BaseTensors) -> Verdict:
    """What the tokenizer in the adapter's folder says."""
    if not adapter.files or not adapter.files.of("tokenizer"):
        return None, "the adapter brings no tokenizer and does not record its base's"
    if not (adapter.folder / _FILE).is_file() or not (base.folder / _FILE).is_file():
        same = _fingerprint(adapter.folder) == _fingerprint(base.folder)
        return (True, "the same tokenizer") if same else (None, f"without {_FILE} on both sides it cannot be compared")
    mine, theirs = _tokens(adapter.folder / _FILE), _tokens(base.folder / _FILE)
    moved = sorted(text for text, number in theirs.items() if mine.get(text) != number)
    if moved:
        return False, f"{len(moved):,} tokens of the base have another id or none, as {shown(moved[0], 20)}"
    return _added(adapter, base, {text: number for text, number in mine.items() if text not in theirs})


def _added(adapter: Adapter, base: BaseTensors, added: Mapping[str, int]) -> Verdict:
    """Tokens that the base does not have: each needs a row, trained with the adapter or lying idle in the base."""
    if not added:
        return True, "the same tokens"
    trained = {number for rows in adapter.rows for number in rows.tokens}
    stored = [shape[0] for name, shape in base.shapes.items() if is_input(name)]
    saved = [one.info.shape[0] for one in adapter.whole if is_input(one.tensor)]
    grown = adapter.binding.rows if adapter.binding else 0
    rows = max([*stored, *saved, grown])
    lacking = sorted(text for text, number in added.items() if number >= rows and number not in trained)
    if lacking:
        return False, f"{len(lacking)} added tokens have no row, as {shown(lacking[0], 20)}"
    names = listed([shown(text, 20) for text in sorted(added)], limit=3)
    return True, f"adds {names}"


def _tokens(file: Path) -> dict[str, int]:
    """Ids by text. Raises InputError for a file that is no tokenizer."""
    said = read_json(file)
    model = said.get("model") if isinstance(said, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    try:
        if isinstance(vocabulary, list):  # Unigram: pieces with scores, in the order of their ids
            found = {str(piece[0]): number for number, piece in enumerate(vocabulary)}
        else:
            found = {str(text): int(number) for text, number in (vocabulary or {}).items()}
        return found | {str(one["content"]): int(one["id"]) for one in said.get("added_tokens") or []}
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError("it is no tokenizer", where=str(file), fix="fetch the file again") from error


def _template(adapter: Adapter, base: BaseTensors) -> str:
    """A chat template of its own is what the adapter was trained with, so it is said and no fault."""
    mine, theirs = template_of(adapter.folder), template_of(base.folder)
    if mine is None or mine == theirs:
        return ""
    return "; brings a chat template" + (" of its own" if theirs is not None else "")


def template_of(folder: Path) -> str | None:
    """The chat template of a folder as text, None where there is none. It is code: nothing here runs it.

    Of several by name in tokenizer_config.json it is the default one.
    """
    file = folder / TEMPLATE_FILE
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    config = folder / "tokenizer_config.json"
    said: Any = read_json(config) if config.is_file() else {}
    found = said.get("chat_template") if isinstance(said, dict) else None
    if isinstance(found, list):
        named = [one for one in found if isinstance(one, dict) and one.get("name") == "default"]
        found = named[0].get("template") if named else None
    return found if isinstance(found, str) else None
