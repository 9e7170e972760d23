"""Selection from end to end: its report, its determinism, its memory."""

import json
import random
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from lft.corpus.document import Document
from lft.corpus.schema import Build
from lft.corpus.select import STEPS, read_groups, select
from lft.corpus.step import Report
from lft.errors import InputError
from tests.corpus.selecting import build, document, prose, renamed, selected, written

EVERYTHING = {
    "language": {"check": True},
    "quality": {"min_words": 30, "max_words": 1000},
    "duplicates": {"exact": True, "near": True},
    "contamination": {"suites": ["all"]},
    "quotas": {"total": 60, "by_source": {"two": 20}, "by_length": {"long": 0}},
}


def mixed(lot: random.Random) -> list[Document]:
    """Documents of which each step cuts some."""
    found = [document(i, prose(lot, lot.randint(40, 200)), source=lot.choice(["one", "two"])) for i in range(100)]
    found += [renamed(lot.choice(found), 1000 + i) for i in range(10)]
    found += [renamed(one, 2000 + i, text=one.text + " And more.") for i, one in enumerate(found[:10])]
    found += [document(3000 + i, prose(lot, 10)) for i in range(5)]
    found += [document(4000 + i, prose(lot, 20) * 8) for i in range(5)]
    found += [document(5000 + i, prose(lot, 90), lang="de", detected="en") for i in range(5)]
    return found


def test_tasks_and_workers_change_nothing(tmp_path: Path) -> None:
    documents = mixed(random.Random(1))
    reports, files = [], []
    for name, tasks, workers in (("a", 1, 1), ("b", 4, 1), ("c", 3, 2)):
        report, _ = selected(tmp_path, documents, build(tasks=tasks, workers=workers, **EVERYTHING), name)
        reports.append(report.to_json())
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert reports[0] == reports[1] == reports[2]
    assert files[0] == files[1] == files[2]


def test_the_report_says_what_each_step_removed_with_samples(tmp_path: Path) -> None:
    documents = mixed(random.Random(1))
    report, left = selected(tmp_path, documents, build(**EVERYTHING))
    assert (report.came, report.kept) == (len(documents), len(left))
    steps = [Report.of(one) for one in report.figures["steps"]]
    assert [one.step for one in steps] == [step for step in STEPS if step not in ("C4", "diversity")]
    assert steps[0].came == report.came
    assert [one.came for one in steps[1:]] == [one.kept for one in steps[:-1]]
    assert steps[-1].kept == report.kept
    by_name = {one.step: one for one in steps}
    for step in ("language", "length", "repetition", "duplicates", "near-duplicates", "quotas"):
        assert by_name[step].cut, step
    ids = {one.id: one.text for one in documents}
    for cut in report.cut.values():
        assert len(cut.samples) == min(cut.count, 3)
        assert all(ids[sample.id].startswith(sample.text[:50]) for sample in cut.samples)


def test_a_document_that_is_kept_comes_out_as_it_came_in(tmp_path: Path) -> None:
    lot = random.Random(2)
    one = renamed(document(7, prose(lot)), 7, title="Ünï", question="Why?", style="human", score=3.5, subset="cooking")
    bare = renamed(document(8, prose(lot)), 8, detected="")
    report, left = selected(tmp_path, [one, bare], build(language={"check": True}))
    assert left == [one, renamed(bare, 8, detected=left[1].detected)]
    assert left[1].detected
    assert report.cut == {}


def test_nothing_is_left_behind_but_the_documents_and_their_groups(tmp_path: Path) -> None:
    selected(tmp_path, mixed(random.Random(3)), build(**EVERYTHING))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents", "out"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [*(f"{i:05d}.jsonl" for i in range(6)), "groups.json"]


def test_all_steps_off_keeps_everything(tmp_path: Path) -> None:
    documents = mixed(random.Random(4))
    report, left = selected(tmp_path, documents, build())
    assert report.kept == len(documents) == len(left)
    assert read_groups(tmp_path / "out") == ()


def test_defaults_keep_most_real_pages(tmp_path: Path, shared_data: Path) -> None:
    documents = []
    for lang in ("de", "en", "es", "fr", "ru"):
        lines = (shared_data / "corpus" / f"gnome-help.{lang}.jsonl").read_text(encoding="utf-8").splitlines()
        for line in lines[:60]:
            record = json.loads(line)
            documents.append(document(len(documents), record["text"], lang=lang))
    wanted = build().model_copy(update={"select": Build.model_fields["select"].get_default(call_default_factory=True)})
    report, _ = selected(tmp_path, documents, wanted)
    assert report.kept > 0.85 * len(documents)


def test_no_documents_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    with pytest.raises(InputError, match="there are no documents"):
        select(build(), tmp_path / "documents", tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "said", "workers"),
    [("{broken", "no JSON", 1), ('{"id": "x"}', "is no document", 1), ("[]", "no object", 2)],
)
def test_a_damaged_line_is_one_sentence_and_leaves_nothing(tmp_path: Path, line: str, said: str, workers: int) -> None:
    place = written(tmp_path / "documents", [document(1, "a b c")], files=1)
    with (place / "one" / "00000.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=said):
        select(build(tasks=workers, workers=workers), place, tmp_path / "out", print)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents", "out"]
    assert list((tmp_path / "out").iterdir()) == []


MEASURED = """
import json, resource, sys
from pathlib import Path
from lft.corpus.schema import Build
from lft.corpus.select import select
select(Build.model_validate(json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]), lambda line: None)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    lot = random.Random(5)
    texts = [prose(lot, 400) for _ in range(50)]
    wanted = build(duplicates={"exact": True, "near": True}, contamination={"suites": ["all"]}).model_dump(mode="json")
    peaks = []
    for count in (600, 6000):
        documents = [document(i, lot.choice(texts) + prose(lot, 300)) for i in range(count)]
        place = written(tmp_path / str(count), documents, files=1)
        command = [sys.executable, "-c", MEASURED, json.dumps(wanted), str(place), str(tmp_path / f"out{count}")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]) * 1024)
    text_bytes = sum(len(asdict(one)["text"]) for one in documents)
    assert peaks[1] - peaks[0] < 0.35 * text_bytes
    assert (peaks[1] - peaks[0]) / 5400 < 1500  # bytes a document; their texts have 4,500
