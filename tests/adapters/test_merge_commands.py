"""`lft adapters merge` and `advise`: from names to a version in the registry, in a few lines of 80 columns."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer
from peft import LoraConfig, get_peft_model
from typer.testing import CliRunner

from lft.adapters.adapter import open_adapter
from lft.adapters.certificate import Certificate
from lft.adapters.store.checkout import adapter_folder_of
from lft.adapters.store.layout import open_store
from lft.adapters.store.lookup import resolve
from lft.cli.adapters_merge import advise, merge
from lft.errors import LftError
from tests.adapters_bound import bind
from tests.merging import generator
from tests.tiny import save_tiny, tiny_model

HOME = "registry-home"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two adapters of it, and a third of another base."""
    import torch

    folder = tmp_path_factory.mktemp("commands")
    save_tiny(folder / "base", vocab=380)
    save_tiny(folder / "other", vocab=380, seed=9)
    rows = tiny_model("llama", 380).get_input_embeddings().weight.shape[0]
    for n, (name, base) in enumerate({"de": "base", "recipes": "base", "alien": "other"}.items()):
        tuned = get_peft_model(
            tiny_model("llama", 380), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"])
        )
        random = generator(n)
        for key, parameter in tuned.named_parameters():
            if "lora_" in key:
                parameter.data = torch.randn(parameter.shape, generator=random) * 0.1
        tuned.save_pretrained(folder / name)
        (folder / name / "README.md").unlink()
        bind(folder / name, folder / base, rows, name=f"me/{name}")
    return folder


@pytest.fixture
def run(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LFT_HOME", str(tmp_path / HOME))
    monkeypatch.chdir(place)
    app = typer.Typer()
    app.command()(merge)
    app.command()(advise)
    runner = CliRunner()

    def call(*arguments: str) -> list[str]:
        done = runner.invoke(app, list(arguments))
        if done.exception is not None:
            raise done.exception
        return done.output.splitlines()

    return call


def test_a_merge_becomes_a_version_with_its_parents_and_its_certificate(run, tmp_path: Path) -> None:
    lines = run("merge", "0.7*./de + 0.3*./recipes", "--name", "me/both")
    assert lines[0] == "me/both:1.0.0: merged by cat (exact)"
    assert max(map(len, lines)) <= 80
    store = open_store(tmp_path / HOME / "registry")
    manifest = resolve(store, "me/both").manifest
    assert manifest.kind == "merge"
    assert {(one.role, one.weight) for one in manifest.lineage.parents} == {("input", "0.7"), ("input", "0.3")}
    assert manifest.merge is not None
    assert manifest.merge.certificate in {file.sha256 for file in manifest.files if file.path == "merge.json"}
    assert (manifest.merge.method, manifest.merge.exactness, manifest.merge.error) == ("cat", "exact", None)
    adapter = open_adapter(adapter_folder_of("me/both", store))
    assert adapter.binding is not None
    assert adapter.binding.name == "me/both"
    assert {low.r for low in adapter.low_rank} == {8}


def test_a_cut_merge_says_what_was_lost_and_is_written_to_a_folder(run, tmp_path: Path) -> None:
    lines = run("merge", "./de + ./recipes", "method=ties", "density=0.5", "rank=4", "--out", str(tmp_path / "out"))
    assert "merged by ties (dense rank-4{err=0." in " ".join(map(str.strip, lines))
    assert any("left out by the rank:" in line for line in lines)
    found = Certificate.load(tmp_path / "out")
    assert found.compression is not None
    assert f"{float(found.compression.error):.3%}" in "\n".join(lines)
    open_adapter(tmp_path / "out")


def test_a_file_says_the_same_as_an_expression(run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("merge:\n  inputs: [./recipes, ./de]\n  weights: {./de: 0.7, ./recipes: 0.3}\n")
    run("merge", str(tmp_path / "m.yaml"), "--out", str(tmp_path / "a"))
    run("merge", "0.7*./de + 0.3*./recipes", "--out", str(tmp_path / "b"))
    names = ("adapter_model.safetensors", "adapter_config.json", "merge.json")
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["./de"], "where to?"),
        (["./de", "--out", "recipes"], "recipes: it is there already"),
        ([], "nothing to merge"),
        (["./de + ", "--out", "x"], "column 8: the end where an adapter"),
        (["./de + ./none", "--out", "x"], "there is no such adapter"),
        (["me/none", "--out", "x"], "there is no such adapter"),
        (["./de + ./alien", "--out", "x"], "./de and ./alien were trained on different bases: weights differ"),
        (["./de", "method=tie", "--out", "x"], "nearest: 'ties'"),
        (["./de + ./recipes", "method=ties", "--out", "x"], "set rank="),
    ],
)
def test_a_mistake_is_one_message(run, arguments: list[str], said: str) -> None:
    with pytest.raises(LftError) as raised:
        run("merge", *arguments)
    assert said in str(raised.value)
    assert not Path("x").exists()


def test_a_sum_of_a_qlora_and_a_lora_is_put_where_the_user_says_and_never_in_silence(run, tmp_path: Path) -> None:
    shutil.copytree("de", tmp_path / "q")
    bind(tmp_path / "q", Path("base"), 380, quantize="nf4", name="me/q")
    what = f"0.7*{tmp_path}/q + 0.3*./recipes"
    with pytest.raises(LftError, match=r"rounded to nf4 and \./recipes on the base as it is stored"):
        run("merge", what, "--name", "me/both")
    lines = run("merge", what, "--name", "me/both", "--base-of", f"{tmp_path}/q")
    assert any(line.endswith("trained over nf4") for line in lines)
    assert any("warning: trained over bases of different rounding" in line for line in lines)
    assert max(map(len, lines)) <= 80
    base = resolve(open_store(tmp_path / HOME / "registry"), "me/both").manifest.base
    assert base.quantization is not None
    assert base.quantization.kind == "nf4"


def test_methods_are_listed_with_what_they_take(run) -> None:
    text = "\n".join(run("merge", "--methods"))
    assert "ties (dense)  density lambda scope" in text
    assert "compat:peft-linear (compat)" in text


def test_advice_is_a_table_of_80_columns(run) -> None:
    lines = run("advise", "./de", "./recipes")
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("take cat: ") for line in lines)
    with pytest.raises(LftError, match="different bases"):
        run("advise", "./de", "./alien")
