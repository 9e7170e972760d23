"""Natural Instructions and BIG-bench: tasks whose answers are long; the question is the task's definition and input."""

from __future__ import annotations

import html
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lft.corpus.read.found import Dropped, Found, Item, SourceFile, as_text, words_of
from lft.corpus.schema import Source


@dataclass(frozen=True, slots=True)
class _Example:
    place: str
    input: str
    output: str


def read_natural_instructions(file: SourceFile, source: Source) -> Iterator[Item]:
    """A task file with Definition and Instances [{id, input, output: [...]}]; of several answers the first is taken."""
    task = json.loads(file.text())
    if not isinstance(task, dict) or not isinstance(task.get("Instances"), list):
        yield Dropped("the file is no task of Natural Instructions", text=str(task))
        return
    examples = [
        _Example(f"#{as_text(one.get('id')) or number}", as_text(one.get("input")), _answer(one.get("output")))
        for number, one in enumerate(_objects(task["Instances"]), 1)
    ]
    name = PurePosixPath(file.path).stem.replace("_", " ")
    yield from _task(name, as_text(task.get("Definition")), examples, source)


def read_bigbench(file: SourceFile, source: Source) -> Iterator[Item]:
    """A task file with examples [{input, target}]; choices among given answers have no text to learn."""
    task = json.loads(file.text())
    if not isinstance(task, dict) or not isinstance(task.get("examples"), list):
        yield Dropped("the file is no task of BIG-bench", text=str(task))
        return
    all_examples = _objects(task["examples"])
    choices = [one for one in all_examples if "target" not in one]
    if choices:
        yield Dropped("a choice among given answers", _name(task, file), str(choices[0]), len(choices))
    examples = [
        _Example(f"#{number}", as_text(one.get("input")), _answer(one["target"]))
        for number, one in enumerate(all_examples, 1)
        if "target" in one
    ]
    definition = as_text(task.get("task_prefix")) or as_text(task.get("description"))
    yield from _task(_name(task, file), definition, examples, source)


def _task(name: str, definition: str, examples: Sequence[_Example], source: Source) -> Iterator[Item]:
    """A task's examples, or, where its answers are short (classification, mostly), none of them."""
    if not examples:
        return
    median = statistics.median(words_of(one.output) for one in examples)
    if median < source.task_words:
        reason = f"of a task whose answers have fewer than {source.task_words} words (median)"
        yield Dropped(reason, name, examples[0].output, len(examples))
        return
    for one in examples:
        if not one.input.strip() or not one.output.strip():
            yield Dropped("no input or no output", one.place, one.input)
            continue
        question = "\n\n".join(part for part in (definition.strip(), html.unescape(one.input).strip()) if part)
        yield Found(html.unescape(one.output), one.place, question=question, subset=name, style="human")


def _objects(values: list[Any]) -> list[dict[str, Any]]:
    return [one for one in values if isinstance(one, dict)]


def _answer(value: object) -> str:
    return as_text(value[0] if isinstance(value, list) and value else value)


def _name(task: dict[str, Any], file: SourceFile) -> str:
    path = PurePosixPath(file.path)
    return as_text(task.get("name")) or (path.parent.name if path.name == "task.json" else path.stem)
