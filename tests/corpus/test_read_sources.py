"""The read step as a whole: shards, counts, draws, tasks; the same documents for any number of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.document import Document
from lft.corpus.read.draw import Candidates, Draw, Lot, drawn
from lft.corpus.schema import Build
from lft.corpus.step import Report
from lft.errors import InputError
from tests.corpus.reading import written

BACKEND = {"backend": {"kind": "transformers", "model": "x"}}


def build(*sources, **keys) -> Build:
    defaults = {"name": "x", "kind": "text", "licence": "CC0"}
    return Build(name="b", sources=[{**defaults, **one} for one in sources], instruct=BACKEND, **keys)


def done(made: Build, out: Path) -> tuple[Report, dict[str, list[Document]]]:
    from lft.corpus.read import read_sources

    said: list[str] = []
    report = read_sources(made, out, said.append)
    assert len(said) == len(made.sources)
    found = {}
    for source in made.sources:
        shards = sorted((out / source.name).iterdir())
        assert [shard.name for shard in shards] == [f"{n:05d}.jsonl" for n in range(made.run.tasks)]
        lines = [line for shard in shards for line in shard.read_text(encoding="utf-8").splitlines()]
        found[source.name] = [Document.of(json.loads(line)) for line in lines]
    return report, found


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    files = {f"in/{n:02d}.txt": f"This is the story of number {n}, and it is in English." for n in range(40)}
    return written(tmp_path, {**files, "in/bad.txt": b"\xff\xfe\xff", "in/more.md": "# Not read"})


def test_sources_become_shards_of_records_and_a_report(stories: Path, capfd) -> None:
    rows = "".join(
        json.dumps({"text": f"Das ist die Zeile {n} auf Deutsch.", "url": f"u/{n}"}) + "\n" for n in range(5)
    )
    written(stories, {"rows.jsonl": rows + "torn\n"})
    made = build(
        {"path": str(stories / "in")},
        {"name": "C 4", "kind": "c4", "path": str(stories / "rows.jsonl"), "langs": ["en"], "subset": "web"},
    )
    report, found = done(made, stories / "out")
    assert (report.step, report.came, report.kept) == ("read", 47, 45)
    assert {reason: cut.count for reason, cut in report.cut.items()} == {
        "C 4: a line is no JSON": 1,
        "x: the file is not UTF-8": 1,
    }
    assert report.cut["C 4: a line is no JSON"].samples[0].id == "rows.jsonl#6"
    assert json.loads((stories / "out" / "x" / "00000.jsonl").read_text().splitlines()[0])["words"] == 12
    assert report.figures["x"] == {"documents": 40, "words": 480, "langs": {"en": 40}, "otherwise": 0}
    assert report.figures["C 4"]["otherwise"] == 5
    assert report.notes == ("x: 1 files of its folders are of other kinds, and were not read",)
    assert {(one.lang, one.detected, one.subset) for one in found["C 4"]} == {("en", "de", "web")}
    assert Report.of(json.loads(json.dumps(report.to_json()))) == report
    assert capfd.readouterr() == ("", "")
    assert (stories / "out" / "_logs" / "x" / "stats.json").is_file()


@pytest.mark.parametrize("keys", [{}, {"limit": 7}, {"limit": 7, "per_subset": 4}])
def test_the_same_documents_come_out_of_any_number_of_tasks(stories: Path, keys) -> None:
    made = build({"path": str(stories / "in"), **keys})
    report, one = done(made, stories / "one")
    more, four = done(
        made.model_copy(update={"run": made.run.model_copy(update={"tasks": 4, "workers": 2})}), stories / "4"
    )
    assert sorted(one["x"], key=lambda d: d.id) == sorted(four["x"], key=lambda d: d.id)
    assert {reason: cut.count for reason, cut in report.cut.items()} == {
        reason: cut.count for reason, cut in more.cut.items()
    }
    assert report.figures == more.figures
    assert len(one["x"]) == (4 if "per_subset" in keys else keys.get("limit", 40))
    again, _ = done(made, stories / "again")
    assert again == report


def test_what_is_over_the_limit_is_counted_and_shown(stories: Path) -> None:
    report, _ = done(build({"path": str(stories / "in"), "limit": 10}), stories / "out")
    cut = report.cut["x: over its limit"]
    assert (cut.count, len(cut.samples), report.kept) == (30, 3, 10)
    assert report.figures["x"]["words"] == 120


def test_another_seed_draws_others(stories: Path) -> None:
    source = {"path": str(stories / "in"), "limit": 10}
    drawn_by = [{one.id for one in done(build(source, seed=seed), stories / f"{seed}")[1]["x"]} for seed in (1, 2, 3)]
    assert len({frozenset(one) for one in drawn_by}) == 3


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("abc")), unique=True, max_size=80),
    st.integers(1, 9) | st.none(),
    st.integers(1, 5) | st.none(),
    st.integers(1, 4),
)
def test_draws_in_parts_are_the_draw_of_the_whole(documents, limit, per_subset, parts) -> None:
    draw = Draw(limit, per_subset, seed=1)

    def chosen(count: int) -> set[str]:
        ids = {}
        for part in range(count):
            candidates = Candidates(draw)
            for line, (number, subset) in enumerate(documents[part::count]):
                if candidates.takes(str(number), subset):
                    ids[part, line] = Lot(draw.lot(str(number)), subset, (part, line))
        at = drawn(draw, ids.values())
        return {documents[part::count][line] for part, line in at}

    assert chosen(1) == chosen(parts)
    if per_subset is None:
        assert len(chosen(1)) == min(limit or 80, len(documents))
    for subset in "abc":
        assert sum(one[1] == subset for one in chosen(1)) <= (per_subset or 80)


def test_a_limit_keeps_few_candidates() -> None:
    candidates = Candidates(Draw(50, None, 0))
    assert sum(candidates.takes(str(n), "") for n in range(20_000)) < 50 * (1 + 6) * 1.3


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "{here}/inn"}, "there is nothing at this path; nearest: '{here}/in'"),
        ({"path": "{here}/in/*.text"}, "there is nothing at this path"),
        ({"path": "{here}/empty"}, "there is nothing at this path"),
        ({"path": "{here}/in", "kind": "mallard"}, "none of its 42 files is one that kind mallard reads (.page)"),
        ({"path": "{here}/none.jsonl", "kind": "jsonl"}, "x holds nothing"),
        (
            {"path": "{here}/in/*.txt", "kind": "mallard"},
            "nothing of what it holds can be used: the page is no XML (41)",
        ),
        (
            {"path": "{here}/rows.jsonl", "kind": "jsonl", "columns": {"text": "bdoy"}},
            "no column 'bdoy'; nearest: 'body'",
        ),
        ({"path": "{here}/in/{lang}", "langs": ["en", "de"]}, "there is nothing at this path"),
    ],
)
@pytest.mark.parametrize("tasks", [1, 2])
def test_what_is_not_there_is_told_with_its_place(stories: Path, source, said, tasks) -> None:
    written(stories, {"none.jsonl": "", "rows.jsonl": '{"body": "x"}\n'})
    (stories / "empty").mkdir()
    source = {**source, "path": source["path"].replace("{here}", str(stories))}
    run = {"tasks": tasks, "workers": 1}
    with pytest.raises(InputError) as caught:
        done(build(source, run=run), stories / "out")
    assert said.replace("{here}", str(stories)) in str(caught.value)


def test_a_source_that_is_missing_is_told_before_anything_is_read(stories: Path) -> None:
    with pytest.raises(InputError):
        done(build({"path": str(stories / "in")}, {"name": "y", "path": str(stories / "nowhere")}), stories / "out")
    rows = {"name": "y", "kind": "csv", "path": str(written(stories, {"rows.csv": "txt\nx\n"}) / "rows.csv")}
    with pytest.raises(InputError, match="no column 'text'; nearest: 'txt'"):
        done(build({"path": str(stories / "in")}, rows), stories / "out")
    assert not (stories / "out").exists()


def test_a_wrong_column_in_a_later_file_is_told_from_another_process(stories: Path) -> None:
    written(stories, {"rows/1.jsonl": '{"text": "x"}\n', "rows/2.jsonl": '{"body": "x"}\n'})
    source = {"path": str(stories / "rows"), "kind": "jsonl"}
    with pytest.raises(InputError, match="no column 'text'; there are body"):
        done(build(source, run={"tasks": 2, "workers": 2}), stories / "out")


@pytest.mark.parametrize("name", ["line\nbreak.txt", " space.txt", "x\udcff.txt"])
def test_a_file_whose_name_cannot_be_listed_is_counted(stories: Path, name: str) -> None:
    (stories / "in" / name).write_text("never read")
    report, found = done(build({"path": str(stories / "in")}), stories / "out")
    assert report.cut["x: its file name cannot be written in a list"].count == 1
    assert len(found["x"]) == 40


HUB = """
import sys
from pathlib import Path
from lft.corpus.read import read_sources
from lft.corpus.schema import Build
from lft.errors import LftError
build = Build.model_validate_json(Path(sys.argv[1]).read_text())
if __name__ == "__main__":
    try:
        report = read_sources(build, Path(sys.argv[2]), print)
        print(report.figures)
    except LftError as error:
        print("ERROR", error)
