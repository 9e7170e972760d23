"""The paper's mixture from what is there."""

from pathlib import Path

import pytest

from lft.ask.schema import Backend
from lft.corpus.load import BUILD, load_build
from lft.corpus.longform import PARTS, compared, longform_build, parts_in, table
from lft.errors import InputError
from lft.recipe.write import to_yaml

BACKEND = Backend(kind="transformers", model="m")


def test_the_numbers_are_the_papers() -> None:
    assert [part.rows for part in PARTS] == [10_000, 5_000, 4_380, 2_500, 3_684, 600, 1_203, 372]
    assert sum(part.rows for part in PARTS) == 27_739


def test_what_is_there_becomes_a_build_file_that_reads_back(tmp_path: Path) -> None:
    for name in ("c4", "enron", "wikihow"):
        (tmp_path / name).mkdir()
    for name in ("c4", "enron"):
        (tmp_path / name / "x.json").write_text("{}")
    build = longform_build(tmp_path, BACKEND)
    assert [source.name for source in build.sources] == ["C4", "Enron"]
    assert build.select.quotas.by_source == {"C4": 10_000, "Enron": 372}
    assert all(rule.broken_by(build) is None for rule in BUILD.rules)
    (tmp_path / "longform.yaml").write_text(to_yaml(build))
    assert load_build(tmp_path / "longform.yaml") == build


def test_the_table_says_what_is_missing_and_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "enron").mkdir()
    (tmp_path / "enron" / "1").write_text("x")
    rows = parts_in(tmp_path)
    before, after = table(rows), table(compared(rows, {"Enron": 300}))
    assert "wikihow/" in before
    assert "StackExchange            4,380       -    4,380" in before
    assert "Enron                      372   there        0" not in after
    assert "Enron                      372     300       72" in after
    assert all(len(line) < 100 for line in after.splitlines())


def test_an_empty_folder_is_told_what_belongs_in_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the paper's sources") as caught:
        parts_in(tmp_path)
    assert "natural-instructions" in str(caught.value)
