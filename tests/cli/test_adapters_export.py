"""`lft adapters export` and `merge --base` as they are typed: merges into a base, foreign adapters, mistakes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from ruamel.yaml import YAML
from safetensors.torch import load_file

from lft.adapters.base_tensors import base_tensors
from lft.adapters.certificate import Certificate
from lft.adapters.inputs import open_inputs
from lft.adapters.merge import merge
from lft.adapters.plan_file import plan_of_expression
from lft.base.binding import Binding
from lft.base.headers import read_headers
from lft.base.identity import identity
from lft.cli.main import run
from lft.files import broken_files, seal, sha256
from tests.adapters.test_export_merged import saved_base
from tests.adapters_bound import bind
from tests.merging import generator

SUM = "0.5*./de + 0.5*./recipes"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in bfloat16, two adapters of it, and one that another program made."""
    from tests.adapters.test_export_merged import loaded

    folder = tmp_path_factory.mktemp("exports")
    base = saved_base(folder / "base", dtype="BF16", hidden=64, vocab=300)
    rows = loaded(base).get_input_embeddings().weight.shape[0]
    for number, name in enumerate(("de", "recipes", "foreign")):
        made(base, folder / name, number)
        if name != "foreign":
            bound(folder / name, base, rows, name=f"me/{name}")
    return folder


def made(base: Path, folder: Path, seed: int, **also: object) -> Path:
    from tests.adapters.test_export_merged import loaded

    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"], **also}
    tuned = get_peft_model(loaded(base), LoraConfig(**config))  # type: ignore[arg-type]
    random = generator(seed)
    for key, parameter in tuned.named_parameters():
        if "lora_" in key:
            parameter.data = torch.randn(parameter.shape, generator=random) * 0.1
    tuned.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    return folder


def bound(adapter: Path, base: Path, rows: int, **also: Any) -> None:
    """Bound to a base that is found again by its folder."""
    bind(adapter, base, rows, **also)
    replace(Binding.load(adapter), base=str(base)).save(adapter)
    seal(adapter)


