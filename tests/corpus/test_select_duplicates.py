"""Copies, near copies, and groups of them that no split may divide."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lft.corpus.select import read_groups
from lft.corpus.select.near import Banding, banding
from lft.corpus.select.words import shingles, words
from tests.corpus.selecting import build, document, made_up, prose, renamed, selected

EXACT = {"exact": True, "near": False}
NEAR = {"exact": False, "near": True}
SLOWLY = settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])


def copied(text: str, lot: random.Random) -> str:
    """The same words in another case, with other space and punctuation."""
    between = [" ", "  ", "\n", ", ", " — ", "; ", " («", "\t"]
    return "".join((word.upper() if lot.random() < 0.5 else word) + lot.choice(between) for word in words(text))


def at_similarity(lot: random.Random, wanted: float, size: int = 400) -> tuple[str, str, float]:
    """Two texts whose word 5-grams have about a Jaccard similarity, and which one they have."""
    shared = [made_up(lot) + str(i) for i in range(round(2 * size * wanted / (1 + wanted)))]
    rest = size - len(shared)
    left, right = (" ".join(shared + [f"{side}{i}" for i in range(rest)]) for side in "ab")
    a, b = (set(shingles(text).tolist()) for text in (left, right))
    return left, right, len(a & b) / len(a | b)


@SLOWLY
@given(seed=st.integers(0, 10**6))
def test_a_copy_in_another_case_and_space_is_always_found(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    lot = random.Random(seed)
    texts = [prose(lot, lot.randint(1, 60)) for _ in range(4)]
    documents = [document(i, text) for i, text in enumerate([*texts, *(copied(text, lot) for text in texts)])]
    for wanted in (EXACT, NEAR):
        _, left = selected(tmp_path_factory.mktemp("copies"), documents, build(duplicates=wanted))
        assert len(left) == len({tuple(words(text)) for text in texts})


@SLOWLY
@given(seed=st.integers(0, 10**6))
def test_unrelated_texts_are_never_duplicates(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    lot = random.Random(seed)
    documents = [document(i, prose(lot)) for i in range(40)]
    report, left = selected(tmp_path_factory.mktemp("others"), documents, build(duplicates={}))
    assert left == documents
    assert report.figures["groups"] == 0


def test_minhash_finds_pairs_at_their_similarity(tmp_path: Path) -> None:
    lot = random.Random(3)
    documents, kinds = [], []
    for number, wanted in enumerate([0.9] * 60 + [0.65] * 60 + [0.3] * 60):
        left, right, real = at_similarity(lot, wanted)
        assert abs(real - wanted) < 0.02
        documents += [document(2 * number, left), document(2 * number + 1, right)]
        kinds.append(wanted)
    _, kept = selected(tmp_path, documents, build(duplicates=NEAR))
    there = {one.id for one in kept}
    lost = [documents[2 * n].id not in there or documents[2 * n + 1].id not in there for n in range(len(kinds))]
    by_kind = {
        wanted: sum(gone for gone, kind in zip(lost, kinds, strict=True) if kind == wanted) for wanted in set(kinds)
    }
    assert by_kind[0.9] == 60
    assert by_kind[0.65] <= 1
    assert by_kind[0.3] == 0
    grouped = {frozenset(group) for group in read_groups(tmp_path / "out")}
    related = [frozenset({documents[2 * n].id, documents[2 * n + 1].id}) in grouped for n in range(60, 120)]
    assert sum(related) >= 42  # 19 of 20 agree in a band; the estimate of one in eight is below 0.6


def test_bands_are_as_long_as_they_may_be() -> None:
    for similarity in np.arange(0.3, 1.01, 0.05).tolist():
        chosen = banding(similarity)
        longer = Banding(128 // (chosen.hashes + 1), chosen.hashes + 1)
        assert chosen.found(similarity) >= 0.99
        assert chosen.found(0.8 * similarity) >= 0.85
        assert longer.found(similarity) < 0.99 or longer.found(0.8 * similarity) < 0.85
    assert banding(0.75) == Banding(25, 5)


def test_of_copies_the_one_of_the_first_source_stays_and_then_the_longest(tmp_path: Path) -> None:
    lot = random.Random(4)
    text = prose(lot)
    first, second = document(1, text, source="two"), document(2, text, source="one")
    longer = document(3, text.replace(" ", "  "), source="one")
    _, left = selected(tmp_path, [first, second, longer], build(duplicates=EXACT))
    assert [one.id for one in left] == [longer.id]


def test_what_is_kept_does_not_depend_on_order_or_files(tmp_path: Path) -> None:
    lot = random.Random(5)
    texts = [prose(lot) for _ in range(10)]
    documents = [document(i, copied(texts[i % 10], lot) + " end" * (i % 2)) for i in range(40)]
    kept = []
    for name in ("a", "b"):
        lot.shuffle(documents)
        _, left = selected(tmp_path / name, documents, build(duplicates={}))
        kept.append(left)
    assert kept[0] == kept[1]


def test_related_documents_are_linked_through_one_that_was_cut(tmp_path: Path) -> None:
    lot = random.Random(6)
    base = words(prose(lot, 300))
    middle = document(1, " ".join(base), source="two")
    ends = [document(2, " ".join(base[:220])), document(3, " ".join(base[80:]))]  # 0.73 to it, 0.46 to each other
    wanted = build(duplicates=NEAR | {"similarity": 0.8}, quotas={"by_source": {"two": 0}})
    _, left = selected(tmp_path, [middle, *ends], wanted)
    assert left == ends
    assert read_groups(tmp_path / "out") == (tuple(one.id for one in ends),)


def test_groups_hold_only_what_is_kept(tmp_path: Path) -> None:
    lot = random.Random(7)
    left, right, _ = at_similarity(lot, 0.65)
    documents = [document(1, left), document(2, right), renamed(document(1, left), 3)]
    report, kept = selected(tmp_path, documents, build(duplicates={}))
    assert len(kept) == 2
    assert read_groups(tmp_path / "out") == (tuple(sorted(one.id for one in kept)),)
    assert (report.figures["groups"], report.figures["grouped_documents"]) == (1, 2)


def test_without_minhash_the_report_says_that_splits_may_divide_near_copies(tmp_path: Path) -> None:
    report, _ = selected(tmp_path, [document(1, "a few words")], build(duplicates=EXACT))
    assert any("were not looked for" in note for note in report.notes)
    assert read_groups(tmp_path / "out") == ()
