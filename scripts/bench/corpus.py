"""Speed and memory of `lft corpus`: `python scripts/bench/corpus.py select`, memory of `… screen`.

Documents are made of sentences of real ones, each with the length of a real one. Targets are those of the issue that
asked for them; the table says what was measured here.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MATERIAL = ROOT.parent / "shared" / "data" / "corpus"
TARGET = 2000  # documents/s on two cores
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_LANGS = ("en", "de", "es", "fr", "ru")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    select = commands.add_parser("select", help="selection: rules and duplicates, no embeddings")
    select.add_argument("--documents", type=int, default=5000)
    select.add_argument("--workers", type=int, default=2)
    select.add_argument("--files", type=int, default=4)
    select.add_argument("--repeat", type=int, default=3)
    select.add_argument("--material", type=Path, default=MATERIAL)
    select.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # the measured process: a folder of documents
    screen = commands.add_parser("screen", help="memory of screening by rules, which holds its pairs")
    screen.add_argument("--pairs", type=int, default=10_000)
    screen.add_argument("--material", type=Path, default=MATERIAL)
    given = parser.parse_args()
    if given.command == "screen":
        bench_screen(given)
    elif given.one:
        one_run(given.one, given.workers)
    else:
        bench_select(given)


def bench_screen(given: argparse.Namespace) -> None:
    """Growth of the peak from so many pairs to four times as many."""
    from lft.ask.ledger import open_ledger
    from lft.corpus.screen.run import Models, screen

    lot, peaks = random.Random(7), []
    sentences, lengths = read_material(given.material)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in (20, given.pairs, 4 * given.pairs):
            size = write_pairs(folder / "pairs.jsonl", (pair(lot, sentences, lengths, n) for n in range(count)))
            out = folder / str(count)
            out.mkdir()
            with open_ledger(folder / "ledger.jsonl", print) as ledger:
                none = Models(*([lambda *_: None] * 3))
                screen(make_build(1), folder / "pairs.jsonl", out, none, ledger, folder / "scores", print)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    each = (peaks[2] - peaks[1]) * 1024 / (3 * given.pairs)
    print(
        f"{each / 1e3:.1f} kB a pair, where texts have {size / 4 / given.pairs / 1e3:.1f} kB; peak {peaks[2] >> 10} MB"
    )


def write_pairs(path: Path, records: Iterator[dict]) -> int:
    """A file of pairs; bytes of their texts."""
    size = 0
    with path.open("w", encoding="utf-8") as stream:
        for record in records:
            size += len(record["output"].encode())
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
    return size


def pair(lot: random.Random, sentences: dict, lengths: list[int], number: int) -> dict:
    document = next(documents(lot, sentences, lengths, number, []))
    about = {key: document[key] for key in ("source", "lang", "licence", "where")}
    asked = {"input": f"{lot.choice(sentences[document['lang']])}?", "style": "instruction", "subset": "instruction"}
    return {"id": document["id"], "output": document["text"], "length_clause": "", "scores": {}, **asked, **about}


def bench_select(given: argparse.Namespace) -> None:
    """Speed at 1x, then peak memory at 1x and 10x."""
    runs = []
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "documents")
            count, words = make(folder, given.material, given.documents * times, given.files)
            print(f"\n{count} documents, {words / count:.0f} words on average, in {given.files} files", flush=True)
            for _ in range(given.repeat if times == 1 else 1):
                runs.append(measured(folder, given.workers))
                print_run(count, runs[-1])
    grown = runs[-1]["peak_mb"] - runs[0]["peak_mb"]
    print(f"\nmemory: {grown:+.0f} MB a process for {given.documents * 9} more documents", end="")
    print(f" ({grown * 1e6 / given.documents / 9:.0f} bytes each)")


def print_run(count: int, run: dict) -> None:
    speed = count / run["seconds"]
    verdict = "reached" if speed >= TARGET else "missed"
    print(
        f"  {speed:6.0f} documents/s wall (target {TARGET}: {verdict}), {run['cpu'] / count * 1e3:.2f} ms of processor",
        end="",
    )
    print(f" a document, {count / run['cpu'] * 2:.0f}/s if two processors were free; {run['kept']} kept", end="")
    print(f"; peak {run['peak_mb']:.0f} MB (largest process)")
    print("         " + ", ".join(f"{name} {share:.0%}" for name, share in run["shares"].items()), flush=True)


def measured(folder: Path, workers: int) -> dict:
    """One selection in a process of its own."""
    command = [sys.executable, __file__, "select", "--one", str(folder), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def one_run(folder: Path, workers: int) -> None:
    """Imports and the forkserver are not in the time: a build has them behind it when it selects."""
    sys.path.insert(0, str(ROOT))
    from lft.corpus.select import select

    build = make_build(workers)
    marks: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        small = Path(name, "warm")
        make(small, MATERIAL, 40, workers)
        select(build, small, Path(name, "a"), print_nothing)
        peaks = Peaks()
        peaks.start()
        before, begin = processor_seconds(), time.perf_counter()
        report = select(build, folder, Path(name, "b"), lambda line: marks.append((line, time.perf_counter())))
        end = time.perf_counter()
        peaks.ended.set()
    marks = [("setting up", begin), *marks, ("", end)]
    shares = {line.split(" ")[0]: (after - at) / (end - begin) for (line, at), (_, after) in itertools.pairwise(marks)}
    found = {"seconds": end - begin, "cpu": processor_seconds() - before, "shares": shares, "kept": report.kept}
    print(json.dumps({**found, "peak_mb": peaks.largest / 1e6}))


def print_nothing(line: str) -> None:
    del line


def processor_seconds() -> float:
    """Of this process, its children, and theirs that have ended (datatrove's workers)."""
    own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    ended = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    return own + ended + sum(map(_seconds, _children(os.getpid())))


def _children(process: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _seconds(process: int) -> float:
    """Of a process and of the children that it has waited for."""
    parts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, parts[11:15])) / os.sysconf("SC_CLK_TCK")