@pytest.fixture
def lft(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(place)

    def call(*arguments: str, code: int = 0) -> str:
        got = run(["adapters", *arguments])
        said = capsys.readouterr()
        assert got == code, said.out + said.err
        assert "Traceback" not in said.err
        return said.out + said.err

    return call


METHODS = {
    "ties": ["density=0.4"],
    "dare": ["density=0.6", "seed=3"],
    "della": ["seed=4"],
    "breadcrumbs": ["density=0.6", "gamma=0.1"],
    "magnitude": ["density=0.3"],
    "dare-ties": ["seed=2"],
}


@pytest.mark.parametrize("method", METHODS)
def test_a_merge_of_full_matrices_is_written_into_the_base_rounded_once(lft, tmp_path: Path, method: str) -> None:
    settings = [f"method={method}", *METHODS[method]]
    said = lft("export", SUM, *settings, "--to", "merged", "--out", str(tmp_path / "out"))
    assert "read back" in said
    plan = plan_of_expression(SUM, settings)
    merged = merge(plan, open_inputs(["./de", "./recipes"], Path).sources)
    base = {name: base_tensors(Path("base"))(name) for name in (tensor.name for tensor in read_headers(Path("base")))}
    found = load_file(tmp_path / "out/model.safetensors")
    assert found.keys() == base.keys()
    for name, tensor in found.items():
        wanted = base[name]
        assert wanted is not None
        change = merged.tensor(name) if name in merged.names() else torch.zeros_like(wanted)
        assert torch.equal(tensor, (wanted + change).to(torch.bfloat16)), name
    assert any(not torch.equal(found[name].float(), base[name]) for name in merged.names())
    assert Certificate.load(tmp_path / "out").method == method
    assert broken_files(tmp_path / "out") == []


def test_a_file_with_a_plan_and_an_expression_give_the_same_model(lft, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "merge:\n  method: ties\n  inputs: [./recipes, ./de]\n  weights: {./de: 0.5, ./recipes: 0.5}\n"
    )
    lft("export", str(tmp_path / "m.yaml"), "--to", "merged", "--out", str(tmp_path / "a"))
    lft("export", SUM, "method=ties", "--to", "merged", "--out", str(tmp_path / "b"), "--workers", "1")
    for name in ("model.safetensors", "merge.json", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_sum_is_the_same_model_as_its_adapter_exported(lft, tmp_path: Path) -> None:
    lft("merge", SUM, "--name", "me/both")
    lft("export", "me/both", "--to", "merged", "--out", str(tmp_path / "a"))
    lft("export", SUM, "--to", "merged", "--out", str(tmp_path / "b"))
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_what_lies_below_the_adapters_of_a_merge_is_in_the_model(lft, place: Path, tmp_path: Path) -> None:
    from lft.adapters.adapter import open_adapter
    from lft.base.binding import Below

    digest = open_adapter(place / "de").digest
    for number, name in enumerate(("one", "two")):
        made(place / "base", tmp_path / name, 7 + number)
        bound(tmp_path / name, place / "base", 300, name=f"me/{name}", below=(Below(str(place / "de"), digest),))
    what = f"0.5*{tmp_path}/one + 0.5*{tmp_path}/two"
    said = lft("export", what, "method=magnitude", "density=1", "--to", "merged", "--out", str(tmp_path / "out"))
    assert "with the adapter below it" in said
    lft("export", f"{what} + ./de", "--to", "merged", "--dtype", "float32", "--out", str(tmp_path / "sum"))
    found, wanted = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "sum"))
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name].float(), tensor, rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["export", SUM, "method=ties", "--to", "peft", "--out", "x"], 2, "make it one first: lft adapters merge"),
        (["export", SUM, "method=tis", "--to", "merged", "--out", "x"], 2, "nearest: 'ties'"),
        (["export", SUM, "rank", "--to", "merged", "--out", "x"], 2, "expected key=value"),
        (["export", "0.5*./de +", "--to", "merged", "--out", "x"], 2, "column 11: the end where"),
        (["export", "./de + ./none", "--to", "merged", "--out", "x"], 3, "no such adapter"),
        (["export", SUM, "--to", "merged", "--out", "x", "--rank", "4"], 2, "write rank=4 behind it"),
        (["export", "./de", "--to", "merged", "--out", "x", "--base-of", "./de"], 2, "adapters of a merge"),
        (["export", "./de", "--to", "merged", "--out", "base"], 2, "exists already"),
        (["export", "./de", "--to", "merged", "--out", "x", "--from", "m.gguf"], 2, "takes no base in GGUF"),
        (["export", "./de", "--to", "peft", "--out", "x", "--merge-base", "trained"], 2, "nothing is merged"),
        (["export", "./de", "--to", "merged", "--out", "x", "--merge-base", "trained"], 2, "was not quantized"),
        (["export", "./de", "--to", "merged", "--out", "x", "--base", ""], 2, "no base is named"),
        (["export", "./foreign", "--to", "merged", "--out", "x"], 3, "name it: --base"),
        (
            ["export", "./de + ./foreign", "--to", "merged", "--base", "./none", "--out", "x"],
            3,
            "no such file or folder",
        ),
        (["merge", SUM, "method=ties", "--out", "x"], 3, "lft adapters export"),
        (["merge", "./de + ./foreign", "--out", "x"], 3, "name the base, and all of them are checked"),
        (["merge", "./de", "--base", "./no", "--out", "x"], 3, "no such file or"),
        (["advise", "./de", "./foreign"], 3, "--base"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(lft, words: list[str], code: int, says: str) -> None:
    assert says in " ".join(lft(*words, code=code).split())
    assert not Path("x").exists()


def test_a_foreign_adapter_joins_the_others_where_the_base_is_named(lft, place: Path, tmp_path: Path) -> None:
    said = lft("merge", "0.5*./de + 0.5*./foreign", "--base", "base", "--name", "me/both")
    assert "./foreign: not known: L2 weights" in said
    lft("export", "me/both", "--to", "merged", "--out", str(tmp_path / "a"))
    lft("export", "0.5*./de + 0.5*./foreign", "--base", "base", "--to", "merged", "--out", str(tmp_path / "b"))
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert "cosine" in lft("advise", "./de", "./foreign", "--base", "base").lower()


def test_a_foreign_adapter_alone_becomes_a_bound_one(lft, place: Path, tmp_path: Path) -> None:
    lft("merge", "./foreign", "--base", str(place / "base"), "--out", str(tmp_path / "bound"))
    found, known = Binding.load(tmp_path / "bound"), Binding.load(place / "de")
    assert (found.weights, found.tokenizer, found.rows) == (known.weights, known.tokenizer, known.rows)
    lft("merge", f"./de + {tmp_path}/bound", "--name", "me/sum")


def test_a_foreign_adapter_of_another_shape_does_not_join(lft, place: Path, tmp_path: Path) -> None:
    saved_base(tmp_path / "other", hidden=32, vocab=300)
    made(tmp_path / "other", tmp_path / "a", 5)
    assert "L0" in lft("merge", f"./de + {tmp_path}/a", "--base", "base", "--out", str(tmp_path / "x"), code=3)


@pytest.mark.parametrize("which", ["trained", "original"])
def test_a_merge_of_qloras_asks_which_base_it_is_written_into(lft, place: Path, tmp_path: Path, which: str) -> None:
    for name in ("de", "recipes"):
        shutil.copytree(place / name, tmp_path / name)
        bound(tmp_path / name, place / "base", 300, quantize="nf4", name=name)
    what = f"0.5*{tmp_path}/de + 0.5*{tmp_path}/recipes"
    where = ["--to", "merged", "--out", str(tmp_path / "out")]
    assert "--merge-base" in lft("export", what, "method=ties", *where, code=2)
    mixed = f"0.5*{tmp_path}/de + 0.5*./recipes"
    assert "--base-of" in lft("export", mixed, "method=ties", *where, "--merge-base", which, code=3)
    assert "quantizing changed the base" in lft("export", what, "method=ties", *where, "--merge-base", which)
    lft("export", mixed, "--base-of", "./recipes", "--to", "merged", "--out", str(tmp_path / "plain"))
    over = {one.over for one in Certificate.load(tmp_path / "plain").parents}
    assert over == {"", "nf4"}


def front(folder: Path) -> dict:
    return YAML(typ="safe", pure=True).load((folder / "README.md").read_text().split("---\n")[1])


def test_a_merged_model_has_a_card_that_says_what_it_is_made_of(lft, place: Path, tmp_path: Path) -> None:
    (place / "base/README.md").write_text("---\nlicense: mit\n---\n# base\n")
    lft("add", "./de", "--name", "me/de", "--tag", "license=mit", "--lang", "de")
    lft("add", "./recipes", "--name", "me/recipes", "--tag", "license=mit")
    lft("export", "0.5*me/de + 0.5*me/recipes", "method=ties", "--to", "merged", "--out", str(tmp_path / "two"))
    lft("export", "me/de", "--to", "merged", "--out", str(tmp_path / "one"))
    two, one = ((tmp_path / name / "README.md").read_text() for name in ("two", "one"))
    digests = {name: identity(place / name).digest for name in ("de", "recipes")}
    assert f"| `me/de:1.0.0` | `{digests['de']}` | 0.5 | the base as it is stored |" in two
    assert f"| `me/de:1.0.0` | `{digests['de']}` | 1 |" in one
    assert digests["recipes"] in two
    assert digests["recipes"] not in one
    assert sha256(tmp_path / "two/merge.json") in two
    assert "ties" in two
    assert not [text for text in (one, two) if str(place) in text or str(tmp_path) in text]
    assert front(tmp_path / "two") == {
        "library_name": "transformers", "pipeline_tag": "text-generation", "license": "mit", "language": ["de"],
        "tags": ["lft", "merge", "ties"],
    }  # fmt: skip
    snippet = two.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path / "two"))
    exec(compile(snippet, "card", "exec"), made_by_card := {})
    assert made_by_card["model"].config.model_type == "llama"
    (place / "base/README.md").unlink()


