"""How often the language of a text is seen, by language and by number of words.

    python scripts/bench/languages.py shared/data/corpus

The folder holds *.jsonl with lang and text. Whole documents first, then pieces of so many words from 400 documents
(30 words or more) spread evenly over each language. "sure" are wrong answers with a confidence of at least 0.5, which
is from where on `select.language` cuts by default.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path

from lft.corpus.language import detected

PIECES = (3, 5, 10, 20)
PIECES_OF = 400  # documents a language


def texts(folder: Path) -> dict[str, list[str]]:
    found = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[row["lang"]].append(row.get("text") or "")
    return dict(sorted(found.items()))


def spread(all_texts: list[str]) -> list[str]:
    return all_texts[:: max(1, len(all_texts) // PIECES_OF)][:PIECES_OF]


def rate(lang: str, pieces: list[str]) -> str:
    answers = [detected(piece) for piece in pieces]
    wrong = [confidence for found, confidence in answers if found != lang]
    sure = sum(confidence >= 0.5 for confidence in wrong)
    return f"{100 * (1 - len(wrong) / len(pieces)):5.1f} %  of {len(pieces):5}   sure but wrong {sure}"


def main(folder: Path) -> None:
    by_lang = texts(folder)
    detected("warm up")
    began = time.perf_counter()
    for lang, all_texts in by_lang.items():
        print(f"{lang}  whole     {rate(lang, all_texts)}")
    spent = time.perf_counter() - began
    print(f"{1000 * spent / sum(map(len, by_lang.values())):.2f} ms a document")
    by_lang = {lang: [text for text in all_texts if len(text.split()) >= 30] for lang, all_texts in by_lang.items()}
    for words in PIECES:
        for lang, all_texts in by_lang.items():
            pieces = [" ".join(text.split()[10 : 10 + words]) for text in spread(all_texts)]
            print(f"{lang}  {words:2} words  {rate(lang, pieces)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
