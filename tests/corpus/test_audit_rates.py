"""The sample, the ratings' file, and what the ratings say."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.cli.main import run
from lft.corpus.audit.rates import as_text, report
from lft.corpus.audit.ratings import QUESTIONS, Rating, Ratings
from lft.corpus.audit.sample import Item, draw, items_of, load_items, names_of, save_items
from lft.errors import InputError, RecipeError


def item(number: int, stratum: str = "", dataset: str = "ours") -> Item:
    return Item(f"{dataset}{number:04}", dataset, f"Ask {number}", f"Text {number}", stratum)


def said(one: Item, rater: str, *values: int) -> Rating:
    four = values if len(values) == 4 else (values[0],) * 4
    return Rating(one.id, rater, dict(zip(QUESTIONS, four, strict=True)))


def as_known(ratings: list[Rating]) -> dict[tuple[str, str], Rating]:
    return {(one.item, one.rater): one for one in ratings}


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1), st.integers(1, 60), st.integers(0, 5)
)
def test_every_stratum_has_its_share_and_the_order_does_not_count(
    sizes: dict[str, int], number: int, seed: int
) -> None:
    items = [item(n, name, name) for name, size in sizes.items() for n in range(size)]
    drawn = draw(items, number, seed)
    total = sum(sizes.values())
    assert len(drawn) == len(set(drawn)) == min(number, total)
    assert draw(list(reversed(items)), number, seed) == drawn
    for name, size in sizes.items():
        share = sum(one.stratum == name for one in drawn)
        assert share <= size
        if number >= len(sizes):
            assert share >= 1
            assert abs(share - number * size / total) <= len(sizes) or number > total


def test_equal_pairs_are_judged_once(tmp_path: Path) -> None:
    rows = [{"input": "Ask", "output": "Text"}] * 3 + [{"input": "Ask", "output": "Other"}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = items_of(str(tmp_path / "d.jsonl"), "d", "train", tmp_path / "cache", lambda _: None)
    assert len(draw(items, 10, 0)) == 2


def test_builds_of_one_folder_name_are_two_data_sets(tmp_path: Path) -> None:
    one, two, other = str(tmp_path / "one/6-write"), str(tmp_path / "two/6-write"), str(tmp_path / "x/two/6-write")
    assert names_of([one, two, "tatsu-lab/alpaca", "rows.jsonl"]) == {
        "one": one,
        "two": two,
        "alpaca": "tatsu-lab/alpaca",
        "rows.jsonl": "rows.jsonl",
    }
    assert names_of([one, two, other]) == {"one": one, two: two, other: other}
    with pytest.raises(RecipeError, match="compared with itself"):
        names_of([one, one])


def test_items_are_found_again_and_an_empty_folder_is_told_what_to_do(tmp_path: Path) -> None:
    items = [item(1), item(2, "de")]
    save_items(tmp_path, items)
    assert load_items(tmp_path) == items
    with pytest.raises(InputError, match="no audit lies here"):
        load_items(tmp_path / "other")


def test_a_raters_last_word_counts_and_a_torn_line_loses_no_other(tmp_path: Path) -> None:
    ratings = Ratings(tmp_path)
    ratings.add(said(item(1), "anna", 0))
    with (tmp_path / "ratings.jsonl").open("a") as stream:
        stream.write('{"item": "ours00')
    ratings.add(said(item(1), "anna", 2))
    ratings.add(said(item(1), "ben", 1))
    found = ratings.last()
    assert found["ours0001", "anna"].answers["relevance"] == 2
    assert len(found) == 2


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"item": "a", "rater": " ", "answers": dict.fromkeys(QUESTIONS, 2)},
        {"item": "a", "rater": "anna", "answers": {"relevance": 2}},
        {"item": "a", "rater": "anna", "answers": dict.fromkeys(QUESTIONS, 3)},
        {"item": "a", "rater": "anna", "answers": dict.fromkeys(QUESTIONS, True)},
    ],
)
def test_what_is_no_rating_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Rating.of(record)


def test_rates_are_those_of_the_paper_for_97_of_100() -> None:
    items = [item(number) for number in range(100)]
    rate = report(items, as_known([said(one, "anna", 2 if n < 97 else 0) for n, one in enumerate(items)])).rates["ours"]
    assert rate["relevance"].yes == 0.97
    # Wilson's interval of 97 of 100, as in any table of it.
    assert (round(rate["relevance"].low, 4), round(rate["relevance"].high, 4)) == (0.9155, 0.9897)


def test_two_data_sets_stand_side_by_side_and_the_median_of_raters_decides() -> None:
    items = [item(1), item(2, dataset="theirs")]
    ratings = [said(items[0], r, v) for r, v in (("a", 2), ("b", 2), ("c", 0))] + [said(items[1], "a", 0)]
    found = report(items, as_known(ratings))
    assert found.rates["ours"]["clarity"].yes == 1.0
    assert found.rates["theirs"]["clarity"].no == 1.0
    assert "theirs" in as_text(found)
    assert all(len(line) <= 80 for line in as_text(found).splitlines())


def test_the_report_names_each_pair_of_raters_and_is_there_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [item(number) for number in range(6)]
    save_items(tmp_path, items)
    ratings = Ratings(tmp_path)
    for n, one in enumerate(items):
        for rater, value in (("a", 2 * (n % 2)), ("b", 2 * (n % 2)), ("c", 2 * (n < 3))):
            ratings.add(said(one, rater, value))
    assert run(["corpus", "sample-audit", "--into", str(tmp_path), "--report"]) == 0
    told = capsys.readouterr().out
    assert all(len(line) <= 80 for line in told.splitlines())
    assert next(line for line in told.splitlines() if "a - b" in line).split()[3:] == ["1.00"] * 4
    assert next(line for line in told.splitlines() if "b - c" in line).split()[3:] == ["-0.33"] * 4
    assert run(["corpus", "sample-audit", "--into", str(tmp_path), "--report", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rates"]["ours"]["clarity"]["number"] == 6
    assert found["agreement"]["clarity"]["cohen"][0] == {"raters": ["a", "b"], "kappa": 1.0}
    assert run(["corpus", "sample-audit", "--into", str(tmp_path), "--json"]) == 2
    nobody = report([item(1)], {}).to_json()
    assert json.loads(json.dumps(nobody, allow_nan=False))["rates"]["ours"]["clarity"]["yes"] is None


def test_agreement_has_the_textbooks_values() -> None:
    # This table is checked by hand: two raters, 50 items,
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: Cohen's kappa 0.40 (the usual example).
    answers = [(2, 2)] * 20 + [(2, 0)] * 5 + [(0, 2)] * 10 + [(0, 0)] * 15
    items = [item(number) for number in range(50)]
    ratings = [
        said(one, r, v) for one, both in zip(items, answers, strict=True) for r, v in zip("ab", both, strict=True)
    ]
    found = report(items, as_known(ratings)).agreement["relevance"]
    assert found.cohen["a", "b"] == pytest.approx(0.4)
    # Fleiss takes one share of answers for both raters: (0.70 - 0.505) / (1 - 0.505).
    assert found.fleiss == pytest.approx((0.70 - 0.505) / 0.495)
    # alpha, for n = 100 values of two kinds: 1 - (n - 1) * disagreeing / (2 * 55 * 45).
    assert found.krippendorff == pytest.approx(1 - 99 * 30 / (2 * 55 * 45))


def test_agreement_that_cannot_be_said_is_not_said() -> None:
    items = [item(number) for number in range(3)]
    alone = report(items, as_known([said(one, "a", 2) for one in items]))
    assert alone.agreement["clarity"].krippendorff is None
    same = report(items, as_known([said(one, r, 2) for one in items for r in "ab"]))
    assert same.agreement["clarity"].cohen["a", "b"] is None
    assert same.agreement["clarity"].fleiss is None
    assert math.isnan(report(items, {}).rates["ours"]["clarity"].yes)
    assert "none yet" in as_text(report(items, {}))
