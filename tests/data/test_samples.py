"""The sample that comes with lft is what its README says: sizes, splits, languages, true length clauses, no copies."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations

import pytest

from lft.data.locate import SAMPLES
from lft.data.overlap import exact_duplicates, near_duplicates

ROWS = [json.loads(line) for line in (SAMPLES / "longform-mini.jsonl").read_text(encoding="utf-8").splitlines()]
README = (SAMPLES / "README.md").read_text(encoding="utf-8")
SPLITS = ("train", "validation", "test")
LANGUAGES = ("en", "de", "es", "fr", "ru")
FIELDS = {"input", "output", "source", "subset", "lang", "split"}

_ASK = r"(?:Respond in|Antworte in|Responde en|Réponds en|Ответь в) (\d+) "
IN_WORDS = re.compile(_ASK + r"(?:words|Wörtern|palabras|mots|словах)\.")
IN_SENTENCES = re.compile(_ASK + r"(?:sentences|Sätzen|oraciones|phrases|предложениях)\.")
SENTENCE_END = re.compile(r"[.!?…]+[\"”»)’]*(?=\s|$)")


def clauses(pattern):
    """(number asked for, output) of the rows with such a clause."""
    return [(int(found[1]), row["output"]) for row in ROWS if (found := pattern.search(row["input"]))]


def test_every_row_has_the_six_fields_as_text():
    assert all(set(row) == FIELDS for row in ROWS)
    assert all(isinstance(value, str) and value and value == value.strip() for row in ROWS for value in row.values())


def test_there_are_eighty_english_rows_and_twenty_of_each_other_language():
    assert len(ROWS) == 160
    assert Counter(row["lang"] for row in ROWS) == {"en": 80, "de": 20, "es": 20, "fr": 20, "ru": 20}


def test_russian_is_cyrillic_and_the_others_are_latin():
    for row in ROWS:
        letters = [char for char in row["output"] if char.isalpha()]
        cyrillic = sum("\u0400" <= char <= "\u04ff" for char in letters) / len(letters)
        assert cyrillic > 0.8 if row["lang"] == "ru" else cyrillic < 0.05, row["input"]


def test_each_language_has_all_six_kinds_of_text_and_all_three_ways_to_ask():
    for lang in LANGUAGES:
        rows = [row for row in ROWS if row["lang"] == lang]
        assert {row["source"] for row in rows} == {
            "encyclopedia", "how-to", "question-answer", "story", "recipe", "e-mail",
        }  # fmt: skip
        assert {row["subset"] for row in rows} == {"instruction", "chatbot", "search-engine"}


def test_outputs_have_80_to_400_words():
    assert all(80 <= len(row["output"].split()) <= 400 for row in ROWS)


def test_a_number_of_words_that_is_asked_for_is_kept():
    asked = clauses(IN_WORDS)
    assert [number for number, _ in asked] == [len(output.split()) for _, output in asked]
    assert len(asked) == 23


def test_a_number_of_sentences_that_is_asked_for_is_kept():
    asked = clauses(IN_SENTENCES)
    assert [number for number, _ in asked] == [len(SENTENCE_END.findall(output)) for _, output in asked]
    assert len(asked) == 21


def test_answers_in_detail_are_the_longest():
    detailed = [len(row["output"].split()) for row in ROWS if "Respond in detail." in row["input"]]
    others = [len(row["output"].split()) for row in ROWS if "Respond in detail." not in row["input"]]
    assert len(detailed) == 6
    assert min(detailed) > max(others)


@pytest.mark.parametrize("field", ["input", "output"])
def test_no_text_stands_there_twice_nor_nearly_in_another_split(field):
    assert exact_duplicates([row[field] for row in ROWS]).extra == 0
    texts = {split: [row[field] for row in ROWS if row["split"] == split] for split in SPLITS}
    assert all(near_duplicates(texts[left], texts[right], 0.3) == [] for left, right in combinations(SPLITS, 2))


def test_the_readme_counts_what_is_there():
    for split in SPLITS:
        counts = Counter(row["lang"] for row in ROWS if row["split"] == split)
        numbers = [*(counts[lang] for lang in LANGUAGES), counts.total()]
        assert f"| {split} | {' | '.join(map(str, numbers))} |" in README
    for field in ("source", "subset"):
        for name, count in Counter(row[field] for row in ROWS).items():
            assert f"`{name}` {count}" in README


def test_the_readme_states_the_licence():
    assert "CC0 1.0" in README