def test_a_card_states_no_licence_for_all_where_one_is_unknown(lft, place: Path, tmp_path: Path) -> None:
    lft("add", "./de", "--name", "me/de", "--tag", "license=mit")
    lft("export", "me/de", "--to", "merged", "--out", str(tmp_path / "out"))
    assert "license" not in front(tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    assert "| adapter | `me/de:1.0.0` | mit |" in text
    assert "| base | `base` | not stated where it was read |" in text


def test_a_merge_becomes_a_gguf(lft, tmp_path: Path) -> None:
    said = lft("export", SUM, "method=ties", "--to", "gguf", "--out", str(tmp_path / "m.gguf"))
    assert f"model: {tmp_path}/m.gguf" in said
    assert ".draft." not in said


_KILLED = """
import os, signal, sys
from lft.adapters.export import gguf_model
from lft.base import diff
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
gguf_model._write = diff.write_shard = die
from lft.cli.main import run
run(sys.argv[1:])
"""


@pytest.mark.parametrize("form", ["gguf", "diff"])
def test_an_export_that_is_killed_leaves_nothing_after_the_next_one(
    lft, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (tmp_path / "x").mkdir()
    words = ["export", "./de", "--to", form, "--out", str(tmp_path / "x/out")]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", _KILLED, "adapters", *words]
    done = subprocess.run(command, env=env, cwd=place, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert [path for path in (tmp_path / "x").iterdir() if (path / "model").is_dir()]
    monkeypatch.setattr("lft.files._NEW", 0.0)  # the next command is a process of its own, and starts a second later
    lft(*words)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["out"]
