"""`lft evaluate scale`: a recipe over three sizes, trained and scored for real, and gone on with where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from lft.recipe import to_yaml
from tests.cli.test_evaluate import SUITE
from tests.processes import lft
from tests.runs import material, recipe
from tests.tiny import save_tiny, sentences

pytestmark = pytest.mark.slow  # three trainings


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A recipe, its data, bases of three sizes and a suite."""
    made = material(tmp_path / "stuff")
    (tmp_path / "tiny.yaml").write_text(to_yaml(recipe(made, tmp_path / "runs", train={"epochs": 1})))
    for number, hidden in enumerate((16, 32, 64)):
        save_tiny(tmp_path / f"base{number}", hidden=hidden, chat=False)
    texts = sentences(20, low=6, high=12)
    rows = (f'{{"topic": "{texts[n]}", "text": "{texts[n + 10]}", "lang": "en"}}\n' for n in range(10))
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    (tmp_path / "mine.yaml").write_text(SUITE)
    return tmp_path


def test_three_sizes_make_a_line_and_the_second_time_nothing_is_trained(place: Path) -> None:
    bases = [word for number in range(3) for word in ("--base", f"./base{number}")]
    words = ["evaluate", "scale", "tiny.yaml", "mine.yaml", *bases, "--metric", "bits-per-byte", "--offline"]
    first = lft(place, *words)
    assert first.code == 0, first.err
    assert "ten times the parameters" in first.out
    assert "<svg" in (place / "evaluations" / "scale" / "scale.html").read_text()
    runs = sorted((place / "evaluations" / "scale" / "runs").glob("*/*"))
    assert len(runs) == 3
    again = lft(place, *words)
    assert again.err.count("trained already") == 3
    assert [line for line in again.out.splitlines() if "ten times" in line] == [
        line for line in first.out.splitlines() if "ten times" in line
    ]
    assert sorted((place / "evaluations" / "scale" / "runs").glob("*/*")) == runs
    other = lft(place, *words[:4], "train.learning_rate=0.02", *words[4:6], *words[10:])
    assert other.code == 0, other.err
    assert "trained already" not in other.err  # another recipe is another run
    assert len(sorted((place / "evaluations" / "scale" / "runs").glob("*/*"))) == 4
