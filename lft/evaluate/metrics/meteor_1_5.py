"""METEOR 1.5, the reference tool, as a second column: the jar of pycocoevalcap, where Java is on this machine."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from lft.errors import MachineError
from lft.evaluate.item import Row
from lft.evaluate.metric import Measured, Metric, Tools, means, ratio
from lft.evaluate.metrics.reasons import NO_REFERENCE, split

MEMORY: Final = "-Xmx2G"  # the paraphrase table takes most of it
FIX: Final = "install Java and: pip install --no-deps pycocoevalcap (105 MB)"
_SEGMENT: Final = re.compile(r"^Segment (\d+) score:\s+(\S+)$", re.M)


def missing() -> str | None:
    """What METEOR 1.5 lacks on this machine; None where it can be run."""
    if shutil.which("java") is None:
        return "METEOR 1.5 needs Java"
    return None if _jar() else "METEOR 1.5 needs the package pycocoevalcap, which has its jar"


def _jar() -> Path | None:
    spec = importlib.util.find_spec("pycocoevalcap")  # of a top-level name: looks, imports nothing
    places = (
        [Path(place) / "meteor" / "meteor-1.5.jar" for place in (spec.submodule_search_locations or ())] if spec else []
    )
    return next((place for place in places if place.is_file()), None)


def scores(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """METEOR 1.5 of each English answer against its reference, from 0 to 1.

    Raises:
        MachineError: Java or the package is missing, or Java failed.
    """
    why, jar = missing(), _jar()
    if why or jar is None:
        raise MachineError(why or "METEOR 1.5 is missing", fix=FIX)
    with TemporaryDirectory(prefix="lft-meteor-") as home:
        files = [_one_a_line(Path(home) / name, texts) for name, texts in (("h", answers), ("r", references))]
        command = ["java", MEMORY, "-Dfile.encoding=UTF-8", "-jar", str(jar), *map(str, files), "-l", "en", "-norm"]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    found = [float(number) for _, number in sorted(((int(a), b) for a, b in _SEGMENT.findall(done.stdout)))]
    if done.returncode or len(found) != len(answers):
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[0]
        raise MachineError(
            f"METEOR 1.5's Java program failed: {said[:200]}", where=str(jar), fix=f"free {MEMORY[4:]} of memory"
        )
    return found


def _one_a_line(file: Path, texts: Sequence[str]) -> Path:
    """The tool takes a line for a segment, so breaks inside a text become spaces."""
    file.write_bytes("".join(" ".join(text.split()) + "\n" for text in texts).encode("utf-8", "replace"))
    return file


def _measure(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:
    variant = "METEOR 1.5 (meteor-1.5.jar of pycocoevalcap), -l en -norm, line breaks stripped; mean of segments"
    if lang != "en":
        why = "METEOR 1.5 comes with English tables only"
        return Measured(means([None] * len(rows)), why, dict.fromkeys(range(len(rows)), why))
    values: list[float | str] = [NO_REFERENCE] * len(rows)
    asked = [place for place, row in enumerate(rows) if row.item.reference.split()]
    if asked:
        tools.notify(f"METEOR 1.5 scores {len(asked):,} answers in Java")
        texts = [(rows[place].output.text, rows[place].item.reference) for place in asked]
        answers, references = zip(*texts, strict=True)
        for place, value in zip(asked, scores(answers, references), strict=True):
            values[place] = value
    numbers, reasons = split(values)
    return Measured(means(numbers), variant, reasons)


METEOR_1_5: Final = Metric("meteor-1.5", "METEOR 1.5", _measure, ratio, "higher", overlap=True, scale=100)
