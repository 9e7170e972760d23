"""The screening of a build: the cheap rules first, then what takes a model; every pair that is cut has its reason.

pairs ─▶ rules, language ─▶ personal data ─▶ similarity ─▶ round trip ─▶ judge ─▶ kept.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lft.ask.asking import Notify
from lft.ask.ledger import Ledger
from lft.ask.opened import sampling_of
from lft.ask.request import Model
from lft.corpus.document import Pair
from lft.corpus.instruct.length import true_clauses
from lft.corpus.language import checkable, detected, same_language
from lft.corpus.schema import Build, Judge, RoundTrip, Screen, Similarity
from lft.corpus.screen.histogram import Threshold, histogram
from lft.corpus.screen.judge import judged
from lft.corpus.screen.pii import masked, personal
from lft.corpus.screen.round_trip import Scorer, trips
from lft.corpus.screen.rules import bare, broken_rule, leak
from lft.corpus.screen.scores import ScoreFile
from lft.corpus.step import OPEN, Counter, Report, open_notes, read_records

KEPT: Final = "pairs.jsonl"
_SURE: Final = 0.9  # instructions are short: only what the detector is sure of counts against one
_LETTERS: Final = 20  # and only where there is something to see


@dataclass(frozen=True, slots=True)
class Models:
    """How the models of a screening are had; each is called only where the build asks for it."""

    scorer: Callable[[str], Scorer]
    similarities: Callable[[Sequence[Pair], str], list[float]]
    judge: Callable[[Judge], Model]


def screen(
    build: Build, pairs: Path, out: Path, models: Models, ledger: Ledger, scores: Path, notify: Notify
) -> Report:
    """Write the pairs that are kept, with their scores, in the order in which they came.

    Args:
        build: ``screen`` says what is asked.
        pairs: file of ``Pair.record()`` lines.
        out: an existing folder.
        models: how to have them.
        ledger: of the judge's answers.
        scores: file that keeps what took a model to find.
        notify: told what takes long.

    Raises:
        LftError: a model cannot be had or refuses.
    """
    screening = _Screening(build, Counter(), ScoreFile(scores), notify)
    kept = screening.by_rules([Pair.of(record) for record in read_records(pairs)])
    wanted = build.screen
    if wanted.similarity is not None and kept:
        kept = screening.by_similarity(kept, wanted.similarity, models.similarities(kept, wanted.similarity.model))
    if wanted.round_trip is not None and kept:
        kept = screening.by_round_trip(kept, wanted.round_trip, models.scorer(wanted.round_trip.model))
    if wanted.judge is not None and kept:
        kept = screening.by_judge(kept, wanted.judge, models.judge(wanted.judge), ledger)
    with (out / KEPT).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(pair.record(), ensure_ascii=False) + "\n" for pair in kept)
    figures: dict[str, Any] = {
        "scores": distribution(kept),
        "histograms": screening.histograms({pair.id for pair in kept}),
        "clauses on length that were not true any more": len(screening.untrue),
        OPEN: sum(screening.failed),
    }
    return screening.counter.report("screen", figures, open_notes(sum(screening.failed)))


@dataclass(frozen=True, slots=True)
class _Screening:
    """A screening on its way: each method takes pairs and gives back those that pass.

    ``seen`` has each score of all pairs that got as far as it, by id; those that are cut have no other record of it.
    """

    build: Build
    counter: Counter
    scores: ScoreFile
    notify: Notify
    untrue: list[str] = field(default_factory=list)
    seen: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)  # of the judge's requests

    def by_rules(self, pairs: Sequence[Pair]) -> list[Pair]:
        """What needs no model."""
        self.counter.came = len(pairs)
        kept = []
        for pair in pairs:
            self._saw(pair, leak=leak(bare(pair), pair.output))
            reason = broken_rule(pair, self.build.screen) or self._other_language(pair)
            if reason is None and self.build.screen.pii == "drop" and (personal(pair.input) or personal(pair.output)):
                reason = "personal data in it"
            if self._cut(pair, reason):
                continue
            clean = pair
            if self.build.screen.pii == "mask":
                clean = replace(pair, input=masked(pair.input), output=masked(pair.output))
            clean = self._true(clean)
            kept.append(_scored(clean, leak=leak(bare(clean), clean.output)))
        return kept

    def _true(self, pair: Pair) -> Pair:
        """The pair without a clause on length that is not true of its text (masking can change a count)."""
        wording = "en" if self.build.instruct.language == "en" else pair.lang
        if not pair.length_clause or pair.length_clause in true_clauses(pair.output, pair.lang, wording).values():
            return pair
        self.untrue.append(pair.id)
        return replace(pair, input=bare(pair), length_clause="")

    def _other_language(self, pair: Pair) -> str | None:
        wanted = "en" if self.build.instruct.language == "en" and pair.style not in ("human", "template") else pair.lang
        text = bare(pair)
        if not self.build.screen.language_match or sum(map(str.isalpha, text)) < _LETTERS or not checkable(wanted):
            return None
        found, confidence = detected(text)
        if not found or confidence < _SURE or same_language(found, wanted):
            return None
        return f"the instruction is {found}, and was to be {wanted}"

    def by_similarity(self, pairs: Sequence[Pair], wanted: Similarity, cosines: Sequence[float]) -> list[Pair]:
        """Cosine of the embeddings."""
        kept = []
        for pair, cosine in zip(pairs, cosines, strict=True):
            self._saw(pair, similarity=cosine)
            if not self._cut(pair, f"similarity below {wanted.keep:g}" if cosine < wanted.keep else None):
                kept.append(_scored(pair, similarity=cosine))
        return kept

    def by_round_trip(self, pairs: Sequence[Pair], wanted: RoundTrip, scorer: Scorer) -> list[Pair]:
        """The instruction's place among others. A person's own question is scored, not cut."""
        kept = []
        for pair, trip in zip(pairs, trips(pairs, wanted, scorer, self.build.seed, self.scores), strict=True):
            if trip is None:
                kept.append(pair)
                continue
            self._saw(pair, round_trip_rank=trip.rank, round_trip_margin=trip.margin)
            bad = trip.rank > wanted.keep_rank and pair.style not in ("human", "template")
            if not self._cut(pair, "other instructions fit the text better (round trip)" if bad else None):
                kept.append(_scored(pair, round_trip_rank=trip.rank, round_trip_margin=trip.margin))
        return kept

    def by_judge(self, pairs: Sequence[Pair], wanted: Judge, model: Model, ledger: Ledger) -> list[Pair]:
        """A model's opinion."""
        kept = []
        sampling = sampling_of(wanted.backend)
        opinions, failed = judged(pairs, model, sampling, wanted.backend.seed, ledger, self.notify)
        self.failed.append(failed)
        for pair, one in zip(pairs, opinions, strict=True):
            if one.points is not None:
                self._saw(pair, judge=one.points)
            low = f"the judge gave less than {wanted.keep} of 5" if (one.points or 0) < wanted.keep else None
            if not self._cut(pair, one.reason or low):
                kept.append(_scored(pair, judge=one.points or 0))
        return kept

    def histograms(self, kept: Collection[str]) -> dict[str, Any]:
        """Of each score, how it is spread among all pairs that it was found of; ``kept`` are ids."""
        limits = thresholds(self.build.screen)
        return {name: histogram(values, kept, limits.get(name)).to_json() for name, values in sorted(self.seen.items())}

    def _saw(self, pair: Pair, **found: float) -> None:
        for name, value in found.items():
            self.seen.setdefault(name, {})[pair.id] = float(value)

    def _cut(self, pair: Pair, reason: str | None) -> bool:
        if reason is not None:
            self.counter.cut(reason, pair.id, f"{pair.input}  ->  {pair.output}")
        return reason is not None