class Peaks(threading.Thread):
    """The largest resident memory of any process of this family, looked at every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.largest = 0

    def run(self) -> None:
        while not self.ended.wait(0.02):
            family = [os.getpid()]
            for one in family:
                family += _children(one)
                with contextlib.suppress(OSError, IndexError):
                    status = Path(f"/proc/{one}/status").read_text()
                    self.largest = max(self.largest, int(status.split("VmHWM:")[1].split()[0]) * 1024)


def make_build(workers: int):
    from lft.corpus.schema import Build

    return Build.model_validate(
        {
            "name": "bench",
            "sources": [{"name": f"real-{lang}", "kind": "text", "path": "x", "licence": "x"} for lang in _LANGS],
            "instruct": {"backend": {"kind": "transformers", "model": "x"}},
            "select": {"quality": {"c4": False}},
            "run": {"tasks": workers, "workers": workers},
        }
    )


def make(folder: Path, material: Path, count: int, files: int) -> tuple[int, int]:
    """Documents of real sentences; 2 % are copies in capitals, 2 % copies with one more. Returns documents, words."""
    lot = random.Random(7)
    sentences, lengths = read_material(material)
    written = words = 0
    recent: list[dict] = []
    streams = []
    for index in range(files):
        place = folder / "real" / f"{index:05d}.jsonl"
        place.parent.mkdir(parents=True, exist_ok=True)
        streams.append(place.open("w", encoding="utf-8"))
    while written < count:
        record = next(documents(lot, sentences, lengths, written, recent))
        recent = [*recent[-20:], record]
        words += len(record["text"].split())
        streams[written % files].write(json.dumps(record, ensure_ascii=False) + "\n")
        written += 1
    for stream in streams:
        stream.close()
    return written, words


def documents(
    lot: random.Random, sentences: dict, lengths: list[int], number: int, recent: list[dict]
) -> Iterator[dict]:
    kind = lot.random()
    if recent and kind < 0.04:
        old = lot.choice(recent)
        text = old["text"].upper() if kind < 0.02 else old["text"] + " " + lot.choice(sentences[old["lang"]])
        yield {**old, "id": f"{number:016x}", "text": text}
        return
    lang, wanted, parts = lot.choice(_LANGS), lot.choice(lengths), []
    while wanted > 0:
        parts.append(lot.choice(sentences[lang]))
        wanted -= len(parts[-1].split())
        parts.append("\n\n" if lot.random() < 0.2 else " ")
    about = {"source": f"real-{lang}", "lang": lang, "detected": lang, "licence": "CC0-1.0", "where": f"bench/{number}"}
    empty = {"subset": "", "title": "", "question": "", "style": None, "score": None}
    yield {"id": f"{number:016x}", "text": "".join(parts).strip(), **about, **empty}


def read_material(folder: Path) -> tuple[dict[str, list[str]], list[int]]:
    """Sentences of 4 to 50 words by language, and the lengths of documents in words (of 30 to 2,000)."""
    sentences: dict[str, list[str]] = {lang: [] for lang in _LANGS}
    lengths = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            lengths.append(len(record["text"].split()))
            found = _SENTENCE.split(record["text"].replace("\n", " "))
            sentences[record["lang"]] += [one for one in found if 4 <= len(one.split()) <= 50]
    return sentences, [length for length in lengths if 30 <= length <= 2000]


if __name__ == "__main__":
    main()
