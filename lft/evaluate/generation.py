"""Answers to a suite's items: made once, kept in a ledger by model, prompt and decoding, gone on with after a kill."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lft.ask.asking import ask
from lft.ask.ledger import Entry, Ledger, open_ledger
from lft.ask.request import Request, Sampling
from lft.errors import InputError
from lft.evaluate.candidate import Candidate
from lft.evaluate.item import Finish, Item, Output, Row
from lft.evaluate.result import LeftOut
from lft.evaluate.suite_schema import Decoding
from lft.files import json_lines

_FINISHES: Final[dict[str, Finish]] = {"stop": "stop", "length": "length", "eos": "stop", "end_turn": "stop"}
Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """Rows in the items' order, sample by sample, and the items that have none."""

    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]


def generated(candidate: Candidate, items: Sequence[Item], decoding: Decoding, place: Path, notify: Notify) -> Answers:
    """A candidate's answers; those that the ledger in ``place`` holds are not made again.

    Raises:
        InputError, MachineError, BudgetSpent: as the model says; what was answered stays in the ledger.
    """
    asked = {
        (item.id, sample): _request(candidate, item, sample, decoding)
        for item in items
        for sample in range(decoding.samples)
    }
    tight = {key for key, request in asked.items() if not _fits(candidate, request)}
    open_ones = sorted((one for key, one in asked.items() if key not in tight), key=lambda one: len(one.prompt))
    with open_ledger(ledger_file(place, candidate.subject.identity), notify) as ledger:
        told = ask(candidate.model, open_ones, ledger, notify)
        if told.known:
            anew = "; --fresh asks anew" if candidate.subject.kind == "endpoint" else ""
            notify(f"{told.known:,} answers lay there already, {told.answered:,} were made{anew}")
        rows, left_out = [], []
        for item in items:
            for sample in range(decoding.samples):
                key = asked[item.id, sample].key(candidate.model.name)
                reason = "no room for prompt and answer" if (item.id, sample) in tight else told.failed.get(key, "")
                output = None if reason else _output(ledger, key, sample)
                if output is None:
                    left_out.append(LeftOut(item.id, sample, None, reason or "no answer"))
                else:
                    rows.append(Row(item, output))
    return Answers(tuple(rows), tuple(left_out))


def ledger_file(place: Path, identity: str) -> Path:
    """Where the answers of a subject are kept: by what it is, for two endpoints may call their models the same."""
    return place / f"{identity[:24]}.jsonl"


def _request(candidate: Candidate, item: Item, sample: int, decoding: Decoding) -> Request:
    drawn = hashlib.sha256(f"{decoding.seed}\n{item.id}\n{sample}".encode()).digest()
    sampling = Sampling(decoding.temperature, decoding.top_p, decoding.max_new_tokens)
    seed = int.from_bytes(drawn[:4]) >> 1  # endpoints take 31 bits
    return Request(f"{item.id}/{sample}", item.id, candidate.asked(item), sampling, seed)


def _fits(candidate: Candidate, request: Request) -> bool:
    if candidate.room is None:
        return True
    most = candidate.room - request.sampling.max_tokens
    # No token is shorter than a byte, so most prompts need not be counted.
    return len(request.prompt.encode("utf-8", "replace")) <= most or candidate.model.count(request.prompt) <= most


def _output(ledger: Ledger, key: str, sample: int) -> Output | None:
    entry: Entry | None = ledger.get(key)
    if entry is None:
        return None
    return Output(entry.text, sample, entry.tokens_out, _FINISHES.get(entry.finish, "unknown"))


def from_file(path: Path, items: Sequence[Item], notify: Notify) -> Answers:
    """Answers from JSON lines of somebody else: paired by ``id``, else by the instruction (and ``input`` below it).

    Lines that cannot be read, that have no text, or that answer no item are told by their numbers.

    Raises:
        InputError: it cannot be read, or no line belongs to an item.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=str(path), fix='give JSON lines: {"input": ..., "output": ...}')
    lines, broken = json_lines(path)
    found: dict[str, list[Output]] = {}
    without: set[str] = set()
    for line in lines:
        output = line.get("output", line.get("text"))
        if isinstance(output, str):
            made = found.setdefault(_key_of(line), [])
            made.append(Output(output, len(made), _tokens(line), _finish(line)))
        else:
            without.add(_key_of(line))
    rows: list[Row] = []
    left_out: list[LeftOut] = []
    paired: set[str] = set()
    for item in items:
        keys = item.id, _asked(item.instruction, item.context)
        key = next((one for one in keys if one in found), None)
        if key is None:
            empty = "its line of the file has no text" if without.intersection(keys) else ""
            left_out.append(LeftOut(item.id, 0, None, empty or "no line of the file answers it"))
        else:
            paired.add(key)
            rows += [Row(item, output) for output in found[key]]
    unpaired = sum(len(made) for key, made in found.items() if key not in paired)
    for count, what in ((broken, "are no JSON objects"), (unpaired, "answer no item of this suite")):
        if count:
            notify(f"{path}: {count:,} lines {what}, and are left out")
    if not rows:
        raise InputError(
            f"none of its {len(lines):,} lines ({broken} of them broken) answers an item of this suite",
            where=str(path),
            fix="give each line the suite's instruction as input; lft evaluate export writes them",
        )
    return Answers(tuple(rows), tuple(left_out))


def _key_of(line: dict[str, object]) -> str:
    if isinstance(line.get("id"), str):
        return str(line["id"])
    instruction = line.get("instruction") or line.get("input") or line.get("prompt") or ""
    context = line.get("input", "") if line.get("instruction") else ""
    return _asked(str(instruction), str(context or ""))


def _asked(instruction: str, context: str) -> str:
    return f"{instruction.strip()}\n{context.strip()}"


def _tokens(line: dict[str, object]) -> int | None:
    tokens = line.get("tokens")
    return tokens if isinstance(tokens, int) else None


def _finish(line: dict[str, object]) -> Finish:
    finished = line.get("finished")
    return "unknown" if not isinstance(finished, bool) else "stop" if finished else "length"
