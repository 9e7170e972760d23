"""Speed of the metrics of `lft evaluate`: `python scripts/bench/evaluate.py meteor` and `… score`.

`meteor` scores the same pairs with NLTK's own loop (as Hugging Face's evaluate runs it) and with ours, in one process
and in two, with the largest difference. `score` times all metrics that need neither a model nor Java.

Texts are sentences of real documents in random order, from --material (JSON lines with `text`), else from the help
texts that come with Python. Asked: 5 times NLTK's throughput on 2 cores with the same numbers, WordNet loaded in under
1 s, 2,045 answers through all metrics in under 2 minutes. Processor time is of all processes; it does not depend on
what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lft.evaluate.item import Item, Output, Row, Wanted  # noqa: E402
from lft.evaluate.metric import Tools  # noqa: E402
from lft.evaluate.metrics import meteor, wordnet, words  # noqa: E402
from lft.evaluate.metrics.parallel import spread  # noqa: E402
from lft.evaluate.metrics.scoring import score_rows  # noqa: E402
from lft.evaluate.metrics.table import FROM_TEXTS  # noqa: E402

T = TypeVar("T")
MATERIAL = ROOT.parent / "shared" / "data" / "corpus"
TESTSET = 2045  # rows of LongForm's test set
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, rows, run in (("meteor", TESTSET, bench_meteor), ("score", TESTSET, bench_score)):
        command = commands.add_parser(name)
        command.add_argument("--rows", type=int, default=rows)
        command.add_argument("--words", type=int, default=300, help="of an answer, on the average")
        command.add_argument("--workers", type=int, default=2)
        command.add_argument("--material", type=Path, default=MATERIAL)
        command.set_defaults(run=run)
    given = parser.parse_args()
    given.run(given)


def texts(given: argparse.Namespace, pick: random.Random) -> list[str]:
    """Two texts a row, each of random sentences."""
    documents, where = list(topics.values()), "Python's help"
    files = sorted(given.material.glob("*.en.jsonl"))
    if files:
        lines = (json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())
        documents, where = [str(line.get("text") or "") for line in lines], str(given.material.name)
    sentences = [one for document in documents for one in _SENTENCE.split(document) if 3 < len(one.split()) < 60]
    made = [text_of(sentences, pick.uniform(0.3, 1.7) * given.words, pick) for _ in range(2 * given.rows)]
    said = [word for text in made for word in text.lower().split()]
    print(f"{given.rows:,} pairs, {len(said) / len(made):.0f} words a text, {len(set(said)):,} different; of {where}")
    return made


def text_of(sentences: list[str], words: float, pick: random.Random) -> str:
    chosen: list[str] = []
    while sum(len(one.split()) for one in chosen) < words:
        chosen.append(pick.choice(sentences))
    return " ".join(chosen)


def timed(run: Callable[[], T]) -> tuple[float, float, T]:
    """Seconds by the clock, seconds of all processes, and what came of it."""
    clock, before = time.perf_counter(), sum(os.times()[:4])
    found = run()
    return time.perf_counter() - clock, sum(os.times()[:4]) - before, found


def bench_meteor(given: argparse.Namespace) -> None:
    made = texts(given, random.Random(0))
    words.nltk_tokens("Importing NLTK takes longer than all else.", "en")
    pairs = list(zip(made[::2], made[1::2], strict=True))
    with tempfile.TemporaryDirectory() as home:
        cache = Path(home)
        for kind in ("first", "cached"):
            wordnet.open_wordnet.cache_clear()
            clock, spent, known = timed(lambda: wordnet.open_wordnet(cache, wordnet.FOLDER))
            print(f"WordNet    {kind:7} {clock:8.2f} s   processor {spent:8.2f} s")
        if known is None:
            print(wordnet.MISSING)
        of_row = partial(meteor._of_row, "en", cache, wordnet.FOLDER if known else None)
        score, tokens = nltks_own(cache, known is not None)
        print("texts to scores:")
        compare(
            {
                "1 process": lambda: spread(of_row, pairs, 1),
                "1 again": lambda: spread(of_row, pairs, 1),
                f"{given.workers} processes": lambda: spread(of_row, pairs, given.workers, patience=0),
                "NLTK": lambda: [score(tokens(right), tokens(answer)) for answer, right in pairs],
            }
        )
    cut = [(words.nltk_tokens(answer, "en"), words.nltk_tokens(right, "en")) for answer, right in pairs]
    stem, synonyms = words.stem_of("en"), known.synonyms if known else None
    print("tokens to scores, both for the second time:")
    compare(
        {
            "1 process": lambda: [meteor.score(answer, right, stem, synonyms) for answer, right in cut],
            "NLTK": lambda: [score(right, answer) for answer, right in cut],
        }
    )


def compare(runs: dict[str, Callable[[], list[float]]]) -> None:
    """Time runs over the same pairs, and print each beside the last one."""
    found = {name: timed(run) for name, run in runs.items()}
    clock, spent, wanted = found["NLTK"]
    for name, (ours, processor, scores) in found.items():
        apart = max(abs(one - other) for one, other in zip(scores, wanted, strict=True))
        print(
            f"{name:12} {ours:8.2f} s ({clock / ours:5.1f}x)   processor {processor:8.2f} s ({spent / processor:5.1f}x)"
            f"   {len(scores) / ours:7.0f} pairs/s   apart {apart:.0e}"
        )


def nltks_own(home: Path, synonyms: bool) -> tuple[Callable[..., float], Callable[[str], list[str]]]:
    """NLTK's meteor_score and tokenizer; its WordNet is loaded before."""
    import nltk
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer
    from nltk.translate.meteor_score import single_meteor_score

    from tests.wordnet_made import NoSynonyms, nltk_reader

    nltk.data.path.append(str(home))
    clock, spent, reader = timed(lambda: nltk_reader(wordnet.FOLDER, home) if synonyms else NoSynonyms)
    print(f"WordNet    NLTK    {clock:8.2f} s   processor {spent:8.2f} s")
    split, cut = PunktSentenceTokenizer(), NLTKWordTokenizer()
    return partial(single_meteor_score, wordnet=reader), lambda text: [
        word for sentence in split.tokenize(text) for word in cut.tokenize(sentence)
    ]


def bench_score(given: argparse.Namespace) -> None:
    made = texts(given, random.Random(1))
    rows = [
        Row(
            Item(str(place), "en", "s", "t", "write", "", right, (Wanted(given.words), Wanted(9, "sentences"))),
            Output(answer, finish="stop"),
        )
        for place, (answer, right) in enumerate(zip(made[::2], made[1::2], strict=True))
    ]
    total = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as home:
        tools = Tools(given.workers, Path(home), str)
        for metric in FROM_TEXTS:
            clock, spent, (columns, _) = timed(partial(score_rows, rows, [metric], tools))
            column = columns[metric.name]
            score = metric.scale * float(metric.score(column.sums.sum(axis=0)))
            line = f"{metric.name:16} {clock:8.2f} s   processor {spent:8.2f} s   score {score:.2f}"
            if column.floor is not None:
                line += f"   floor {metric.scale * float(metric.score(column.floor.sum(axis=0))):.2f}"
            print(line)
            total = [total[0] + clock, total[1] + spent]
    print(f"{'all':16} {total[0]:8.2f} s   processor {total[1]:8.2f} s")


if __name__ == "__main__":
    main()
