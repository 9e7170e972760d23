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
    (
        "splits_differ",
        ["data.split.train=validation"],
        "train and validation are both 'validation'",
        ["data.split.train=validation", "data.split.validation=test"],
    ),
    ("splits_differ", ["data.split.validation=train"], "write validation: null", ["data.split.validation=null"]),
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
    (
        "best_is_measured",
        ["train.keep_best=true", "train.eval_every=2", "train.save_every=4"],
        "each checkpoint needs a validation loss",
        ["train.keep_best=true", "train.eval_every=4", "train.save_every=4"],
    ),
    *(
        ("engine_keeps_the_optimizer", [f"launch.engine={engine}", other], words, ["launch.engine=ddp", other])
        for engine, other, words in (
            ("zero2", "train.optimizer=adafactor", "adafactor factors matrices"),
            ("zero1", "method.kind=adalora", "adalora looks at whole gradients"),
            ("zero3-offload", "train.optimizer=lion", "would ignore lion"),
            ("zero3-offload", "method.kind=lora+", "would ignore lora+"),
        )
    ),
    (
        "best_is_measured",
        ["train.keep_best=true", "train.save_every=end", "train.eval_every=end"],
        "no checkpoint to choose from",
        ["train.keep_best=true"],
    ),
    (
        "best_is_measured",
        ["train.keep_best=true", "data.split.validation=null"],
        "there is no validation split",
        ["train.keep_best=true"],
    ),
    ("kind_can_be_trained", ["method.kind=psoft"], "psoft cannot be trained by lft", ["method.kind=oft"]),
    (
        "virtual_tokens_stand_alone",
        ["method.kind=prompt_tuning", "method.options.num_virtual_tokens=8"],
        "set data.packing: false and train.micro_batch_size: 1",
        [
            "method.kind=prompt_tuning", "method.options.num_virtual_tokens=8", "data.packing=false",
            "train.micro_batch_size=1",
        ],
    ),
    (
        "quantized_base_is_frozen",
        ["base.quantize=nf4", "method.kind=full"],
        "nf4 weights cannot be trained",
        ["base.quantize=nf4"],
    ),
    ("quantized_base_is_frozen", ["base.quantize=nf4", "method.kind=oft"], "remove it", ["method.kind=oft"]),
    (
        "quantized_base_is_frozen",
        ["method.kind=loftq"],
        "loftq needs base.quantize",
        ["method.kind=loftq", "base.quantize=nf4"],
    ),
    (
        "quantized_base_is_frozen",
        ["method.kind=loftq", "base.quantize=int8", "data.packing=false", "train.micro_batch_size=1"],
        "loftq is for 4 bit",
        ["method.kind=loftq", "base.quantize=fp4"],
    ),
    (
        "int8_rows_stand_alone",
        ["base.quantize=int8"],
        "int8 rounds the sequences of a row together",
        ["base.quantize=int8", "data.packing=false", "train.micro_batch_size=1"],
    ),
    (
        "four_bit_settings_are_used",
        ["base.compute_dtype=float32"],
        "only for base.quantize nf4 or fp4",
        ["base.compute_dtype=float32", "base.quantize=nf4"],
    ),
    (
        "four_bit_settings_are_used",
        ["base.double_quant=false"],
        "base.double_quant: false is only",
        ["base.double_quant=false", "base.quantize=fp4"],
    ),
    (
        "stack_is_a_sum",
        ["method.on_top_of=[a/b]", "method.kind=dora"],
        "dora cannot be trained on top",
        ["method.on_top_of=[a/b]", "method.kind=rslora"],
    ),
    ("stack_is_a_sum", ["method.on_top_of=[a, a]"], "listed twice", ["method.on_top_of=[a, b]"]),
    (
        "stack_is_a_sum",
        ["method.on_top_of=[a]", "method.options.bias=all"],
        "method.options.bias would change",
        ["method.on_top_of=[a]", "method.options.bias=none"],
    ),
    (
        "adalora_has_ranks_to_give_up",
        ["method.kind=adalora", "method.r=8"],
        "down to method.options.target_r (8)",
        ["method.kind=adalora", "method.r=12"],
    ),
]  # fmt: skip

REFUSED = [
    ("base.trust_remote_code", "true"),
    ("base.dtype", "float16"),
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
