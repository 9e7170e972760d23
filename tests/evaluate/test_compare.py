"""A comparison pairs what belongs together, says what it left out, and is not taken in by longer answers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lft.errors import InputError, RecipeError
from lft.evaluate.compare import Comparison, Effort, compared
from lft.evaluate.compare_json import as_json, save_comparison
from lft.evaluate.compare_pairs import entries_of, labelled
from lft.evaluate.result import Column, LeftOut, Result, save_result
from lft.evaluate.statistics import holm
from lft.evaluate.summary import Part, parts_of, reading_order, reasons, summarised
from lft.evaluate.summary import as_json as summary_json
from tests.evaluate.made_results import METRICS, bleu_sums, made_result, made_rows, with_ones

QUICK = Effort(draws=200, permutations=500)


def of(*results: list[Result], **options) -> Comparison:
    return compared(
        labelled([{one.suite.name: one for one in group} for group in results]), METRICS, effort=QUICK, **options
    )


def without_first(result: Result) -> Result:
    columns = {
        name: Column(name, one.sums[1:], one.variants, None if one.floor is None else one.floor[1:])
        for name, one in result.columns.items()
    }
    return replace(result, rows=result.rows[1:], columns=columns)


def test_a_real_gain_is_found_and_no_warning_stands_beside_it():
    comparison = of([made_result()], [made_result("tuned", 0.04)])
    (test,) = comparison.of(1, "meteor")
    assert test.whole.difference.value == pytest.approx(4, abs=1)
    assert test.whole.difference.low > 0
    assert test.whole.after - test.whole.before == pytest.approx(test.whole.difference.value)
    assert test.holm == test.whole.difference.p <= 2 / 501
    assert test.won > test.lost
    assert test.won + test.lost == 40
    assert comparison.warnings == ()


def test_a_gain_that_wrong_references_show_too_is_said_to_be_one():
    comparison = of([made_result()], [made_result("longer", 0.04, floor_gain=0.05, longer=0.8)])
    (warning,) = comparison.warnings
    assert "longform, longer: METEOR gain +" in warning
    assert "floor gain +5.0" in warning
    assert "Length ratio from 0.90 to 1.70." in warning
    assert "Repetition from 4.0 to 20.0." in warning


def test_the_metrics_stand_with_what_they_must_be_read_with():
    assert [one.name for one in of([made_result()], [made_result("b")]).metrics] == [
        "meteor", "length-ratio", "repetition",
    ]  # fmt: skip
    words = replace(METRICS["length-ratio"], name="words")
    ordered = sorted([words, *METRICS.values()], key=reading_order)
    assert [one.name for one in ordered] == ["meteor", "bleu", "length-ratio", "repetition", "words"]
    bare = made_result()
    bare = replace(bare, columns={"meteor": bare.columns["meteor"], "other": bare.columns["meteor"]})
    summary = summarised(bare, METRICS, draws=10)
    assert summary.unread == ("length-ratio", "repetition")
    assert summary.unknown == ("other",)


def test_p_is_corrected_over_the_suites_and_subjects_of_a_metric():
    suites = ("a", "b", "c")
    comparison = of(
        [made_result(suite=name) for name in suites],
        [made_result("one", 0.01, suite=name) for name in suites],
        [made_result("two", 0.0, suite=name) for name in suites],
    )
    tests = [one for one in comparison.tests if one.metric.name == "meteor"]
    assert len(tests) == 6
    assert [one.holm for one in tests] == holm([one.whole.difference.p for one in tests])


def test_pairs_are_made_by_item_and_sample_wherever_they_stand():
    before, after = made_result(samples=2), made_result("b", 0.03, samples=2)
    order = np.random.default_rng(0).permutation(len(after.rows))
    turned = replace(
        after,
        rows=tuple(after.rows[place] for place in order),
        columns={
            name: Column(name, one.sums[order], one.variants, None if one.floor is None else one.floor[order])
            for name, one in after.columns.items()
        },
    )
    (straight,), (mixed,) = (of([before], [one]).of(1, "meteor") for one in (after, turned))
    assert mixed.whole.difference.value == pytest.approx(straight.whole.difference.value)
    assert mixed.whole.difference.p == straight.whole.difference.p
    assert (mixed.whole.difference.items, mixed.whole.difference.rows) == (40, 80)


def test_rows_without_a_partner_are_counted():
    (pairing,) = of([made_result()], [without_first(made_result("b"))]).pairings
    assert (pairing.items, pairing.rows, pairing.only_before, pairing.only_after) == (39, 39, 1, 0)


def test_other_items_under_the_same_name_are_refused_unless_what_is_shared_is_asked_for():
    other = without_first(made_result("b", digest="f"))
    with pytest.raises(InputError, match="different items of longform: v1 eeeeeeee offline and v1 ffffffff") as error:
        of([made_result()], [other])
    assert "--shared-only" in str(error.value)
    (pairing,) = of([made_result()], [other], shared_only=True).pairings
    assert pairing.rows == 39
    assert "only those of both count" in pairing.notes[0]
    renamed = replace(other, rows=made_rows(39, suite="elsewhere"))
    with pytest.raises(InputError, match="0 answers can be paired"):
        of([made_result()], [renamed], shared_only=True)


def test_another_decoding_and_another_way_of_counting_are_said():
    after = made_result("b", decoding={"top_p": 1.0, "seed": 1, "top_k": 50})
    columns = dict(after.columns)
    columns["meteor"] = replace(columns["meteor"], variants={"en": "METEOR 1.5", "de": "NLTK 3.10"})
    columns["bleu"] = Column("bleu", bleu_sums(np.random.default_rng(0), 40), {"en": "sacrebleu"})
    columns["mine"] = columns["repetition"]
    comparison = of([made_result()], [replace(after, columns=columns)])
    assert set(comparison.pairings[0].notes) == {
        "the decoding differs: top_k is not said | 50",
        "the decoding differs: top_p is 0.9 | 1.0",
        "meteor was counted in two ways (en: NLTK 3.10, WordNet | METEOR 1.5)",
        "bleu was not measured in both",
        "this lft knows no metric mine",
    }
    assert [one.metric.name for one in comparison.tests] == ["length-ratio", "repetition"]
    assert comparison.chosen == "length-ratio"


def test_suites_that_only_one_answered_are_named_and_none_in_common_is_refused():
    comparison = of([made_result(), made_result(suite="eli5")], [made_result("b")])
    assert comparison.notes == ("eli5 was answered by base only",)
    with pytest.raises(InputError, match="base and b have no suite in common"):
        of([made_result()], [made_result("b", suite="eli5")])
    with pytest.raises(RecipeError, match="two subjects"):
        of([made_result()])
    with pytest.raises(RecipeError, match="not compared by rouge"):
        of([made_result()], [made_result("b")], chosen="rouge")


def test_the_cases_are_the_largest_gains_and_losses_with_both_texts():
    after = made_result("b", text="Another answer, {}.")
    comparison = of([made_result()], [after])
    one, two = (result.columns["meteor"].sums[:, 0] for result in (made_result(), after))
    changes = [case.change for case in comparison.cases]
    assert len(changes) == 6
    assert changes[0] == pytest.approx(100 * (two - one).max())
    assert changes[3] == pytest.approx(100 * (two - one).min())
    case = comparison.cases[0]
    number = int(case.item.id[-4:])
    assert (case.before_text, case.after_text) == (f"An answer, number {number}.", f"Another answer, {number}.")


def test_a_gain_of_what_is_better_lower_is_a_fall():
    before, after = made_result(), made_result("b")
    columns = {**after.columns, "repetition": Column("repetition", with_ones(np.arange(40) / 100), {"en": "4-grams"})}
    comparison = of([before], [replace(after, columns=columns)], chosen="repetition")
    assert comparison.cases[0].change == pytest.approx(-4)
    (test,) = comparison.of(1, "repetition")
    assert (test.won, test.lost) == (4, 35)


def test_effects_are_given_for_each_language_source_subset_and_length():
    (test,) = of([made_result()], [made_result("b", 0.03)]).of(1, "meteor")
    kinds = [(one.part.kind, one.part.value) for one in test.parts]
    assert kinds == [
        ("language", "de"), ("language", "en"), ("language", "fr"), ("source", "news"), ("source", "wiki"),
        ("subset", "x"), ("subset", "y"), ("length", "short"), ("length", "medium"),
    ]  # fmt: skip
    assert sum(one.difference.rows for one in test.parts if one.part.kind == "language") == 40
    assert all(np.isnan(one.difference.p) for one in test.parts)


@pytest.mark.parametrize(
    ("words", "bucket"), [(0, "no reference"), (99, "short"), (100, "medium"), (2000, "very-long")]
)
def test_references_are_put_into_buckets_by_their_words(words, bucket):
    row = made_rows(1)[0]
    rows = [replace(row, item=replace(row.item, reference="w " * words))]
    assert Part("length", bucket) in parts_of(rows)


def test_what_was_left_out_is_counted_by_its_reason():
    result = made_result(
        left_out=(
            LeftOut("longform-0000", 0, "meteor", "empty answer"), LeftOut("longform-0001", 0, None, "empty answer"),
            LeftOut("longform-9999", 0, None, "the endpoint gave up"), LeftOut("longform-0002", 0, "bleu", "other"),
        )
    )  # fmt: skip
    sums = result.columns["meteor"].sums
    sums[[0, 1, 5]] = np.nan
    found = [(one.words, one.rows) for one in reasons(result, result.columns["meteor"])]
    assert found == [("empty answer", 2), ("no reason was recorded", 1), ("the endpoint gave up", 1)]
    summary = summarised(result, METRICS, draws=10).get("meteor")
    assert summary is not None
    assert (summary.whole.rows, summary.whole.missing) == (37, 3)


def test_scores_and_comparisons_are_plain_json_without_nan(tmp_path):
    result = made_result(items=3)
    result.columns["repetition"].sums[:] = np.nan
    unknown_width = Column("bleu", np.full((3, 2), np.nan), {"en": "sacrebleu"}, np.full((3, 2), np.nan))
    result = replace(result, columns={**result.columns, "bleu": unknown_width})
    comparison = of([result], [replace(made_result("b", items=3), columns=result.columns)])
    said = json.dumps([as_json(comparison), summary_json(summarised(result, METRICS, draws=10))], allow_nan=False)
    assert "too few items: 3" in said
    assert json.loads(save_comparison(comparison, tmp_path).read_text())["baseline"] == "base"
    scores = summary_json(summarised(result, METRICS, draws=10))
    assert scores["repetition"]["score"] is None
    assert scores["meteor"]["floor"]["score"] == pytest.approx(14, abs=3)


def test_folders_of_results_become_subjects(tmp_path):
    for label in ("base", "tuned"):
        for suite in ("longform", "eli5"):
            save_result(made_result(label, suite=suite), tmp_path / label / suite, {})
    both = entries_of([tmp_path])
    assert [(one.label, sorted(one.results)) for one in both] == [
        ("base", ["eli5", "longform"]), ("tuned", ["eli5", "longform"]),
    ]  # fmt: skip
    assert [one.label for one in entries_of([tmp_path / "base", tmp_path / "base"])] == ["base (1)", "base (2)"]
    save_result(made_result("base"), tmp_path / "again" / "longform", {})
    with pytest.raises(InputError, match="a second result of longform for base"):
        entries_of([tmp_path])
