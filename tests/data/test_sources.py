"""Sources of every kind give the same examples; what is wrong with them is one clear error with file and line."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from lft.data.example import Turn
from lft.data.sources import open_split
from lft.data.streaming import stream_split
from lft.errors import InputError, MachineError
from lft.recipe.schema import Data, Source, Split

ROWS = [{"input": f"question {i}", "output": f"answer {i} äß€😀"} for i in range(7)]
OUTPUTS = [row["output"] for row in ROWS]


def lines(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def data_of(train, *, train_split="train", validation="validation", fmt="auto") -> Data:
    source = tuple(train) if isinstance(train, list) else str(train)
    return Data(train=source, split=Split(train=train_split, validation=validation), format=fmt)


@pytest.fixture
def opened(tmp_path):
    """Open a split with a cache of its own; ``opened.notes`` holds what was said."""

    def open_it(data: Data, part="train", seed=1):
        return open_split(data, part, seed=seed, notify=open_it.notes.append, cache=tmp_path / "cache")

    open_it.notes = []
    return open_it


def streamed(data: Data, part="train", seed=1):
    return stream_split(data, part, seed=seed, notify=lambda _: None)


def both_refuse(opened, data: Data, part="train") -> InputError:
    """The error of opening, after checking that streaming refuses with the same words."""
    with pytest.raises(InputError) as eager:
        list(opened(data, part))
    with pytest.raises(InputError) as lazy:
        list(streamed(data, part))
    assert str(lazy.value) == str(eager.value)
    assert eager.value.fix
    return eager.value


# --- kinds of files ------------------------------------------------------------------------------------------------


def write_parquet(path: Path, rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)


WAYS = {
    "rows.jsonl": lambda path: path.write_text(lines(ROWS), encoding="utf-8"),
    "rows.ndjson": lambda path: path.write_text(lines(ROWS), encoding="utf-8"),
    "bom.jsonl": lambda path: path.write_text(lines(ROWS), encoding="utf-8-sig"),
    "crlf.jsonl": lambda path: path.write_text(lines(ROWS), encoding="utf-8", newline="\r\n"),
    "no-newline-at-the-end.jsonl": lambda path: path.write_text(lines(ROWS).rstrip("\n"), encoding="utf-8"),
    "blank-lines.jsonl": lambda path: path.write_text("\n \n" + lines(ROWS).replace("\n", "\n\n"), encoding="utf-8"),
    "list.json": lambda path: path.write_text(json.dumps(ROWS, indent=2), encoding="utf-8"),
    "list-with-bom.json": lambda path: path.write_text(json.dumps(ROWS), encoding="utf-8-sig"),
    "list-in-one-line.jsonl": lambda path: path.write_text(json.dumps(ROWS), encoding="utf-8"),
    "wrapped.json": lambda path: path.write_text(json.dumps({"version": 1, "data": ROWS}, indent=1), encoding="utf-8"),
    "wrapped-in-one-line.json": lambda path: path.write_text(json.dumps({"data": ROWS}), encoding="utf-8"),
    "lines-called.json": lambda path: path.write_text(lines(ROWS), encoding="utf-8"),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines(ROWS).encode())),
    "list.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "ROWS.JSONL": lambda path: path.write_text(lines(ROWS), encoding="utf-8"),
    "rows.parquet": lambda path: write_parquet(path, ROWS),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_kind_of_file_gives_the_same_examples(tmp_path, opened, name):
    WAYS[name](tmp_path / name)
    data = data_of(tmp_path / name)
    examples = opened(data)
    assert [example.output for example in examples] == OUTPUTS
    assert len(examples) == 7
    assert examples[-1] == examples[6]
    assert [example.output for example in streamed(data)] == OUTPUTS
    assert "longform" in examples.verdicts[0]
    assert examples.described == f"{tmp_path / name} [train]: 7 examples, longform"
    with pytest.raises(IndexError):
        examples[7]


def test_columns_of_mixed_types_and_other_columns_are_no_obstacle(tmp_path, opened):
    extras = [1, "x", None, [1, {"a": 2}], {"b": 3}, 2.5, True]
    rows = [{**row, "meta": extra, "score": float("nan")} for row, extra in zip(ROWS, extras, strict=True)]
    (tmp_path / "mixed.jsonl").write_text(lines(rows), encoding="utf-8")
    examples = opened(data_of(tmp_path / "mixed.jsonl"))
    assert [example.output for example in examples] == OUTPUTS
    assert "not used: meta, score" in examples.verdicts[0]


def test_unicode_line_separators_and_a_huge_line_stay_in_their_row(tmp_path, opened):
    texts = ["a\u2028b\u2029c\x85d\x0c e", "x" * 5_000_000, "nul \u0000 inside"]
    rows = [{"input": "i", "output": text} for text in texts]
    (tmp_path / "odd.jsonl").write_text(lines(rows), encoding="utf-8")
    assert [example.output for example in opened(data_of(tmp_path / "odd.jsonl"))] == texts


def test_messages_in_parquet_come_out_as_turns(tmp_path, opened):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    write_parquet(tmp_path / "chat.parquet", [{"messages": turns, "vector": [0.5], "image": b"\xff"}] * 3)
    data = data_of(tmp_path / "chat.parquet")
    examples = opened(data)
    assert examples[2].turns == (Turn("user", "q"), Turn("assistant", "a"))
    assert "not used: vector, image" in examples.verdicts[0]
    assert list(streamed(data)) == list(examples)
    assert streamed(data).verdicts == examples.verdicts


# --- broken files --------------------------------------------------------------------------------------------------

GOOD = '{"input": "i", "output": "o"}\n'
BROKEN = {
    "cut off": ("x.jsonl", (GOOD * 2 + '{"input": "i", "out').encode(), ":3: broken JSON: "),
    "two objects in a line": ("x.jsonl", (GOOD + GOOD.strip() * 2).encode(), ":2: broken JSON: Extra data"),
    "a list as a row": ("x.jsonl", (GOOD + "[1]\n").encode(), ":2: a row must be an object, this is a list"),
    "a key twice": ("x.jsonl", b'{"input": "i", "output": "o", "output": "p"}\n', ":1: the key `output` stands twice"),
    "Latin-1": ("x.jsonl", (GOOD + '{"input": "é"}').encode("latin-1"), ":2: not UTF-8: byte 0xe9 at byte 12"),
    "UTF-16": ("x.jsonl", GOOD.encode("utf-16"), ":1: the file is UTF-16"),
    "NUL bytes": ("x.jsonl", GOOD.encode() + b"\0" * 40 + b"\n", ":2: it holds NUL bytes"),
    "nested too deeply": ("x.jsonl", b'{"a": ' + b"[" * 200_000, ":1: the JSON is nested too deeply"),
    "no rows": ("x.jsonl", b"", ": it holds no rows"),
    "only blank lines": ("x.jsonl", b"\n\n \r\n", ": it holds no rows"),
    "an empty list": ("x.json", b"[ ]\n", ": it holds no rows"),
    "a list that ends early": ("x.json", b'[\n{"input": "i", "output": "o"},\n', ":3: broken JSON: "),
    "a list without its end": (
        "x.json",
        b'[\n{"input": "i", "output": "o"}\n',
        ":2: broken JSON: after this row a comma",
    ),
    "a list with a comma too many": ("x.json", b'[{"input": "i", "output": "o"},\n]', ":2: broken JSON: "),
    "text after a list": ("x.json", b'[{"input": "i", "output": "o"}]\n[]', ":1: broken JSON: more text after"),
    "numbers in a list": (
        "x.json",
        b'[{"input": "i", "output": "o"},\n 3]',
        ":2: a row must be an object, this is int",
    ),
    "one object": ("x.json", b'{\n "input": "i",\n "output": "o"\n}', ": it is one JSON object, not a list"),
    "a broken object": ("x.json", b'{\n "data": [\n {"input": ]\n}', ":3: broken JSON: "),
    "a list in Latin-1": ("x.json", '[\n{"input": "é"}]'.encode("latin-1"), ":2: not UTF-8"),
    "half a gzip": ("x.jsonl.gz", gzip.compress(lines(ROWS * 50).encode())[:-20], ": the gzip file is damaged"),
    "no gzip": ("x.jsonl.gz", GOOD.encode(), ": the gzip file is damaged"),
    "no Parquet": ("x.parquet", GOOD.encode(), ": not a whole Parquet file"),
    "a row without its output": ("x.jsonl", (GOOD + '{"input": "i"}').encode(), ":2: this row has no `output`"),
    "unknown columns": (
        "x.jsonl",
        b'{"question": "q", "answer": "a"}',
        ": no format fits the columns question, answer",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_error_with_file_and_line(tmp_path, opened, case):
    name, content, said = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    error = both_refuse(opened, data_of(tmp_path / name))
    assert str(error).startswith(f"{tmp_path / name}{said}")
    assert not list((tmp_path / "cache").rglob(".writing-*"))


def test_a_missing_file_names_its_neighbour(tmp_path, opened):
    (tmp_path / "recipes.jsonl").write_text(GOOD)
    error = both_refuse(opened, data_of(tmp_path / "recipe.jsonl"))
    assert "no such file" in error.what
    assert f"did you mean {tmp_path / 'recipes.jsonl'}?" in str(error.fix)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere/at/all.jsonl", "the folder nowhere/at is not there either"),
        ("train", "a hub data set is written user/name"),
        ("json", "a hub data set is written user/name"),
        ("user/rows.jsonl", "the folder user is not there either"),
        ("s3://bucket/rows.jsonl", "download it"),
        ("sample://longform-min", "sample://longform-mini"),
    ],
)
def test_a_source_that_is_nowhere_says_what_to_do(tmp_path, opened, monkeypatch, source, said):
    monkeypatch.chdir(tmp_path)
    assert said in str(both_refuse(opened, data_of(source)).fix)


def test_other_kinds_of_files_are_refused_by_name(tmp_path, opened):
    (tmp_path / "rows.csv").write_text("input,output\n")
    assert "`.csv` are not read" in both_refuse(opened, data_of(tmp_path / "rows.csv")).what


# --- splits --------------------------------------------------------------------------------------------------------


def test_a_split_column_divides_one_file(tmp_path, opened):
    rows = [{**row, "split": "train" if i % 3 else "held-out"} for i, row in enumerate(ROWS)]
    (tmp_path / "x.jsonl").write_text(lines(rows), encoding="utf-8")
    data = data_of(tmp_path / "x.jsonl", validation="held-out")
    for part, kept in (("train", [1, 2, 4, 5]), ("validation", [0, 3, 6])):
        examples = opened(data, part)
        assert [example.output for example in examples] == [OUTPUTS[i] for i in kept]
        assert list(streamed(data, part)) == list(examples)
        assert examples.where(0) == f"{tmp_path / 'x.jsonl'}:{kept[0] + 1}"


def test_a_missing_split_lists_those_that_are_there_and_the_nearest(tmp_path, opened):
    rows = [{**row, "split": "train" if i else "val"} for i, row in enumerate(ROWS)]
    (tmp_path / "x.jsonl").write_text(lines(rows), encoding="utf-8")
    error = both_refuse(opened, data_of(tmp_path / "x.jsonl"), "validation")
    assert "no split `validation`; there is `train`, `val`" in error.what
    assert str(error.fix).startswith("set data.split.validation: val ")


@pytest.mark.parametrize("first", ["train", None])
def test_a_split_column_with_gaps_is_an_error(tmp_path, opened, first):
    rows = [{**ROWS[0], "split": first}, {**ROWS[1], "split": None if first else "train"}]
    (tmp_path / "x.jsonl").write_text(lines(rows), encoding="utf-8")
    for split in (opened, streamed):
        with pytest.raises(InputError, match=r"`split` is (missing|set)") as caught:
            list(split(data_of(tmp_path / "x.jsonl")))
        assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:")


def test_an_undivided_file_is_the_training_split_and_validation_says_how_to_go_on(tmp_path, opened):
    (tmp_path / "x.jsonl").write_text(lines(ROWS), encoding="utf-8")
    error = both_refuse(opened, data_of(tmp_path / "x.jsonl"), "validation")
    assert "data.split.validation: null" in str(error.fix)
    data = data_of(tmp_path / "x.jsonl", validation=None)
    assert opened(data, "validation") is None
    assert streamed(data, "validation") is None
    assert "not divided" in both_refuse(opened, data_of(tmp_path / "x.jsonl", train_split="training")).what


LAYOUTS = {
    "by name": (["train.jsonl"], "validation.jsonl"),
    "shards": (["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"], "validation-00000-of-00001.jsonl"),
    "below data": (["data/train-00000-of-00001-0123abcd.jsonl"], "data/validation-00000-of-00001-4567abcd.jsonl"),
    "a folder a split": (["train/0.jsonl", "train/1.jsonl"], "validation/0.jsonl"),
    "more than nine shards": ([f"train_{i}.jsonl" for i in range(11)], "validation.jsonl.gz"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_is_divided_by_its_file_names(tmp_path, opened, layout):
    train, validation = LAYOUTS[layout]
    folder = tmp_path / "set"
    rows = [{"input": "i", "output": f"o{i}"} for i in range(len(train))]
    for name, row in zip([*train, validation], [*rows, ROWS[0]], strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = lines([row]).encode()
        (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    (folder / "README.md").write_text("words")
    (folder / "dataset_infos.json").write_text("{}")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "train.jsonl").write_text("junk")
    data = data_of(folder)
    assert [example.output for example in opened(data)] == [row["output"] for row in rows]
    assert [example.output for example in opened(data, "validation")] == OUTPUTS[:1]
    assert list(streamed(data)) == list(opened(data))
    error = both_refuse(opened, data_of(folder, validation="dev"), "validation")
    assert "there is `train`, `validation`" in error.what


def test_a_folder_of_shards_without_a_split_name_is_one_table(tmp_path, opened):
    for i, row in enumerate(ROWS):
        write_parquet(tmp_path / f"part-{i}.parquet", [row])
    (tmp_path / "cache").mkdir()
    data = data_of(tmp_path, validation=None)
    assert [example.output for example in opened(data)] == OUTPUTS
    assert [example.output for example in streamed(data)] == OUTPUTS


def test_a_folder_that_cannot_be_meant_says_why(tmp_path, opened):
    empty, double, mixed = tmp_path / "empty", tmp_path / "double", tmp_path / "mixed"
    for folder in (empty, double, mixed):
        folder.mkdir()
    assert "the folder holds no data" in both_refuse(opened, data_of(empty)).what
    (double / "train.jsonl").write_text(GOOD)
    (double / "train.json").write_text(f"[{GOOD}]")
    assert "two kinds of files: train.json, train.jsonl" in both_refuse(opened, data_of(double)).what
    (mixed / "train-0.jsonl").write_text(GOOD)
    (mixed / "train-1.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    with pytest.raises(InputError, match=r"this file is prompt-completion, .*train-0\.jsonl is longform"):
        opened(data_of(mixed))


def test_a_data_set_saved_by_datasets_is_read_with_its_splits(tmp_path, opened):
    from datasets import Dataset, DatasetDict

    saved = {"train": Dataset.from_list(ROWS[:5]).select([4, 0, 2]), "validation": Dataset.from_list(ROWS[5:])}
    DatasetDict(saved).save_to_disk(tmp_path / "saved")
    data = data_of(tmp_path / "saved")
    assert [example.output for example in opened(data)] == [OUTPUTS[i] for i in (4, 0, 2)]
    assert [example.output for example in opened(data, "validation")] == OUTPUTS[5:]
    assert list(streamed(data)) == list(opened(data))
    assert opened(data).where(1) == f"{tmp_path / 'saved'} row 2"
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "single")
    assert len(opened(data_of(tmp_path / "single"))) == 7
    assert "there is `train`" in both_refuse(opened, data_of(tmp_path / "single"), "validation").what


def test_the_sample_of_the_package_has_its_splits(opened):
    data = data_of("sample://longform-mini")
    train, validation = opened(data), opened(data, "validation")
    assert len(train) > len(validation) > 0
    assert all(example.output and example.lang for example in train)


# --- cache and digest ----------------------------------------------------------------------------------------------


def test_a_changed_file_of_the_same_name_size_and_time_is_never_served_from_the_cache(tmp_path, opened):
    path = tmp_path / "x.jsonl"
    path.write_text('{"input": "i", "output": "old"}\n')
    stamp = path.stat()
    before = opened(data_of(path))
    assert before[0].output == "old"
    path.write_text('{"input": "i", "output": "new"}\n')
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = opened(data_of(path))
    assert after[0].output == "new"
    assert before[0].output == "old", "an open split does not change under a run"
    assert after.digest != before.digest


def test_the_digest_is_of_the_content_not_of_the_place(tmp_path, opened):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(lines(ROWS), encoding="utf-8")
    (tmp_path / "c.jsonl").write_text(lines(ROWS[:-1]), encoding="utf-8")
    digests = [opened(data_of(tmp_path / name)).digest for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    assert digests[0] == digests[1] != digests[2]
    divided = [{**row, "split": "train" if i < 4 else "validation"} for i, row in enumerate(ROWS)]
    (tmp_path / "d.jsonl").write_text(lines(divided), encoding="utf-8")
    data = data_of(tmp_path / "d.jsonl")
    assert opened(data).digest != opened(data, "validation").digest
    both = [{"input": "i", "instruction": "j", "output": "o"}]
    (tmp_path / "e.jsonl").write_text(lines(both), encoding="utf-8")
    formats = [opened(data_of(tmp_path / "e.jsonl", fmt=fmt)).digest for fmt in ("alpaca", "longform")]
    assert formats[0] != formats[1]


def test_a_cut_off_cache_file_is_made_again(tmp_path, opened):
    (tmp_path / "x.jsonl").write_text(lines(ROWS), encoding="utf-8")
    opened(data_of(tmp_path / "x.jsonl"))
    (stored,) = (tmp_path / "cache" / "rows").iterdir()
    stored.write_bytes(stored.read_bytes()[:-100])
    assert [example.output for example in opened(data_of(tmp_path / "x.jsonl"))] == OUTPUTS


def test_the_second_opening_does_not_convert_again(tmp_path, opened, monkeypatch):
    (tmp_path / "x.jsonl").write_text(lines(ROWS), encoding="utf-8")
    first = opened(data_of(tmp_path / "x.jsonl"))
    monkeypatch.setattr("lft.data.rowstore.read_rows", lambda *_: pytest.fail("converted twice"))
    assert list(opened(data_of(tmp_path / "x.jsonl"))) == list(first)


def test_a_cache_that_cannot_be_written_is_the_machines_fault(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines(ROWS), encoding="utf-8")
    (tmp_path / "cache").write_text("a file stands where the folder should be")
    with pytest.raises(MachineError, match="cache"):
        open_split(data_of(tmp_path / "x.jsonl"), "train", seed=1, notify=print, cache=tmp_path / "cache")


# --- mixtures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixture(tmp_path):
    """Two sources of 300 and 500 rows, the first with a validation split too."""
    rows = [{"input": "i", "output": f"en {i}", "split": "train" if i < 300 else "validation"} for i in range(310)]
    (tmp_path / "en.jsonl").write_text(lines(rows))
    (tmp_path / "de.jsonl").write_text(lines([{"prompt": "p", "completion": f"de {i}"} for i in range(500)]))
    return [
        Source(path=str(tmp_path / "en.jsonl"), weight=0.75, revision=None),
        Source(path=str(tmp_path / "de.jsonl"), weight=0.25, revision=None),
    ]


def test_a_mixture_follows_its_weights_and_counts_what_is_left(opened, mixture):
    examples = opened(data_of(mixture))
    outputs = [example.output for example in examples]
    assert len(outputs) == len(set(outputs)) == 400
    assert sum(output.startswith("de") for output in outputs) == 100
    assert 22 <= sum(output.startswith("de") for output in outputs[:100]) <= 28
    assert opened.notes == [f"{mixture[1].path}: 100 of 500 rows used, as its weight of 0.25 asks"]
    assert "longform" in examples.verdicts[0]
    assert "prompt-completion" in examples.verdicts[1]
    assert examples.described.endswith("de.jsonl [train]: 100 examples, prompt-completion")


def test_a_mixture_depends_on_the_seed_and_on_nothing_else(opened, mixture):
    first, again, other = (opened(data_of(mixture), seed=seed) for seed in (1, 1, 2))
    assert list(first) == list(again)
    assert list(first) != list(other)
    assert first.digest == again.digest != other.digest


def test_the_validation_of_a_mixture_is_the_union_of_those_there_are(opened, mixture):
    data = data_of(mixture)
    assert [example.output for example in opened(data, "validation")] == [f"en {i}" for i in range(300, 310)]
    assert opened.notes == [f"{mixture[1].path} has no split `validation`: it takes no part in the validation"]
    assert list(streamed(data, "validation")) == list(opened(data, "validation"))
    assert "no source of the mixture has" in both_refuse(opened, data_of(mixture, validation="dev"), "validation").what


def test_a_mixture_that_cannot_be_meant_says_why(opened, mixture):
    with pytest.raises(InputError, match=r"its weight of 0\.001 leaves it no row"):
        opened(data_of([mixture[0], Source(path=mixture[1].path, weight=0.001, revision=None)]))
    with pytest.raises(InputError, match="no source"):
        opened(Data(train=()))


# --- streams -------------------------------------------------------------------------------------------------------


def test_a_streamed_mixture_gives_each_row_once_by_weight_and_the_same_each_time(mixture):
    stream = streamed(data_of(mixture))
    outputs = [example.output for example in stream]
    assert outputs == [example.output for example in stream], "a second pass starts over in the same order"
    assert sorted(outputs) == sorted([f"en {i}" for i in range(300)] + [f"de {i}" for i in range(500)])
    assert 25 <= sum(output.startswith("de") for output in outputs[:200]) <= 75
    assert outputs != [example.output for example in streamed(data_of(mixture), seed=2)]
    assert stream.digest == streamed(data_of(mixture)).digest != streamed(data_of(mixture), seed=2).digest


def test_a_stream_reads_no_further_than_it_is_asked(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines(ROWS) + "broken\n", encoding="utf-8")
    stream = iter(streamed(data_of(tmp_path / "x.jsonl")))
    assert [next(stream).output for _ in ROWS] == OUTPUTS
    with pytest.raises(InputError, match=r":8: broken JSON"):
        next(stream)


# --- real files ----------------------------------------------------------------------------------------------------


def test_the_real_longform_rows_come_through_whole(shared_data, opened):
    folder = shared_data / "longform"
    data = data_of(folder, train_split="longform_train", validation="longform_val")
    for part, name in (("train", "longform_train"), ("validation", "longform_val")):
        rows = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        examples = opened(data, part)
        assert [(e.turns[0].content, e.output) for e in examples] == [(r["input"], r["output"]) for r in rows]
        assert list(streamed(data, part)) == list(examples)
    assert "there is `longform_train`, `longform_val`" in both_refuse(opened, data_of(folder)).what


def test_real_documents_are_refused_as_examples_in_every_language(shared_data, opened):
    for path in sorted((shared_data / "corpus").glob("*.jsonl")):
        assert "no format fits the columns" in both_refuse(opened, data_of(path)).what
