"""`lft data preview` and `audit` show both sides of an encoder-decoder's examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lft.cli import main
from tests.tiny import save_tiny_pair

RECIPE = """\
name: tiny
base: {model: ./t5, dtype: float32}
data: {train: data.jsonl, split: {validation: null}, prompt: plain, packing: false, max_length: 64}
"""
ROWS = [
    {"input": "the red cat", "output": "runs over\nthe  tree"},
    {"input": "a dog", "output": "sings a\n\nnight"},
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_tiny_pair(tmp_path / "t5")
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (tmp_path / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.setenv("LFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_preview_shows_the_encoders_side_and_the_decoders(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["data", "preview", "tiny.yaml"]) == 0
    out = capsys.readouterr().out
    assert "── encoder · example 0 · 0 of 4 in the loss" in out
    assert "\nthe red cat</s>\n" in out
    assert "── decoder · example 0 · 6 of 6 in the loss" in out
    assert "[[runs over\n the tree</s>]]" in out


def test_audit_counts_what_the_tokenizer_does_not_keep(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["data", "audit", "tiny.yaml"]) == 0
    out = capsys.readouterr().out
    assert "not kept   1 spaces or tabs, 0 unknown stretches; 0 texts respelt" in out
    assert "nothing amiss" in out


def test_audit_tells_which_side_is_too_long(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["data", "audit", "tiny.yaml", "data.max_length=5"]) == 3
    assert "0 by their input, 2 by their output" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["data.packing=true", "data.prompt=longform-eoi"])
def test_what_an_encoder_decoder_cannot_do_is_a_mistake_of_the_recipe(
    place: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    assert main.run(["data", "preview", "tiny.yaml", wrong]) == 2
    error = capsys.readouterr().err
    assert wrong.split("=")[0] in error
    assert "fix: write data." in error
