from __future__ import annotations

from pathlib import Path

import pytest

from lft.errors import RecipeError
from lft.recipe import check_recipe, load_recipe
from lft.recipe.schema import Recipe
from lft.recipe.words import Words, leaves

SMALL = "name: small\nbase: {model: org/base}\ndata: {train: org/data}\n"

WRONG = """\
name: x y
bse: {}
base:
  modle: a
  dtype: bfloat61
  revision: 1234567890123456789012345678901234567890
learning_rate: 3
data:
  train: [{path: a, weigth: 2}, {path: b, weight: -1}, 5, {}]
  streaming: yes
  split: train
method:
  r: many
  alpha: "32"
  dropout: .nan
  target_modules: {}
train:
  epochs:
  seed: 4294967296
  micro_batch_size: 2.5
  eval_every: epochs
  warmup_ratio: 1
  sample_prompts: hello
  lora_alpha: 1
launch: 5
output:
  tags: {lang: en, domain: [1], no name: [a], a.b: c}
"""

ONE_LINE_EACH = [
    "1:7: name: expected a name of at most 96 letters, digits and . _ - / (a letter or digit first), got 'x y'",
    "2:1: unknown key 'bse'; nearest: 'base'",
    "3:1: base.model is missing: hub id, folder, file.gguf or package://name",
    "4:3: unknown key 'modle' in base; nearest: 'model'",
    "5:10: base.dtype: expected one of auto, bfloat16, float16, float32, got 'bfloat61'; nearest: 'bfloat16'",
    "6:13: base.revision: expected a text that is not empty or null, got '1234567890123456789012345678901234567890'; "
    "write it in quotes",
    "7:1: unknown key 'learning_rate'; nearest: 'train.learning_rate'",
    "9:21: unknown key 'weigth' in data.train[0]; nearest: 'weight'",
    "9:51: data.train[1].weight: expected a number above 0, got '-1'",
    "9:56: data.train[2]: expected a section with the keys path, weight, revision, got '5'",
    "9:59: data.train[3].path is missing: hub id, folder, or .json / .jsonl / .parquet file",
    "10:14: data.streaming: expected true or false, got 'yes'",
    "11:10: data.split: expected a section with the keys train, validation, got 'train'",
    "13:6: method.r: expected a whole number above 0, got 'many'",
    "14:10: method.alpha: expected a number above 0, got the text '32'",
    "15:12: method.dropout: expected a number not below 0 and below 1, got '.nan'",
    "16:19: method.target_modules: expected a text that is not empty or a list, each item a text that is not empty, "
    "got an empty mapping",
    "18:3: train.epochs: expected a number above 0, got nothing",
    "19:9: train.seed: expected a whole number not below 0 and below 4294967296, got '4294967296'",
    "20:21: train.micro_batch_size: expected a whole number above 0 or auto, got '2.5'",
    "21:15: train.eval_every: expected a whole number above 0 or one of epoch, end, got 'epochs'; nearest: 'epoch'",
    "22:17: train.warmup_ratio: expected a number not below 0 and below 1, got '1'",
    "23:19: train.sample_prompts: expected a list, each item a text that is not empty, got 'hello'",
    "24:3: unknown key 'lora_alpha' in train; nearest: 'method.alpha'",
    "25:9: launch: expected a section with the keys engine, gpus, nodes, max_restarts, timeout_minutes, got '5'",
    "27:16: output.tags.lang: expected a list, each item a text, got 'en'",
    "27:29: output.tags.domain[0]: expected a text, got '1'; write it in quotes",
    "27:33: output.tags: expected a name of at most 32 letters, digits and _ - (a letter or digit first) as a key, "
    "got 'no name'",
    "27:47: output.tags: expected a name of at most 32 letters, digits and _ - (a letter or digit first) as a key, "
    "got 'a.b'",
]


def lines(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return [str(problem).removeprefix(f"{path}:") for problem in check_recipe(path)]


def test_all_mistakes_come_at_once_each_one_line_with_its_place_and_the_nearest_key(tmp_path: Path) -> None:
    assert lines(tmp_path, WRONG) == ONE_LINE_EACH


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("epoch", "epochs"),
        ("EPOCHS", "epochs"),
        ("learning-rate", "learning_rate"),
        ("lr", "learning_rate"),
        ("wd", "weight_decay"),
        ("gbs", "global_batch_size"),
        ("num_epochs", "epochs"),
        ("packing", "data.packing"),
        ("target_module", "method.target_modules"),
    ],
)
def test_a_misspelt_key_names_the_nearest_one(tmp_path: Path, written: str, nearest: str) -> None:
    (line,) = lines(tmp_path, f"{SMALL}train: {{{written}: 1}}\n")
    assert line == f"4:9: unknown key '{written}' in train; nearest: '{nearest}'"


def test_a_key_like_no_other_is_answered_with_the_keys_there_are(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, SMALL + "launch: {zzzzzz: 1}\n")
    assert line == "4:10: unknown key 'zzzzzz' in launch; keys here: engine, gpus, nodes, max_restarts, timeout_minutes"


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_recipe_says_what_a_recipe_has(tmp_path: Path, text: str) -> None:
    assert lines(tmp_path, text) == ["1:1: the file is empty; a recipe has at least name, base and data"]


@pytest.mark.parametrize("text", ["- a\n", "hello\n", "7\n"])
def test_a_recipe_has_keys_at_the_top(tmp_path: Path, text: str) -> None:
    (line,) = lines(tmp_path, text)
    assert line == "1:1: expected keys such as name:, base: and data: at the top of a recipe"


def test_required_keys_are_named_when_they_are_missing(tmp_path: Path) -> None:
    found = lines(tmp_path, "method: {r: 4}\n")
    assert [line.split(" is missing")[0] for line in found] == ["1:1: name", "1:1: base", "1:1: data"]


def test_extends_below_the_top_is_told_where_it_belongs(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, SMALL + "launch: {extends: a.yaml}\n")
    assert "extends stands at the top of a recipe file" in line


def test_text_that_cannot_be_printed_is_shown_escaped_and_cut(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, SMALL + 'train: {schedule: "a\\nb\\ud800' + "x" * 500 + '"}\n')
    assert "got the text 'a\\nb\\ud800xxx" in line
    assert "…'" in line
    assert len(line) < 200
    assert line.isprintable()


def test_a_wrong_recipe_is_a_recipe_error_that_carries_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(WRONG, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.exit_code == 2
    first, *rest = str(caught.value).splitlines()
    assert first == f"{len(ONE_LINE_EACH)} problems in the recipe"
    assert [line.removeprefix(f"{path}:") for line in rest] == ONE_LINE_EACH


def test_numbers_are_not_guessed_from_other_types(tmp_path: Path) -> None:
    found = lines(tmp_path, SMALL + "train: {epochs: true, log_every: 1.0, seed: true}\ndata2: 1\n")
    assert [line.split(": ")[1] for line in found[:3]] == ["train.epochs", "train.log_every", "train.seed"]


def test_every_key_can_say_what_it_expects() -> None:
    for path in leaves(Recipe):
        fragment = Words(Recipe).fragment_at(path)
        assert fragment, path
        assert Words(Recipe).expectation(fragment), path
