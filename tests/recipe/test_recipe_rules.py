from __future__ import annotations

from pathlib import Path

import pytest

from lft.recipe import check_recipe
from lft.recipe.rules import RULES
from lft.recipe.schema import Recipe
from lft.recipe.unsupported import NOT_YET

SMALL = "name: small\nbase: {model: org/base}\ndata: {train: org/data}\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

# (rule, overrides that break it, words of the message, overrides beside it that keep it)
CASES = [
    ("run_name_stays_inside", ["name=a/../../b"], "name: 'a/../../b' becomes a folder name", ["name=a/b.c"]),
    ("run_name_stays_inside", ["name=a//b"], "may not have empty", ["name=a-b"]),
    ("adapter_name_stays_inside", ["output.adapter=a/.."], "output.adapter: 'a/..'", ["output.adapter=a/b"]),
    (
        "remote_code_is_pinned",
        ["base.trust_remote_code=true", "base.revision=main"],
        "base.revision must be a 40-hex commit",
        ["base.trust_remote_code=true", f"base.revision={COMMIT}"],
    ),
    (
        "revision_has_a_hub",
        ["base.model=package://x", "base.revision=main"],
        "has no revisions",
        ["base.revision=main"],
    ),
    ("revision_has_a_hub", ["base.model=./x", "base.revision=main"], "has no revisions", ["base.model=./x"]),
    ("there_is_a_source", ["data.train=[]"], "the list of sources is empty", ["data.train=[{path: a}]"]),
    ("sources_differ", ["data.train=[{path: a}, {path: a}]"], "listed twice", ["data.train=[{path: a}, {path: b}]"]),
    (
        "source_revision_has_a_hub",
        ["data.train=[{path: sample://x, revision: main}]"],
        "'sample://x' is not on the hub",
        ["data.train=[{path: x/y, revision: main}]"],
    ),
    ("paths_are_printable", ['base.model="a\\nb"'], "base.model: 'a\\nb' has", ["base.model=a b"]),
    ("paths_are_printable", ["data.train=[{path: ' a'}]"], "data.train: ' a' has spaces", ["data.train=[{path: a}]"]),
    (
        "alpaca_prompt_has_one_turn",
        ["data.prompt=alpaca", "data.format=messages"],
        "use chat",
        ["data.prompt=alpaca", "data.format=longform"],
    ),
    ("streaming_has_an_end", ["data.streaming=true"], "max_steps", ["data.streaming=true", "train.max_steps=9"]),
    ("modules_are_named", ["method.target_modules=[]"], "the list is empty", ["method.target_modules=[a]"]),
    (
        "batch_divides",
        ["train.global_batch_size=10", "train.micro_batch_size=4"],
        "10 is not a multiple of 4 (4 sequences x 1 gpus x 1 nodes",
        ["train.global_batch_size=12", "train.micro_batch_size=4"],
    ),
    (
        "batch_divides",
        ["train.global_batch_size=10", "launch.gpus=4", "launch.engine=ddp"],
        "not a multiple of 4",
        ["train.global_batch_size=12", "launch.gpus=4", "launch.engine=ddp"],
    ),
    (
        "sample_prompts_say_something",
        ['train.sample_prompts=[a, "  "]'],
        "a prompt is blank",
        ["train.sample_prompts=[a]"],
    ),
    (
        "one_process_without_engine",
        ["launch.gpus=2"],
        "one process on one device, not 2 x 1",
        ["launch.gpus=2", "launch.engine=zero2"],
    ),
    (
        "one_process_without_engine",
        ["launch.nodes=2"],
        "one process on one device, not 1 x 2",
        ["launch.nodes=2", "launch.engine=ddp"],
    ),
]

REFUSED = [
    ("base.quantize", "nf4"),
    ("base.trust_remote_code", "true"),
    ("base.dtype", "float16"),
    ("method.kind", "dora"),
    ("method.kind", "full"),
    ("method.on_top_of", "[a/b]"),
    ("launch.engine", "zero3"),
    ("launch.gpus", "2"),
    ("base.double_quant", "false"),
    ("base.compute_dtype", "float32"),
    ("data.newlines", "marker"),
    ("method.loraplus_lr_ratio", "4.0"),
    ("method.calibration_rows", "8"),
    ("method.options", "{bias: all}"),
    ("train.optimizer", "lion"),
    ("train.keep_best", "true"),
    ("launch.max_restarts", "1"),
    ("launch.timeout_minutes", "5.0"),
    ("launch.nodes", "2"),
]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def broken(path: Path, overrides: list[str]) -> list[str]:
    """Problems that are not about behaviour to come: the rules hold for that too."""
    return [str(p) for p in check_recipe(path, overrides) if "not yet supported" not in str(p)]


@pytest.mark.parametrize(("rule", "breaking", "words", "keeping"), CASES)
def test_a_broken_rule_is_one_line_and_a_kept_one_is_silent(
    small: Path, rule: str, breaking: list[str], words: str, keeping: list[str]
) -> None:
    (line,) = broken(small, breaking)
    assert words in line
    assert broken(small, keeping) == []


def test_every_rule_has_a_case_and_reads_keys_that_exist() -> None:
    assert {rule.broken_by.__name__ for rule in RULES} == {case[0] for case in CASES}
    for rule in RULES:
        for key in rule.reads:
            section, _, name = key.partition(".")
            part = Recipe.model_fields[section].annotation
            assert not name or name in part.model_fields, key


def test_a_broken_rule_points_at_the_key_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(SMALL + "train:\n  micro_batch_size: 3\n", encoding="utf-8")
    (line,) = broken(path, [])
    assert line.startswith(f"{path}:5:21: train.global_batch_size: 128 is not a multiple of 3")


def test_a_rule_is_judged_beside_other_mistakes_but_not_on_a_key_that_is_itself_wrong(small: Path) -> None:
    both = broken(small, ["train.lr=1", "data.streaming=true"])
    assert len(both) == 2
    (only,) = broken(small, ["data.streaming=true", "train.max_steps=many"])
    assert "train.max_steps: expected" in only


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_what_is_not_built_yet_is_refused_by_name(small: Path, key: str, value: str) -> None:
    lines = [str(problem) for problem in check_recipe(small, [f"{key}={value}"])]
    (line,) = [line for line in lines if "is not yet supported by this version" in line]
    assert line.startswith(f"command line: {key}={value}: {key}: ")


def test_every_refusal_has_a_case_and_defaults_are_not_refused(small: Path) -> None:
    assert {item.key for item in NOT_YET} == {key for key, _ in REFUSED}
    assert check_recipe(small) == ()


@pytest.mark.parametrize("override", ["data.streaming=true", "data.train=[{path: a, weight: 2}, {path: b}]"])
def test_streams_and_mixtures_are_supported(small: Path, override: str) -> None:
    assert check_recipe(small, [override, "train.max_steps=5"]) == ()
