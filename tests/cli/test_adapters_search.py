"""`lft adapters search`: the weights that it prints are those of the merge that it says to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lft.adapters.store.layout import open_store
from lft.cli.main import run
from lft.evaluate.answer import open_answerer
from lft.evaluate.loss import encoded, examples_of, mean_loss
from tests.adapters.test_stacks import put
from tests.tiny import save_tiny
from tests.typed import few_examples, louder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with adapters without and with a row of a token, and a file with examples."""
    folder = tmp_path_factory.mktemp("search")
    save_tiny(folder / "base", "llama", hidden=64)
    store = open_store(folder / "registry")
    for seed, name in enumerate(("de", "en")):
        put(store, folder, name, seed, tokens=())
        put(store, folder, f"{name}-eoi", seed)
    few_examples(folder / "few.jsonl")
    louder(folder / "de", folder / "loud")
    return folder


@pytest.fixture
def lft(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LFT_HOME", str(home))
    monkeypatch.setenv("LFT_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)

    def call(*words: str, code: int = 0) -> str:
        got = run(["adapters", *words])
        said = capsys.readouterr()
        assert got == code, said.out + said.err
        return said.out + (said.err if code else "")

    return call


@pytest.mark.parametrize("end", ["", "-eoi"], ids=["plain", "with rows of a token"])
def test_the_printed_merge_has_the_printed_loss(lft, home: Path, tmp_path: Path, end: str) -> None:
    said = lft("search", f"lft/de{end}", f"lft/en{end}", "--data", "few.jsonl", "--trials", "6", "--examples", "4")
    assert "on 4 examples" in said
    equal, found = map(float, re.findall(r"(\d+\.\d+) with", said))
    assert found <= equal + 1e-3
    words = shlex.split(said.splitlines()[-1])
    assert words[:3] == ["lft", "adapters", "merge"]
    lft(*words[2:-2], "--out", str(tmp_path / "merged"))
    merged = open_answerer(tmp_path / "merged", home / "cache", lambda _: None)
    assert mean_loss(merged, encoded(merged, examples_of(home / "few.jsonl", 4), 512)) == pytest.approx(found, abs=2e-4)
    assert ("replaced=mean" in words) is bool(end)


def test_the_same_seed_finds_the_same_weights_also_where_the_base_is_named(lft) -> None:
    words = ("search", "lft/de", "lft/en", "--data", "few.jsonl", "--trials", "5", "--seed", "3")
    alone, named = (lft(*words, *also).splitlines()[-1] for also in ([], ["--base", "base"]))
    assert named == alone.replace(" --name", " --base base --name")


def test_the_same_tensors_with_another_scale_are_another_adapter(lft) -> None:
    said = lft("search", "lft/de", "./loud", "--data", "few.jsonl", "--trials", "2", "--examples", "2")
    assert [line.split()[1] for line in said.splitlines()[-3:-1]] == ["lft/de", "./loud"]


def test_a_stack_is_searched_as_its_adapters(lft) -> None:
    lft("stack", "0.9*lft/de + 0.1*lft/en", "--name", "me/both")
    few = ("--data", "few.jsonl", "--trials", "3", "--examples", "2")
    said = lft("search", "me/both", *few)
    parts = [line.split()[1] for line in said.splitlines()[-3:-1]]
    assert sorted(parts) == ["lft/de:1.0.0", "lft/en:1.0.0"]
    assert said == lft("search", *parts, *few)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["lft/de", "--data", "none.jsonl"], 3, "there is no such file"),
        (["lft/de", "--data", "base/config.json"], 3, "not a list of rows"),
        (["lft/none", "--data", "few.jsonl"], 3, "no such adapter"),
        (["lft/de", "lft/de:1.0.0", "--data", "few.jsonl"], 3, "two of them are the same adapter"),
        (["lft/de", "lft/en-eoi", "--data", "few.jsonl", "--files-of", "x"], 3, "not among the parents"),
        (["lft/de", "--data", "few.jsonl", "--base", "./none"], 3, "no such file or folder"),
        (["lft/de", "--data", "few.jsonl", "--max-length", "3"], 3, "6 of 6 examples are longer than 3 tokens"),
        (["lft/de", "--data", "few.jsonl", "--trials", "0"], 2, "--trials"),
        ([], 2, "Missing"),
    ],
)
def test_a_mistake_is_one_message(lft, words: list[str], code: int, says: str) -> None:
    assert says in lft("search", *words, code=code)
