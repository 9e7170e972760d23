"""A row and a suite's wording become an item."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from lft.data.clauses import Unit, asked_lengths
from lft.errors import InputError
from lft.evaluate.item import Item, Relation, Wanted
from lft.evaluate.suite_rows import SuiteRow
from lft.evaluate.suite_schema import Demand, Part, Suite
from lft.recipe.problems import listed, nearest, shown

_UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
_RELATIONS: Final[tuple[Relation, ...]] = get_args(Relation)


class Skipped(Exception):
    """A row that becomes no item; its text is the reason."""


def item_of(suite: Suite, part: Part, row: SuiteRow) -> Item:
    """The item of a row.

    Raises:
        Skipped: it has no text where there must be one, or a language that the suite has no wording for.
    """
    lang = part.lang or str(row.values.get("lang") or "").strip().lower()
    if lang not in suite.prompt:
        raise Skipped("the suite has no wording for its language")
    instruction = _filled(suite.prompt[lang], part, row, ", ")
    reference = _filled(suite.reference, part, row, "\n")
    context = _filled(suite.context, part, row, ", ")
    source, subset = (_filled(text, part, row, ", ", "unknown") for text in (part.source, part.subset))
    if not instruction or (suite.reference and not reference):
        raise Skipped("empty reference" if instruction else "empty instruction")
    wanted = [one for demand in suite.wanted if (one := _wanted(demand, part, row))]
    if suite.wanted_in_prompt:
        wanted += [Wanted(number, unit) for number, unit in asked_lengths(instruction)]
    id = _id(suite.name, lang, instruction, context, reference)
    return Item(id, lang, source or suite.name, subset, instruction, context, reference, tuple(wanted))


def texts_of(suite: Suite, part: Part, row: SuiteRow) -> list[str]:
    """The row's own texts that a suite asks with or compares with, without the suite's wording around them."""
    templates = (*suite.prompt.values(), suite.context, suite.reference)
    names = dict.fromkeys(name for text in templates for name in fields(text))
    return [text for name in names if (text := _text(value_of(part, row.values, name), "\n"))]


def require_columns(suite: Suite, part: Part, row: SuiteRow) -> None:
    """Raise InputError unless the first row has every column that the wording speaks of."""
    lang = part.lang or str(row.values.get("lang") or "").strip().lower()
    templates = [suite.prompt.get(lang) or next(iter(suite.prompt.values())), suite.context, suite.reference]
    names = [*(name for text in (*templates, part.source, part.subset) for name in fields(text))]
    if part.lang is None and "lang" not in row.values:
        names.append("lang")
    for name in names:
        column = part.columns.get(name, name).split(".")[0]
        if column not in row.values:
            near = nearest(column, row.values)
            hint = f"; nearest: {shown(near)}" if near else f"; there are {listed(row.values)}"
            fix = "name it under columns:, as {text: body}" if name != "lang" else "say lang: of this part"
            raise InputError(f"no column {shown(column)}{hint}", where=row.where, fix=fix)


def fields(template: str) -> list[str]:
    """Names in the braces of a template."""
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def value_of(part: Part, values: Mapping[str, Any], name: str) -> Any:
    """The value that a name of a template stands for: a column, or what lies in it (``answers.text.0``)."""
    value: Any = values
    for step in part.columns.get(name, name).split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit():
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value


def _filled(template: str, part: Part, row: SuiteRow, joint: str, otherwise: str = "") -> str:
    """A template with a row's values; empty when all the values in it are."""
    names = fields(template)
    texts = {name: _text(value_of(part, row.values, name), joint) for name in names}
    if names and not any(texts.values()):
        return otherwise
    return template.format_map(texts).strip()


def _text(value: Any, joint: str) -> str:
    """A value as text; the parts of a list joined."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return joint.join(text for one in value if (text := _text(one, joint)))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return str(value)


def _wanted(demand: Demand, part: Part, row: SuiteRow) -> Wanted | None:
    """The length that a row asks for, None where it asks for none."""
    number = _filled(str(demand.number), part, row, " ")
    if not number.isdigit() or int(number) == 0:
        if number:
            raise Skipped("the length that it asks for is no whole number above 0")
        return None
    unit = _filled(demand.unit, part, row, " ", "words")
    relation = _filled(demand.relation, part, row, " ", "equal")
    if relation not in _RELATIONS:
        raise Skipped(f"its length is asked for by an unknown relation; there are {listed(_RELATIONS)}")
    return Wanted(int(number), _unit(unit), next(one for one in _RELATIONS if one == relation))


def _unit(text: str) -> Unit:
    found = next((one for one in _UNITS if one == text), None)
    if found is None:
        raise Skipped(f"its length is counted in an unknown unit; there are {listed(_UNITS)}")
    return found


def _id(*parts: str) -> str:
    """16 hex digits of a hash over what is asked and what it is compared with."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def first_checked(suite: Suite, part: Part, rows: Iterable[SuiteRow]) -> Iterator[SuiteRow]:
    """The rows; the first is looked at for the columns that are needed."""
    for number, row in enumerate(rows):
        if number == 0:
            require_columns(suite, part, row)
        yield row
