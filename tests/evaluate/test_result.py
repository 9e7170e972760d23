"""A result comes back as it was saved, and one that is not whole is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.errors import InputError
from lft.evaluate.item import Item, Output, Row, Wanted
from lft.evaluate.result import ROWS, Column, LeftOut, Result, Subject, SuiteRef, load_result, save_result

NUMBER = st.floats(allow_nan=False, allow_infinity=False)


def made(texts: list[str], numbers: list[tuple[float, float] | None]) -> Result:
    rows = tuple(
        Row(Item(f"i{n}", "de", "s", "t", text, "", text, (Wanted(3),)), Output(text, 1, 7, "stop"))
        for n, text in enumerate(texts)
    )
    sums = np.array([(np.nan, np.nan) if one is None else one for one in numbers]).reshape(-1, 2)
    columns = {"m": Column("m", sums, {"de": "a way"}, floor=sums[::-1]), "n": Column("n", sums, {"de": "b"})}
    left = (LeftOut("i0", 1, None, "empty"),)
    subject = Subject("a", "d" * 64, "adapters", "base", ("x", "y"), "plain")
    return Result(SuiteRef("s", 2, "e" * 64, True), subject, {"top_p": 0.9}, rows, columns, left, "now", {"lft": "0"})


@settings(max_examples=25)
@given(st.lists(st.tuples(st.text(), st.none() | st.tuples(NUMBER, NUMBER)), min_size=1, max_size=5))
def test_a_result_comes_back_bit_for_bit_whatever_its_texts_are(tmp_path_factory, rows):
    kept = [(text.encode("utf-8", "replace").decode(), numbers) for text, numbers in rows]
    before = made([text for text, _ in kept], [numbers for _, numbers in kept])
    folder = tmp_path_factory.mktemp("r") / "s"
    save_result(before, folder, {})
    after = load_result(folder)
    assert (after.suite, after.subject, after.rows) == (before.suite, before.subject, before.rows)
    assert (after.left_out, after.decoding, after.made) == (before.left_out, before.decoding, before.made)
    for name, column in before.columns.items():
        np.testing.assert_array_equal(after.columns[name].sums, column.sums)
        assert after.columns[name].variants == column.variants
    np.testing.assert_array_equal(after.columns["m"].floor, before.columns["m"].floor)
    assert after.columns["n"].floor is None


def test_a_result_that_somebody_edited_is_refused(tmp_path):
    save_result(made(["a", "b"], [(1.0, 1.0), None]), tmp_path / "s", {})
    path = tmp_path / "s" / ROWS
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["sums"]["m"] = [2.0, 1.0]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        load_result(tmp_path / "s")


def test_a_folder_without_a_result_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="lft evaluate"):
        load_result(tmp_path)
