"""Copies and near-copies are found, strangers are not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.data.overlap import Duplicates, Pair, exact_duplicates, near_duplicates, normal_form

WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "rk", "lo", "st", "mu", "dge")]
TEXTS = st.lists(st.text(max_size=60), max_size=8)


def document(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def shingles_jaccard(a: str, b: str) -> float:
    """The definition, written out."""
    sets = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (a.split(), b.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def edited(text: str, rate: float, draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) if draw.random() < rate else word for word in text.split())


def test_exact_duplicates_see_through_case_width_and_white_space():
    texts = ["Straße  nach\nUlm", "other", "STRASSE nach ulm ", "ｏｔｈｅｒ", "", "  ", "alone"]
    found = exact_duplicates(texts)
    assert found == Duplicates(((0, 2), (1, 3)))
    assert found.extra == 2


@given(TEXTS)
def test_exact_duplicates_are_the_groups_of_equal_normal_forms(texts):
    grouped = {i for group in exact_duplicates(texts).groups for i in group}
    forms = [normal_form(text) for text in texts]
    assert grouped == {i for i, form in enumerate(forms) if form and forms.count(form) > 1}


@given(TEXTS, TEXTS)
@settings(deadline=None)
def test_an_identical_text_is_always_found_with_its_first_place(left, right):
    pairs = {pair.right_index: pair for pair in near_duplicates(left, right)}
    forms = [normal_form(text) for text in left]
    for j, text in enumerate(right):
        form = normal_form(text)
        if form and form in forms:
            assert pairs[j] == Pair(forms.index(form), j, 1.0, exact=True)


@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(1, 400))
@settings(deadline=None, max_examples=30)
def test_texts_without_a_common_shingle_never_match(seed, left_words, right_words):
    draw = random.Random(seed)
    left = [" ".join(f"l{draw.randrange(50)}" for _ in range(left_words)) for _ in range(5)]
    right = [" ".join(f"r{draw.randrange(50)}" for _ in range(right_words)) for _ in range(5)]
    assert near_duplicates(left, right, threshold=0.05) == []


@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.5, 0.7, 0.9]))
@settings(deadline=None, max_examples=15)
def test_a_pair_has_the_jaccard_of_its_shingles_and_reaches_the_threshold(seed, threshold):
    draw = random.Random(seed)
    left = [document(draw, draw.randrange(30, 200)) for _ in range(10)]
    right = [edited(text, draw.choice([0.01, 0.03, 0.1]), draw) for text in left]
    for pair in near_duplicates(left, right, threshold):
        assert pair.jaccard == pytest.approx(shingles_jaccard(left[pair.left_index], right[pair.right_index]))
        assert pair.jaccard >= threshold


@pytest.mark.parametrize(("rate", "threshold"), [(0.02, 0.7), (0.1, 0.3)])
def test_edited_copies_are_found_wherever_their_similarity_reaches_the_threshold(rate, threshold):
    draw = random.Random(7)
    left = [document(draw, draw.randrange(60, 400)) for _ in range(400)]
    right = [edited(text, rate, draw) for text in left]
    due = {i for i in range(400) if shingles_jaccard(left[i], right[i]) >= threshold}
    found = near_duplicates(left, right, threshold)
    assert len(due) > 200, "the edits leave enough pairs to find"
    assert all(pair.left_index == pair.right_index for pair in found)
    assert len({pair.right_index for pair in found} & due) >= 0.995 * len(due)


def test_a_copy_with_a_tenth_of_it_rewritten_in_one_place_is_found():
    draw = random.Random(8)
    left = [document(draw, 300) for _ in range(50)]
    right = [f"{text[: len(text) // 2]} {document(draw, 30)} {text[len(text) // 2 :]}" for text in left]
    assert [pair.left_index for pair in near_duplicates(left, right)] == list(range(50))


@pytest.mark.parametrize("script", [(0x4E00, 0x5800), (0x0E01, 0x0E2E), (0x3041, 0x3090)], ids=["han", "thai", "kana"])
def test_near_copies_are_found_in_scripts_without_spaces(script):
    draw = random.Random(9)
    left = ["".join(chr(draw.randrange(*script)) for _ in range(400)) for _ in range(30)]
    right = [text[:200] + "。" + text[203:] for text in left]
    found = near_duplicates(left, right)
    assert [pair.left_index for pair in found] == list(range(30))
    assert all(0.9 < pair.jaccard < 1 and not pair.exact for pair in found)


def test_the_nearest_left_text_is_the_one_reported():
    draw = random.Random(10)
    text = document(draw, 200)
    left = [edited(text, 0.03, draw), document(draw, 200), edited(text, 0.005, draw), edited(text, 0.03, draw)]
    (pair,) = near_duplicates(left, [text], threshold=0.5)
    assert pair.left_index == 2


def test_thousands_of_texts_of_one_template_stay_quick_and_are_found():
    draw = random.Random(11)
    head = document(draw, 120)
    left = [f"{head} number {i} {draw.choice(WORDS)}" for i in range(3000)]
    right = [f"{head} number {i} {draw.choice(WORDS)}" for i in range(3000, 3060)]
    assert len(near_duplicates(left, right)) == 60


def test_short_and_empty_texts():
    assert near_duplicates(["", "  ", "yes"], ["", "no", "YES"]) == [Pair(2, 2, 1.0, exact=True)]
    assert near_duplicates([], ["a"]) == []
    assert near_duplicates(["a"], []) == []
    assert near_duplicates(["\ud83d half"], ["\ud83d  half"]) == [Pair(0, 0, 1.0, exact=True)]


def test_the_answer_is_the_same_in_every_run():
    draw = random.Random(12)
    left = [document(draw, 80) for _ in range(40)]
    right = [edited(text, 0.02, draw) for text in left]
    assert near_duplicates(left, right) == near_duplicates(left, right)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1])
def test_a_threshold_outside_its_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates(["a"], ["a"], threshold)


def test_parallel_documents_of_two_languages_are_no_near_duplicates(shared_data):
    import json

    def texts(lang: str) -> list[str]:
        path = shared_data / "corpus" / f"gnome-help.{lang}.jsonl"
        return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]

    assert near_duplicates(texts("en"), texts("de")) == []
    found = near_duplicates(texts("ru"), [text.replace(".", " !", 2) for text in texts("ru")])
    assert len(found) > 0.95 * len(texts("ru"))
