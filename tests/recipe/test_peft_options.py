"""Options of PEFT's methods are checked without PEFT, from a table that is PEFT's own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lft.recipe import check_recipe
from lft.recipe.kinds import KINDS, NOT_OPTIONS
from lft.recipe.peft_options import options_of

SMALL = "name: small\nbase: {model: org/base}\ndata: {train: org/data}\n"
ROOT = Path(__file__).parents[2]


def problems(folder: Path, method: str) -> list[str]:
    path = folder / "r.yaml"
    path.write_text(SMALL + f"method:\n{method}", encoding="utf-8")
    return [str(problem).removeprefix(f"{path}:") for problem in check_recipe(path)]


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("  options: {use_rslra: true}\n", "5:24: method.options.use_rslra: no option of lora; nearest: 'use_rslora'"),
        ("  options:\n    bias: al\n", "6:11: method.options.bias: expected one of all, lora_only, none, got the text "
         "'al'; nearest: 'all'"),
        ("  options: {use_rslora: 1}\n", "5:25: method.options.use_rslora: expected true or false, got 1"),
        ("  options: {r: 8}\n", "5:16: method.options.r: write method.r"),
        ("  options: {lora_alpha: 8}\n", "5:25: method.options.lora_alpha: write method.alpha"),
        ("  options: {task_type: CAUSAL_LM}\n", "5:24: method.options.task_type: it follows from the base model"),
        ("  options: {target_modules: [a]}\n", "5:29: method.options.target_modules: write method.target_modules"),
        ("  options: {layers_to_transform: [1]}\n", "5:34: method.options.layers_to_transform: say it with "
         "method.target_modules, as a list or a regular expression"),
        ("  options: {init_lora_weights: pissa}\n", "5:32: method.options.init_lora_weights: write method.kind: pissa"),
        ("  options: {use_dora: true}\n", "5:23: method.options.use_dora: write method.kind: dora"),
        ("  options: {eva_config: {rho: 1.0}}\n", "5:25: method.options.eva_config: it is for method.kind: eva"),
        ("  kind: rslora\n  options: {use_rslora: false}\n", "6:25: method.options.use_rslora: method.kind: "
         "rslora sets it"),
        ("  kind: eva\n  options: {eva_config: {rhoo: 1.0}}\n", "6:32: method.options.eva_config: no option 'rhoo'; "
         "nearest: 'rho'"),
        ("  kind: eva\n  options: {eva_config: {rho: big}}\n",
         "6:31: method.options.eva_config.rho: expected a number, "
         "got the text 'big'"),
        ("  kind: ia3\n  options: {feedforward_modules: [1]}\n", "6:34: method.options.feedforward_modules: expected a "
         "list of texts or null or a text, got a list of 1"),
        ("  kind: vera\n  options: {d_initial: many}\n",
         "6:24: method.options.d_initial: expected a number, got the text "
         "'many'"),
        ("  kind: boft\n  options: {blocksize: 4}\n", "6:24: method.options.blocksize: no option of boft; nearest: "
         "'boft_block_size'"),
        ("  kind: adamss\n  options: {use_asa: true}\n", "6:22: method.options.use_asa: its allocation callback is not "
         "part of lft"),
        ("  kind: adaption_prompt\n  options: {adapter_len: 4}\n", "6:12: method.options.adapter_layers is missing: "
         "adaption_prompt has no default for it"),
        ("  kind: adalora\n  options: {total_step: 9}\n",
         "6:25: method.options.total_step: lft sets it to the steps of "
         "the run"),
        ("  kind: lora\n  options: {qqq: 9}\n",
         "6:18: method.options.qqq: no option of lora; it has: bias, use_rslora, "
         "modules_to_save, init_lora_weights, rank_pattern, alpha_pattern, lora_bias"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_line_with_its_place_and_what_to_write(tmp_path: Path, method: str, line: str) -> None:
    assert problems(tmp_path, method) == [line]


@pytest.mark.parametrize(
    "method",
    [
        "  options: {bias: all, use_rslora: true, rank_pattern: {q_proj: 4}, modules_to_save: [lm_head]}\n",
        "  kind: pissa\n  options: {init_lora_weights: pissa_niter_16}\n",
        "  kind: eva\n  options: {eva_config: {rho: 1.5, whiten: true}}\n",
        "  kind: corda\n  options: {corda_config: {corda_method: kpm}}\n",
        "  kind: ia3\n  options: {feedforward_modules: [down_proj]}\n",
        "  kind: delora\n  options: {delora_lambda: 12, module_dropout: 0.1}\n",
        "  kind: oft\n  options: {r: 4, oft_block_size: 0}\n",
        "  kind: trainable_tokens\n  options: {token_indices: [5, 6]}\n",
    ],
)
def test_a_right_option_passes(tmp_path: Path, method: str) -> None:
    assert problems(tmp_path, method) == []


def test_every_option_that_may_be_set_is_explained_by_nothing_else() -> None:
    for kind in (name for name, made in KINDS.items() if not made.refused):
        there = {*options_of(kind)} - ({"r"} if kind in ("oft", "supertuning") else set())  # theirs is no rank
        assert not {"r", "target_modules", "task_type"} & there
    assert "use_rslora" in options_of("dora")
    assert "use_rslora" not in options_of("rslora")


def test_the_table_is_that_of_the_installed_peft() -> None:
    spec = importlib.util.spec_from_file_location("peft_options_script", ROOT / "scripts" / "peft_options.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    stored = (ROOT / "lft" / "recipe" / "peft_options.json").read_text(encoding="utf-8")
    if json.loads(stored)["peft"] != script.table()["peft"]:
        pytest.skip("another version of PEFT than the table was made from; run scripts/peft_options.py")
    assert script.text() == stored


def test_names_that_lft_uses_are_peft_options() -> None:
    table = json.loads((ROOT / "lft" / "recipe" / "peft_options.json").read_text(encoding="utf-8"))["kinds"]
    for name, kind in KINDS.items():
        options = table[kind.peft]["options"]
        for used in (kind.rank, kind.alpha, kind.dropout, *kind.required, *kind.refused_options, *kind.fixed):
            assert used is None or used in options, (name, used)
    shared = {"peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping"}
    every = {option for kind in table.values() for option in kind["options"]}
    assert {*NOT_OPTIONS} <= every | shared | {"peft_version"}


def test_options_are_checked_without_importing_peft_or_torch(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(SMALL + "method: {kind: vera, options: {d_initial: 0.2}}\n", encoding="utf-8")
    code = (
        f"import sys; from lft.recipe import check_recipe; assert not check_recipe({str(path)!r}); "
        "assert not {'peft', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