def thresholds(wanted: Screen) -> dict[str, Threshold]:
    """Where each score cuts."""
    found = {"leak": Threshold(wanted.max_leak, "at most")}
    if wanted.similarity is not None:
        found["similarity"] = Threshold(wanted.similarity.keep, "at least")
    if wanted.round_trip is not None:
        found["round_trip_rank"] = Threshold(wanted.round_trip.keep_rank, "at most")
    if wanted.judge is not None:
        found["judge"] = Threshold(wanted.judge.keep, "at least")
    return found


def _scored(pair: Pair, **found: float) -> Pair:
    return replace(pair, scores={**pair.scores, **{name: round(float(value), 4) for name, value in found.items()}})


def distribution(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Of each score, its smallest value, quartiles and largest among the pairs that have it."""
    found: dict[str, list[float]] = {}
    for pair in pairs:
        for name, value in pair.scores.items():
            found.setdefault(name, []).append(value)
    return {name: _quartiles(sorted(values)) for name, values in sorted(found.items())}


def _quartiles(values: Sequence[float]) -> dict[str, float]:
    last = len(values) - 1
    places = {"least": 0, "quarter": last // 4, "median": last // 2, "three quarters": 3 * last // 4, "most": last}
    return {name: values[at] for name, at in places.items()}
