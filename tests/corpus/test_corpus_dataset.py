"""What a build writes at its end is what others read: rows, splits, card, build file."""

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from lft.corpus.dataset import write_dataset
from lft.corpus.document import Pair
from lft.corpus.load import load_build
from lft.corpus.schema import Build
from lft.corpus.step import Counter
from lft.errors import InputError

FILE = """\
name: help
sources: [{name: gnome-help, kind: text, path: x, licence: CC-BY-SA-3.0}]
instruct: {backend: {kind: transformers, model: m}}
write: {formats: [jsonl, parquet], validation: 0.2, test: 0.2}
"""

BEYOND = """\
beyond: {rewrite: {backend: {kind: transformers, model: r}}}
screen: {round_trip: {model: m}}
"""


def build_of(folder: Path, text: str = FILE) -> Build:
    (folder / "b.yaml").write_text(text)
    return load_build(folder / "b.yaml")


def pairs_in(folder: Path, number: int) -> Path:
    made = [
        Pair(f"Ask {n}?", f"Text «{n}».\nSecond line.", "gnome-help", "", f"{n:04}", "de" if n % 2 else "en",
             "CC-BY-SA-3.0", "chatbot", where="a.page", scores={"leak": n / 7} if n % 3 else {})
        for n in range(number)
    ]  # fmt: skip
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(one.record()) + "\n" for one in made))
    return path


def test_rows_read_back_alike_from_both_formats(tmp_path: Path) -> None:
    counter = Counter()
    counter.came = 41
    counter.cut("too short: under 30 words", "0041", "<b>tiny</b>")
    out = tmp_path / "out"
    out.mkdir()
    report = write_dataset(build_of(tmp_path), pairs_in(tmp_path, 40), {}, out, [counter.report("select")])
    rows = {}
    for kind in ("json", "parquet"):
        suffix = "jsonl" if kind == "json" else kind
        files = {split: str(out / f"{split}.{suffix}") for split in ("train", "validation", "test")}
        found = load_dataset(kind, data_files=files, cache_dir=str(tmp_path / kind))
        rows[kind] = {split: found[split].to_list() for split in files}
        assert {split: len(those) for split, those in rows[kind].items()} == report.figures["split"]
    assert rows["json"] == rows["parquet"]
    assert {row["id"] for those in rows["json"].values() for row in those} == {f"{n:04}" for n in range(40)}
    assert rows["json"]["train"][0]["output"].endswith(".\nSecond line.")


def test_the_card_counts_and_the_build_file_reads_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    build = build_of(tmp_path)
    write_dataset(build, pairs_in(tmp_path, 40), {}, out, [])
    card = (out / "README.md").read_text()
    assert "license: cc-by-sa-3.0" in card
    assert "language: [de, en]" in card
    assert "| de | 20 |" in card
    assert load_build(out / "build.yaml") == build


def test_the_card_says_who_wrote_the_texts(tmp_path: Path) -> None:
    path, cards = pairs_in(tmp_path, 40), {}
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for name, file, rewritten in (("plain", FILE, 0), ("options", FILE + BEYOND, 7)):
        for record in records[:rewritten]:
            record["scores"]["faithfulness"] = 0.9
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        (tmp_path / name).mkdir()
        write_dataset(build_of(tmp_path, file), path, {}, tmp_path / name, [])
        cards[name] = (tmp_path / name / "README.md").read_text()
    assert "People wrote the texts.\n" in cards["plain"]
    assert "; r (temperature 0.7, top-p 0.9) rewrote 7 of them" in cards["options"]
    assert "of fewer, where" in cards["options"]


def test_reports_show_what_was_cut_and_texts_do_not_act_in_them(tmp_path: Path) -> None:
    counter = Counter()
    counter.came = 41
    counter.cut("too short: under 30 words", "0041", "<b>tiny</b>")
    out = tmp_path / "out"
    out.mkdir()
    write_dataset(build_of(tmp_path), pairs_in(tmp_path, 40), {}, out, [counter.report("select")])
    text = (out / "report.md").read_text()
    assert "| select | 41 | 1 | 40 |" in text
    assert "1 x too short: under 30 words" in text
    assert "<b>" not in text


def test_nothing_to_train_on_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("")
    with pytest.raises(InputError, match="0 pairs are left"):
        write_dataset(build_of(tmp_path), tmp_path / "pairs.jsonl", {}, tmp_path, [])
