"""Rows of columns: JSON lines, JSON lists, CSV, Parquet; C4 and SciTLDR."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lft.corpus.read.rows import _csv_fields, _Lines
from lft.errors import InputError
from tests.corpus.reading import read, written

ROWS = [
    {"body": "Der erste Text.", "head": "Eins", "lang": "de", "licence": "CC-BY", "q": "", "n": 1, "votes": "3"},
    {"body": "A second text.", "head": "Two", "lang": "en-GB", "licence": "CC0", "q": "Why?", "n": 2, "votes": None},
]
COLUMNS = {"text": "body", "title": "head", "lang": "lang", "licence": "licence", "question": "q", "id": "n"}
KEYS = {"columns": {**COLUMNS, "score": "votes"}, "langs": ("de", "en"), "licence": None}


def lines(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize("form", ["rows.jsonl", "rows.json", "rows.jsonl.gz", "rows.csv", "rows.tsv", "rows.parquet"])
def test_every_form_of_rows_says_the_same(tmp_path: Path, form: str) -> None:
    path = tmp_path / form
    if form.endswith(".parquet"):
        parquet(path)
    elif form.endswith(("csv", "tsv")):
        mark = "," if form.endswith("csv") else "\t"
        rows = [list(ROWS[0]), *([str(row[key] or "") for key in ROWS[0]] for row in ROWS)]
        path.write_text("".join(mark.join(row) + "\r\n" for row in rows), encoding="utf-8")
    else:
        text = (json.dumps(ROWS) if form == "rows.json" else lines(ROWS)).encode()
        path.write_bytes(gzip.compress(text) if form.endswith(".gz") else text)
    kind = {"csv": "csv", "tsv": "csv", "parquet": "parquet"}.get(form.split(".")[1], "jsonl")
    one, two = read(kind, path, **KEYS).documents
    assert (one.text, one.title, one.lang, one.licence, one.score) == ("Der erste Text.", "Eins", "de", "CC-BY", 3.0)
    assert (one.where, one.question, one.style) == (f"{form}#1", "", None)
    assert (two.lang, two.question, two.style, two.score) == ("en", "Why?", "human", None)


def test_bad_rows_are_counted_with_their_reasons(tmp_path: Path) -> None:
    bad = [
        {**ROWS[0], "body": "  "},
        {**ROWS[0], "body": ["two", "lines"]},
        {**ROWS[0], "lang": "fr"},
        {**ROWS[0], "licence": ""},
        {**ROWS[0], "lang": None},
        {**ROWS[0], "body": "half \ud800"},
    ]
    text = lines(ROWS) + "{torn\n\n[1]\n" + lines(bad)
    reading = read("jsonl", written(tmp_path, {"a.jsonl": text.encode() + b'{"body": "\xff"}\n'}), **KEYS)
    assert reading.texts == ["Der erste Text.", "A second text.", "two\nlines", "half �"]
    assert reading.cut == {
        "a line is no JSON": 1,
        "a line is no JSON object": 1,
        "a line is not UTF-8": 1,
        "its row says a language that is not among langs": 2,
        "its row says no licence": 1,
        "no text": 1,
    }


def test_a_csv_row_of_another_width_is_counted_and_an_index_column_is_no_fault(tmp_path: Path) -> None:
    written(tmp_path, {"a.csv": 'text,\n"one, two",0\nthree\nfour,1,2\n"five\nsix",3\n'})
    reading = read("csv", tmp_path)
    assert reading.texts == ["one, two", "five\nsix"]
    assert reading.cut == {"a row has another number of fields than the first line": 2}


STRAY = "a line has a quote that does not end where its field does"


def test_a_stray_quote_costs_its_own_line_and_not_the_rows_behind_it(tmp_path: Path) -> None:
    rows = [f"title {n},text {n}\n" for n in range(40)]
    rows[3] = 'title 3,"text 3\n'  # never closed
    rows[20] = '"title 20" or so,text 20\n'
    rows[30] = '"title 30","text 30\nin two lines"\n'
    rows[38] = 'title 38,text "38"\n'
    reading = read("csv", written(tmp_path, {"a.csv": "title,text\n" + "".join(rows)}))
    assert reading.texts == [
        {30: "text 30\nin two lines", 38: 'text "38"'}.get(n, f"text {n}") for n in range(40) if n not in (3, 20)
    ]
    assert reading.cut == {STRAY: 2}


def test_a_quote_without_an_end_is_looked_for_no_further_than_a_row_may_be_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lft.corpus.read.rows._CSV_ROW", 1000)
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for n in range(3000):
            taken.append(f"title {n},text {n}\n" if n else '"title 0,text 0\n')
            yield taken[-1]

    found = _csv_fields(_Lines(lines()), ",")
    assert next(found) == '"title 0,text 0\n'
    assert len(taken) < 100
    assert [*found] == [[f"title {n}", f"text {n}"] for n in range(1, 3000)]


def test_a_broken_parquet_file_is_counted(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    written(tmp_path, {"b.parquet": whole[: len(whole) // 2]})
    reading = read("parquet", tmp_path, **KEYS)
    assert len(reading.documents) == 2
    assert reading.cut == {"the file cannot be read": 1}


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"text": "bdoy"}, "no column 'bdoy'; nearest: 'body'"), ({}, "no column 'text'; there are body, head")],
)
def test_a_column_that_is_not_there_names_the_nearest(tmp_path: Path, columns, said) -> None:
    with pytest.raises(InputError, match="columns") as caught:
        read("jsonl", written(tmp_path, {"a.jsonl": lines(ROWS)}), columns=columns)
    assert said in str(caught.value)


def test_a_row_without_an_address_says_its_number_and_one_with_says_it(tmp_path: Path) -> None:
    rows = [{"text": "eins"}, {"text": "zwei", "url": "https://example.org/zwei"}]
    reading = read("c4", written(tmp_path, {"c4-00000.json": lines(rows)}))
    assert [one.where for one in reading.documents] == ["c4-00000.json#1", "https://example.org/zwei"]


def test_an_abstract_is_joined_from_its_sentences(tmp_path: Path) -> None:
    rows = [
        {"source": ["We prove it.", " It holds. "], "title": "A proof", "paper_id": "B1x", "target": ["Short."]},
        {"source": [], "title": "Nothing"},
    ]
    reading = read("scitldr", written(tmp_path, {"train.jsonl": lines(rows)}))
    (one,) = reading.documents
    assert (one.text, one.title, one.where, one.question) == (
        "We prove it. It holds.",
        "A proof",
        "train.jsonl#B1x",
        "",
    )
    assert reading.cut == {"no abstract": 1}


def test_real_rows_are_read_by_their_own_licence_and_language(shared_data) -> None:
    path = f"{shared_data}/corpus/african-storybook.{{lang}}.jsonl"
    reading = read("jsonl", path, langs=("en", "fr"), licence=None, columns={"licence": "licence"})
    assert not reading.cut
    assert {one.licence for one in reading.documents} <= {"CC-BY", "CC-BY 4.0", "CC-BY-4.0"}
    assert {one.lang for one in reading.documents} == {"en", "fr"}
    assert all(one.title for one in reading.documents)
