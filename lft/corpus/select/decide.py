"""What is decided between documents: duplicates, diversity, quotas. Looks at rows, and at texts only for embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lft.corpus.schema import Build, Diversity
from lft.corpus.select.near import RELATED, components
from lft.corpus.select.quotas import drawn, has_quotas
from lft.corpus.select.rows import Layout, Rows, preferred

Mask = NDArray[np.bool_]
Notify = Callable[[str], None]
KEPT: Final = 0
ALONE: Final = -1


@dataclass(slots=True)
class Decisions:
    """For each row why it is cut: a number into ``reasons`` (pairs of step and reason), or ``KEPT``.

    ``notes`` are for the report.
    """

    rows: Rows
    codes: NDArray[np.uint16] = field(init=False)
    reasons: list[tuple[str, str]] = field(default_factory=lambda: [("", "")])
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.codes = np.full(len(self.rows), KEPT, dtype=np.uint16)

    @property
    def left(self) -> NDArray[np.intp]:
        """Rows that no step has cut yet."""
        return np.flatnonzero(self.codes == KEPT)

    def cut(self, rows: Sequence[int] | NDArray[Any], step: str, reason: str) -> None:
        """These rows go, for this reason."""
        if (step, reason) not in self.reasons:
            self.reasons.append((step, reason))
        self.codes[rows] = self.reasons.index((step, reason))


def decide(build: Build, work: Path, layout: Layout, rows: Rows, cache: Path, notify: Notify) -> Decisions:
    """Duplicates, then diversity, then quotas; each looks at what the one before has left."""
    decisions, wanted = Decisions(rows), build.select
    if wanted.duplicates.exact:
        cut_exact(decisions)
    if wanted.duplicates.near:
        labels = components(work, layout, wanted.duplicates.similarity)
        cut_all_but_one(decisions, labels, "near-duplicates", "near-duplicate of a document that is kept")
    if wanted.diversity is not None:
        _cut_crowded(decisions, wanted.diversity, build, work, layout, cache, notify)
    if has_quotas(wanted.quotas):
        left = decisions.left
        refusals = drawn(rows[left], wanted.quotas, [source.name for source in build.sources])
        for reason in sorted({reason for reason in refusals if reason is not None}):
            decisions.cut(left[[one == reason for one in refusals]], "quotas", reason)
    return decisions


def cut_exact(decisions: Decisions) -> None:
    """Of texts that are equal up to case, space and punctuation one stays."""
    rows = decisions.rows
    labels = np.unique(rows[["key", "key2"]], return_inverse=True)[1]
    cut_all_but_one(decisions, labels, "duplicates", "same text as a document that is kept, up to case and punctuation")


def cut_all_but_one(decisions: Decisions, labels: NDArray[Any], step: str, reason: str) -> None:
    """Of the rows with one label that are left, the preferred one stays."""
    left = decisions.left
    order = left[preferred(decisions.rows[left], labels[left])]
    again = labels[order][1:] == labels[order][:-1]
    decisions.cut(order[1:][again], step, reason)


def related_groups(decisions: Decisions, build: Build, work: Path, layout: Layout) -> NDArray[np.int32]:
    """For each row that is kept the label of its group of near-duplicates, ``ALONE`` where it has no other member.

    Documents that were cut link the ones that are kept.
    """
    groups = np.full(len(decisions.rows), ALONE, dtype=np.int32)
    if build.select.duplicates.near:
        labels = components(work, layout, build.select.duplicates.similarity * RELATED)
        members = np.bincount(labels[decisions.left], minlength=int(labels.max(initial=0)) + 1)
        together = decisions.left[members[labels[decisions.left]] > 1]
        groups[together] = labels[together]
    return groups


def _cut_crowded(
    decisions: Decisions, wanted: Diversity, build: Build, work: Path, layout: Layout, cache: Path, notify: Notify
) -> None:
    """Of each source that is clustered, what is not nearest to a centre goes."""
    from lft.corpus.embedding import embedded, model_folder
    from lft.corpus.select.diversity import nearest_to_centres

    model = model_folder(wanted.model)
    for place, source in enumerate(build.sources):
        if wanted.sources and source.name not in wanted.sources:
            continue
        mine = decisions.left[decisions.rows["source"][decisions.left] == place]
        if mine.size <= wanted.clusters:
            continue
        notify(f"embedding {mine.size} documents of {source.name}")
        vectors, places = embedded(_texts(work, layout, mine), model, cache)
        by_lot = np.argsort(decisions.rows["draw"][mine], kind="stable")
        chosen = by_lot[nearest_to_centres(vectors, places[by_lot], wanted.clusters, build.seed)]
        if (empty := wanted.clusters - chosen.size) > 0:
            decisions.notes.append(
                f"{source.name}: {empty:,} of {wanted.clusters:,} clusters are empty (equal embeddings), so"
                f" {chosen.size:,} documents stay"
            )
        decisions.cut(np.delete(mine, chosen), "diversity", "another document is nearer to the centre of its cluster")


def _texts(work: Path, layout: Layout, rows: NDArray[np.intp]) -> Iterator[str]:
    """The texts of rows, in the order of the rows, which must be ascending."""
    for index in range(len(layout.files)):
        begin, end = layout.offsets[index], layout.offsets[index + 1]
        wanted = set((rows[np.searchsorted(rows, begin) : np.searchsorted(rows, end)] - begin).tolist())
        if wanted:
            with (work / f"{index:05d}.jsonl").open(encoding="utf-8") as stream:
                yield from (json.loads(line)["text"] for number, line in enumerate(stream) if number in wanted)
