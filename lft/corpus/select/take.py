"""Write the documents that are taken, one file for each input file, and pick up samples and groups on the way."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from datatrove.pipeline.base import PipelineStep
from numpy.typing import NDArray

from lft.corpus.select.decide import ALONE, KEPT, Decisions
from lft.corpus.select.rows import Layout, files_of
from lft.corpus.select.tally import Shown, Tally
from lft.corpus.step import SHOWN
from lft.files import new_file, write_text

GROUPS: Final = "groups.json"
_DECIDED: Final = np.dtype([("code", "<u2"), ("group", "<i4"), ("shown", "?")])


def save_decisions(decisions: Decisions, groups: NDArray[np.int32], work: Path) -> None:
    """What ``Take`` works by. Of each reason those with the least lots are shown."""
    decided = np.zeros(len(groups), dtype=_DECIDED)
    decided["code"], decided["group"] = decisions.codes, groups
    for code in range(1, len(decisions.reasons)):
        cut = np.flatnonzero(decisions.codes == code)
        decided["shown"][cut[np.argsort(decisions.rows["draw"][cut], kind="stable")[:SHOWN]]] = True
    np.save(work / "decided.npy", decided)


class Take(PipelineStep):  # type: ignore[misc]
    """Copy the lines of documents that are kept."""

    type = "lft select"
    name = "documents that are taken"

    def __init__(self, layout: Layout, work: Path, out: Path) -> None:
        super().__init__()
        self._layout, self._work, self._out = layout, work, out

    def run(self, _: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the files of this task."""
        decided = np.load(self._work / "decided.npy", mmap_mode="r")
        for index in files_of(rank, world_size, len(self._layout.files)):
            begin, end = self._layout.offsets[index], self._layout.offsets[index + 1]
            picked = self._file(index, decided[begin:end], int(begin))
            write_text(self._work / f"{index:05d}.picked", json.dumps(picked))

    def _file(self, index: int, decided: NDArray[Any], begin: int) -> dict[str, list[Any]]:
        codes, groups, shown = (decided[name].tolist() for name in ("code", "group", "shown"))
        members, samples = [], []
        with (
            (self._work / f"{index:05d}.jsonl").open(encoding="utf-8") as lines,
            new_file(self._out / f"{index:05d}.jsonl") as draft,
            draft.open("w", encoding="utf-8") as taken,
        ):
            for place, line in enumerate(lines):
                if codes[place] == KEPT:
                    taken.write(line)
                if groups[place] != ALONE:
                    members.append((groups[place], json.loads(line)["id"]))
                if shown[place]:
                    record = json.loads(line)
                    samples.append((begin + place, record["id"], record["text"]))
        return {"members": members, "samples": samples}


def picked_up(decisions: Decisions, work: Path, out: Path, tally: Tally) -> tuple[tuple[str, ...], ...]:
    """Add what was decided to a tally, write the groups of near-duplicates beside the documents, and return them."""
    samples: dict[int, list[Shown]] = defaultdict(list)
    members: dict[int, list[str]] = defaultdict(list)
    for path in sorted(work.glob("*.picked")):
        picked = json.loads(path.read_text(encoding="utf-8"))
        for row, id, text in picked["samples"]:
            samples[int(decisions.codes[row])].append(Shown(int(decisions.rows["draw"][row]), id, text))
        for group, id in picked["members"]:
            members[group].append(id)
    counts = np.bincount(decisions.codes, minlength=len(decisions.reasons))
    for code, (step, reason) in enumerate(decisions.reasons):
        if code != KEPT and counts[code]:
            tally.add(step, reason, int(counts[code]), samples[code])
    return _write_groups(out, members.values())


def read_groups(folder: Path) -> tuple[tuple[str, ...], ...]:
    """Ids of documents that are near-duplicates of each other; no split of the data may divide one of these groups."""
    return tuple(tuple(group) for group in json.loads((folder / GROUPS).read_text(encoding="utf-8"))["groups"])


def _write_groups(out: Path, members: Iterable[list[str]]) -> tuple[tuple[str, ...], ...]:
    groups = tuple(sorted(tuple(sorted(group)) for group in members))
    write_text(out / GROUPS, json.dumps({"groups": groups}, indent=1))
    return groups
