"""What raters said: a file of lines that only grows; a rater's last word on an item counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lft.errors import InputError
from lft.files import append_lines, json_lines

RATINGS: Final = "ratings.jsonl"
Criterion = Literal["relevance", "clarity", "completeness", "answerability"]
QUESTIONS: Final[Mapping[Criterion, str]] = {
    "relevance": "Is the text about what the instruction asks for?",
    "clarity": "Would you understand the instruction without seeing the text?",
    "completeness": "Does the text give all that the instruction asks for?",
    "answerability": "Could somebody who knows the matter answer it, without what only this text's author can know?",
}
ANSWERS: Final = {2: "yes", 1: "partly", 0: "no"}
_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class Rating:
    """One rater's answers on one item: 2 yes, 1 partly, 0 no; ``note`` is free."""

    item: str
    rater: str
    answers: Mapping[Criterion, int]
    note: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Rating:
        """From what a browser sent or a file holds.

        Raises:
            InputError: it is no rating.
        """
        item, rater, answers, note = (record.get(key) for key in ("item", "rater", "answers", "note"))
        if not isinstance(item, str) or not isinstance(rater, str) or not 0 < len(rater.strip()) <= _NAME:
            raise InputError(f"a rating needs an item and a rater's name of at most {_NAME} characters")
        if not isinstance(answers, dict) or set(answers) != set(QUESTIONS):
            raise InputError(f"a rating answers each of {', '.join(QUESTIONS)}")
        if not all(type(value) is int and value in ANSWERS for value in answers.values()):
            raise InputError("an answer is 2 (yes), 1 (partly) or 0 (no)")
        return cls(item, rater.strip(), answers, note if isinstance(note, str) else "")

    def record(self) -> dict[str, Any]:
        """As one JSON object."""
        return {"item": self.item, "rater": self.rater, "answers": dict(self.answers), "note": self.note}


class Ratings:
    """The file of ratings in an audit's folder; ``add`` returns when it is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RATINGS
        self._lock = threading.Lock()

    def add(self, rating: Rating) -> None:
        """Append one rating. Raises MachineError where the disk is full; nothing of it is then left."""
        with self._lock:
            append_lines(self._path, json.dumps(rating.record(), ensure_ascii=False) + "\n")

    def last(self) -> dict[tuple[str, str], Rating]:
        """Each rater's last word on each item, by (item, rater)."""
        records, _ = json_lines(self._path)
        found: dict[tuple[str, str], Rating] = {}
        for record in records:
            rating = Rating.of(record)
            found[rating.item, rating.rater] = rating
        return found
