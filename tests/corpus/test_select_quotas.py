"""How many of what: never too many, never fewer than would fit, and always the same."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.schema import Quotas
from lft.corpus.select.quotas import drawn
from lft.corpus.select.rows import LENGTHS, ROW, draw_of
from tests.corpus.selecting import build, document, prose, selected

SOURCES = ("one", "two", "three")
LANGS = ("de", "en")
Kind = tuple[int, int, int]


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Kind], Quotas]:
    kinds = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 3)), max_size=60))
    some = st.integers(0, 20)
    return kinds, Quotas(
        total=draw(st.none() | st.integers(1, 40)),
        by_source=draw(st.dictionaries(st.sampled_from(SOURCES), some)),
        by_lang=draw(st.dictionaries(st.sampled_from(LANGS), some)),
        by_length=draw(st.dictionaries(st.sampled_from(LENGTHS), some)),
    )


def rows_of(kinds: list[Kind], first: int = 0) -> np.ndarray:
    rows = np.zeros(len(kinds), dtype=ROW)
    for i, (source, lang, length) in enumerate(kinds):
        rows[i]["draw"] = draw_of(f"{first + i}", 42)
        rows[i]["source"], rows[i]["lang"], rows[i]["length"] = source, LANGS[lang].encode(), length
    return rows


def classes(kind: Kind, wanted: Quotas) -> list[tuple[str, int | None]]:
    """The quotas that a document falls under, and their sizes."""
    source, lang, length = SOURCES[kind[0]], LANGS[kind[1]], LENGTHS[kind[2]]
    return [
        ("the whole", wanted.total),
        (f"source {source}", wanted.by_source.get(source)),
        (f"language {lang}", wanted.by_lang.get(lang)),
        (f"length {length}", wanted.by_length.get(length)),
    ]


@given(corpora())
def test_quotas_hold_and_nothing_is_refused_that_had_a_place(given: tuple[list[Kind], Quotas]) -> None:
    kinds, wanted = given
    refused = drawn(rows_of(kinds), wanted, SOURCES)
    used: Counter[str] = Counter()
    for kind, reason in zip(kinds, refused, strict=True):
        if reason is None:
            used.update(name for name, _ in classes(kind, wanted))
    for kind, reason in zip(kinds, refused, strict=True):
        full = [name for name, size in classes(kind, wanted) if size is not None and used[name] == size]
        assert all(size is None or used[name] <= size for name, size in classes(kind, wanted))
        assert (reason is None) or reason in [f"the quota of {name} is full" for name in full]


@given(corpora(), st.randoms())
def test_the_draw_does_not_depend_on_order(given: tuple[list[Kind], Quotas], lot: random.Random) -> None:
    kinds, wanted = given
    rows = rows_of(kinds)
    order = list(range(len(kinds)))
    lot.shuffle(order)
    assert [drawn(rows, wanted, SOURCES)[i] for i in order] == drawn(rows[order], wanted, SOURCES)


@given(corpora(), st.integers(1, 30), st.integers(0, 30))
def test_a_larger_total_keeps_what_a_smaller_one_took(given: tuple[list[Kind], Quotas], total: int, more: int) -> None:
    rows = rows_of(given[0])
    few, many = (drawn(rows, Quotas(total=size), SOURCES) for size in (total, total + more))
    assert all(after is None for before, after in zip(few, many, strict=True) if before is None)


def test_a_total_keeps_the_shares_of_the_strata() -> None:
    kinds = [(0, 0, 0)] * 600 + [(1, 1, 2)] * 300 + [(2, 0, 1)] * 100
    refused = drawn(rows_of(kinds), Quotas(total=100), SOURCES)
    taken = Counter(kind for kind, reason in zip(kinds, refused, strict=True) if reason is None)
    assert taken == {(0, 0, 0): 60, (1, 1, 2): 30, (2, 0, 1): 10}


def test_another_seed_draws_others(tmp_path: Path) -> None:
    lot = random.Random(1)
    documents = [document(i, prose(lot)) for i in range(40)]
    chosen = []
    for seed in (1, 2, 1):
        wanted = build(quotas={"total": 10}).model_copy(update={"seed": seed})
        report, left = selected(tmp_path, documents, wanted)
        assert report.cut["the quota of the whole is full"].count == 30
        chosen.append([one.id for one in left])
    assert chosen[0] == chosen[2]
    assert chosen[0] != chosen[1]