"""


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_streamed_by_all_tasks(tmp_path: Path) -> None:
    from tests.hub_server import HubServer

    rows = [json.dumps({"text": f"The article of number {n} begins like this.", "url": f"u/{n}"}) for n in range(9)]
    lines = "".join(f"{row}\n" for row in rows)
    written(tmp_path, {f"hub/datasets/me/wiki/{lang}.jsonl": lines for lang in ("en", "de")})
    card = (
        "---\nconfigs:\n"
        + "".join(f"- config_name: {one}\n  data_files: {one}.jsonl\n" for one in ("en", "de"))
        + "---\n"
    )
    written(tmp_path, {"hub/datasets/me/wiki/README.md": card, "run.py": HUB})

    def said(source, name: str) -> str:
        made = build(source, run={"tasks": 2, "workers": 2})
        (tmp_path / "build.json").write_text(made.model_dump_json())
        done = subprocess.run(
            [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "build.json"), str(tmp_path / name)],
            env={**online, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert not done.stderr, done.stderr
        return done.stdout

    online = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    online |= {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    with HubServer(tmp_path / "hub") as server:
        source = {"kind": "wikipedia", "path": "me/wiki", "config": "{lang}", "langs": ["en", "de"]}
        assert "x: 18 documents of 18" in said(source, "out")
        records = [json.loads(line) for path in (tmp_path / "out" / "x").iterdir() for line in path.open()]
        assert {(one["lang"], one["where"]) for one in records} == {
            (lang, f"u/{n}") for lang in ("en", "de") for n in range(9)
        }
        wrong = {"kind": "jsonl", "path": "me/wiki", "config": "en", "columns": {"text": "txt"}}
        assert "ERROR me/wiki: sources: x: no column 'txt'; nearest: 'text'" in said(wrong, "wrong")
        assert "ERROR me/wikki: no such data set on the hub" in said({**source, "path": "me/wikki"}, "none")
        assert "ERROR" in said({**source, "split": "tset"}, "split")
