"""A stack where one adapter is asked for: `merge` takes its adapters with their weights, `verify` looks at each."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lft.adapters.adapter import open_adapter
from lft.adapters.deltas import content_digest, read_delta
from lft.adapters.store.checkout import adapter_folder_of, materialise
from lft.adapters.store.layout import Store, open_store
from lft.adapters.store.lookup import resolve
from lft.cli.main import run
from tests.adapters.test_stacks import put
from tests.tiny import save_tiny
from tests.typed import few_examples

Says = Callable[..., str]
TIES = ("method=ties", "density=0.5", "rank=8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a registry: three adapters, two with a row of a token, one on another, and stacks of them."""
    folder = tmp_path_factory.mktemp("home")
    save_tiny(folder / "base", "llama", hidden=64)
    store = open_store(folder / "registry")
    for seed, name in enumerate(("de", "en", "fr"), 1):
        put(store, folder, name, seed, tokens=())
    put(store, folder, "row-a", 5)
    put(store, folder, "row-b", 6)
    put(store, folder, "task", 8, below=("de",), tokens=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LFT_HOME", str(folder))
        for name, expression in (
            ("both", "0.7*lft/de + 0.3*lft/en"),
            ("layers", "0.7*lft/de[1] + 0.3*lft/en"),
            ("rows", "0.5*lft/row-a[1] + 0.5*lft/row-b"),
        ):
            assert run(["adapters", "stack", expression, "--name", f"lft/{name}"]) == 0
        assert run(["adapters", "stack", "--chain", "lft/de", "lft/task", "--name", "lft/chain"]) == 0
        assert run(["adapters", "stack", "--chain", "lft/row-a", "lft/row-b", "--name", "lft/rows-chain"]) == 0
    return folder


@pytest.fixture
def store(home: Path) -> Store:
    return open_store(home / "registry")


@pytest.fixture
def says(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    monkeypatch.setenv("LFT_HOME", str(home))
    monkeypatch.setenv("LFT_CACHE", str(home / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*words: object, code: int = 0) -> str:
        found = run(["adapters", *(str(word) for word in words)])
        out = capsys.readouterr()
        assert found == code, out.err
        assert "Traceback" not in out.err
        return out.out + out.err

    return call


def merged(says: Says, store: Store, *words: str) -> str:
    """The content of what a merge gives."""
    name = f"me/m{hashlib.sha256(repr(words).encode()).hexdigest()[:8]}"
    says("merge", *words, "--name", name)
    return content_digest(read_delta(open_adapter(adapter_folder_of(name, store))))


@pytest.mark.parametrize(
    ("stacked", "flat"),
    [
        (("0.5*lft/both + lft/fr",), ("0.35*lft/de + 0.15*lft/en + lft/fr",)),
        (("lft/fr - 2*lft/both",), ("lft/fr - 1.4*lft/de - 0.6*lft/en",)),
        (("0.5*lft/both + 0.5*lft/de:1.0.0",), ("0.85*lft/de + 0.15*lft/en",)),
        (("0.5*lft/both + 0.5*lft/both:1.0.0",), ("0.7*lft/de + 0.3*lft/en",)),
        (("0.5*lft/both + 0.4*lft/fr", *TIES), ("0.35*lft/de + 0.15*lft/en + 0.4*lft/fr", *TIES)),
        (("0.5*lft/chain",), ("0.5*lft/de + 0.5*lft/task",)),
    ],
)  # fmt: skip
def test_a_stack_is_its_adapters_with_their_weights(
    says: Says, store: Store, stacked: tuple[str, ...], flat: tuple[str, ...]
) -> None:
    assert merged(says, store, *stacked) == merged(says, store, *flat)


def test_a_stack_in_an_exported_merge_is_its_adapters_too(says: Says, home: Path, tmp_path: Path) -> None:
    for place, expression in (("a", "0.5*lft/both + lft/fr"), ("b", "0.35*lft/de + 0.15*lft/en + lft/fr")):
        says("export", expression, "--to", "merged", "--base", home / "base", "--out", tmp_path / place)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_a_stack_that_is_compared_is_its_adapters(says: Says) -> None:
    parts = ("lft/de:1.0.0", "lft/en:1.0.0")  # the order of a stack is that of its digests
    assert says("advise", "lft/both", "lft/fr") in [says("advise", *order, "lft/fr") for order in (parts, parts[::-1])]


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        ("lft/layers", "lft/layers: a part of it, lft/de:1.0.0, stands in some layers only"),
        ("lft/rows-chain", "so that their order means something, and a merge has no order"),
    ],
)
@pytest.mark.parametrize("command", [("advise",), ("search", "--data", "few.jsonl")])
def test_a_stack_that_is_not_the_sum_of_whole_adapters_is_not_compared(
    says: Says, tmp_path: Path, command: tuple[str, ...], stack: str, why: str
) -> None:
    few_examples(tmp_path / "few.jsonl")
    assert why in " ".join(says(*command, stack, code=3).split())


def test_layers_of_a_part_are_kept(says: Says, store: Store, tmp_path: Path) -> None:
    (tmp_path / "flat.yaml").write_text(
        "merge:\n  inputs: [lft/de, lft/en]\n  weights: {lft/de: [0.0, 1.4], lft/en: 0.6}\n"
    )
    assert merged(says, store, "2*lft/layers") == merged(says, store, "flat.yaml")


def test_lineage_names_the_adapters(says: Says, store: Store) -> None:
    says("merge", "0.5*lft/both", "--name", "me/lineage")
    parents = resolve(store, "me/lineage").manifest.lineage.parents
    assert {(parent.digest, parent.weight) for parent in parents} == {
        (resolve(store, "lft/de").digest, "0.35"),
        (resolve(store, "lft/en").digest, "0.15"),
    }


def test_a_chain_whose_order_counts_is_refused(says: Says) -> None:
    assert "so that their order means something, and a merge has no order" in says(
        "merge", "0.5*lft/rows-chain", "--name", "me/x", code=3
    )


def test_layers_and_rows_of_tokens_are_no_one_weight(says: Says) -> None:
    assert "stands in layers 1 and also changes what belongs to no layer" in says(
        "merge", "lft/rows", "--name", "me/x", code=3
    )


def test_a_stack_has_one_number_for_its_weight(says: Says, tmp_path: Path) -> None:
    for weights in ("", "  weights: {lft/both: {'*': 0.5}}\n"):
        (tmp_path / "merge.yaml").write_text(f"merge:\n  inputs: [lft/both]\n{weights}")
        assert "a stack takes one number for its weight" in says("merge", "merge.yaml", "--name", "me/x", code=2)


def test_an_adapter_that_is_there_twice_in_layers_is_refused(says: Says) -> None:
    assert "lft/de:1.0.0 is there twice" in says("merge", "lft/layers + lft/de:1.0.0", "--name", "me/x", code=2)


def test_a_version_that_was_removed_and_that_a_stack_keeps_is_merged(says: Says, store: Store) -> None:
    wanted = merged(says, store, "0.5*lft/both + lft/fr")
    says("remove", "lft/en:1.0.0")
    try:
        assert merged(says, store, "0.5*lft/both + 1.0*lft/fr") == wanted
    finally:
        says("add", materialise(store, resolve(store, "lft/both").manifest.parents[0]), "--name", "lft/en")
        says("add", materialise(store, resolve(store, "lft/both").manifest.parents[1]), "--name", "lft/en")


def test_verify_looks_at_each_adapter_of_a_stack(says: Says, home: Path) -> None:
    alone = says("verify", "lft/both")
    assert alone.startswith("stack      lft/both:1.0.0, 2 adapters\n")
    out = says("verify", "lft/both", "--base", home / "base")
    for part in ("0.7 x lft/de:1.0.0", "0.3 x lft/en:1.0.0"):
        assert f"part       {part}\n" in out
    for rung in ("L0 names and shapes", "L1 name and config", "L2 weights", "L3 tokenizer", "L4 what lies below"):
        assert out.count(rung) == 2
    assert str(home / "registry") not in out
    assert "2 adapters below" not in out
    assert "no level" in says("verify", "lft/both", "--allow-mismatch", "L0", code=2)


def test_a_stack_on_another_base_fails_with_every_ladder_shown(says: Says, home: Path, tmp_path: Path) -> None:
    save_tiny(tmp_path / "other", "llama", hidden=32)
    out = says("verify", "lft/both", "--base", tmp_path / "other", code=3)
    assert out.count("L0 names and shapes failed") == 2
    assert "error: lft/de:1.0.0: it does not fit" in out or "error: lft/en:1.0.0: it does not fit" in out


def test_a_part_that_is_another_adapter_by_now_is_refused(says: Says, store: Store, tmp_path: Path) -> None:
    folder = materialise(store, resolve(store, "lft/both").digest)
    out = tmp_path / "checkouts"
    shutil.copytree(folder.parent, out)
    part = out / resolve(store, "lft/both").manifest.parents[0]
    config = json.loads((part / "adapter_config.json").read_text())
    (part / "adapter_config.json").chmod(0o644)
    (part / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 99}))
    (part / "manifest.json").unlink()
    message = says("verify", out / folder.name, code=3)
    assert "is another adapter than the one that" in message


def test_verify_calls_a_version_by_its_name(says: Says, home: Path, tmp_path: Path) -> None:
    assert "adapter    lft/de:1.0.0\n" in says("verify", "lft/de")
    assert f"adapter    {home / 'de'}\n" in says("verify", home / "de").replace("\n           ", "")
    save_tiny(tmp_path / "other", "llama", hidden=32)
    assert "error: lft/de:1.0.0: it does not fit" in says("verify", "lft/de", "--base", tmp_path / "other", code=3)
