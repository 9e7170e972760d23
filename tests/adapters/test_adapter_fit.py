"""The ladder: for each way in which a base can be another one, exactly the right rung fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lft.adapters.adapter import open_adapter
from lft.adapters.canonical import write_canonical
from lft.adapters.cover import base_tensors, is_target, is_transposed, oriented
from lft.adapters.fit import BaseSide, Fit, base_side, fit, level_of, require_fit
from lft.base.binding import Below
from lft.cli.adapters_verify import adapter_lines, fit_lines, verify
from lft.errors import InputError, RecipeError
from tests.adapters_bound import bind
from tests.peft_folders import write_adapter
from tests.peft_made import VARIANTS, made, save
from tests.tiny import save_tiny

VOCAB = 384


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter of lft on it (``own``), and the same adapter without its record (``foreign``)."""
    home = tmp_path_factory.mktemp("world")
    save_tiny(home / "base", vocab=VOCAB)
    save(made("plain"), home / "foreign")
    shutil.copytree(home / "foreign", home / "own")
    bind(home / "own", home / "base", VOCAB)
    return home


def ladder(adapter: Path, base: Path, name: str | None = None, revision: str | None = None) -> Fit:
    return fit(open_adapter(adapter), BaseSide(base, name, revision), None)


def verdicts(found: Fit) -> list[str]:
    return [rung.verdict for rung in found.rungs]


def failed(found: Fit) -> list[int]:
    return [rung.level for rung in found.rungs if rung.passed is False]


def changed(world: Path, name: str, **also) -> Path:
    """Another base beside the first one."""
    folder = world / name
    return folder if folder.exists() else save_tiny(folder, vocab=VOCAB, **also)


def test_an_adapter_of_lft_passes_every_rung_on_its_own_base(world):
    found = ladder(world / "own", world / "base")
    assert verdicts(found) == ["passed"] * 5
    require_fit(found)


def test_a_foreign_adapter_passes_what_can_be_known_and_says_what_cannot(world):
    found = ladder(world / "foreign", world / "base")
    assert verdicts(found) == ["passed", "unknown", "unknown", "unknown", "unknown"]
    assert "not recorded" in found.rungs[2].why
    require_fit(found)


def test_other_weights_fail_at_l2_alone(world):
    found = ladder(world / "own", changed(world, "reseeded", seed=7))
    assert failed(found) == [2]
    with pytest.raises(InputError, match="L2 weights: other weights"):
        require_fit(found)


def test_another_revision_fails_at_l1_alone(world, tmp_path):
    one, other = "1" * 40, "2" * 40
    folder = shutil.copytree(world / "foreign", tmp_path / "a")
    said = json.loads((folder / "adapter_config.json").read_text())
    said |= {"base_model_name_or_path": "lft/tiny", "revision": one}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    assert failed(ladder(folder, world / "base", "lft/tiny", other)) == [1]
    assert failed(ladder(folder, world / "base", "lft/other", one)) == [1]
    same = ladder(folder, world / "base", "lft/tiny", one)
    assert failed(same) == []
    assert same.rungs[1].passed


def test_another_revision_of_the_same_weights_is_the_same_base(world, tmp_path):
    folder = shutil.copytree(world / "own", tmp_path / "a")
    bind(folder, world / "base", VOCAB, revision="1" * 40)
    found = ladder(folder, world / "base", "lft/tiny", "2" * 40)
    assert failed(found) == []
    assert "the same weights" in found.rungs[1].why
    shutil.copytree(folder, tmp_path / "b")
    assert failed(ladder(tmp_path / "b", changed(world, "reseeded", seed=7), "lft/tiny", "2" * 40)) == [1, 2]


@pytest.mark.parametrize("layers", [1, 3])
def test_one_layer_more_or_less_fails_at_l0(world, layers):
    base = changed(world, f"layers{layers}", layers=layers)
    assert failed(ladder(world / "foreign", base)) == [0]
    found = ladder(world / "own", base)
    assert failed(found)[0] == 0
    with pytest.raises(InputError, match="L0 names and shapes"):
        require_fit(found, allow=1)


def test_a_renamed_module_fails_at_l0_alone(world, tmp_path):
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(world / "base", tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    renamed = {name.replace("layers.1.self_attn.v_proj", "layers.1.self_attn.value"): t for name, t in tensors.items()}
    save_file(renamed, base / "model.safetensors", metadata={"format": "pt"})
    found = ladder(world / "foreign", base)
    assert failed(found) == [0]
    assert "the base has no model.layers.1.self_attn.v_proj" in found.rungs[0].why


def test_other_sizes_fail_at_l0(world):
    found = ladder(world / "foreign", changed(world, "wide", hidden=64))
    assert failed(found) == [0]
    assert "in the adapter and" in found.rungs[0].why


def test_a_part_of_an_adapter_fails_at_l0(world, tmp_path):
    """What happened to Gemma adapters of 2026: k_proj and v_proj of half the layers were not there, and nobody said."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(world / "foreign", tmp_path / "a")
    file = folder / "adapter_model.safetensors"
    kept = {name: t for name, t in load_file(file).items() if "layers.1.self_attn.v_proj" not in name}
    save_file(kept, file, metadata={"format": "pt"})
    found = ladder(folder, world / "base")
    assert failed(found) == [0]
    assert "1 modules of the base should be adapted and are not: model.layers.1.self_attn.v_proj" in found.rungs[0].why


def test_a_swapped_tokenizer_fails_at_l3_alone(world, tmp_path):
    base = shutil.copytree(world / "base", tmp_path / "base")
    said = json.loads((base / "tokenizer.json").read_text())
    vocabulary = said["model"]["vocab"]
    one, other = [text for text, number in vocabulary.items() if number in (100, 101)]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (base / "tokenizer.json").write_text(json.dumps(said))
    assert failed(ladder(world / "own", base)) == [3]


def with_token(folder: Path, text: str, number: int) -> Path:
    said = json.loads((folder / "tokenizer.json").read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    said["added_tokens"].append({"id": number, "content": text, **flags})
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return folder


def test_a_token_more_in_the_base_fails_at_l3_alone(world, tmp_path):
    base = with_token(shutil.copytree(world / "base", tmp_path / "base"), "<extra>", VOCAB)
    assert failed(ladder(world / "own", base)) == [3]


def test_a_foreign_adapters_own_tokenizer_is_compared_token_by_token(world, tmp_path):
    folder = shutil.copytree(world / "foreign", tmp_path / "a")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(world / "base" / name, folder / name)
    assert ladder(folder, world / "base").rungs[3].verdict == "passed"
    with_token(folder, "<mine>", VOCAB)
    found = ladder(folder, world / "base")
    assert failed(found) == [3]
    assert "1 added tokens have no row, as '<mine>'" in found.rungs[3].why
    roomy = save_tiny(tmp_path / "roomy", vocab=VOCAB, extra_rows=8)
    assert ladder(folder, roomy).rungs[3].why.startswith("adds '<mine>'")


def test_a_foreign_adapters_own_tokenizer_with_other_ids_fails_at_l3_alone(world, tmp_path):
    folder = shutil.copytree(world / "foreign", tmp_path / "a")
    said = json.loads((world / "base" / "tokenizer.json").read_text())
    one, other = [text for text, number in said["model"]["vocab"].items() if number in (100, 101)]
    said["model"]["vocab"] |= {one: said["model"]["vocab"][other], other: said["model"]["vocab"][one]}
    (folder / "tokenizer.json").write_text(json.dumps(said))
    found = ladder(folder, world / "base")
    assert failed(found) == [3]
    assert "2 tokens of the base have another id or none" in found.rungs[3].why


def test_a_trained_row_that_the_base_does_not_have_fails_at_l0(world, tmp_path):
    folder = save(made("token rows"), tmp_path / "a")  # rows 5, 7 and 300
    small = save_tiny(tmp_path / "small", vocab=290)
    found = ladder(folder, small)
    assert failed(found) == [0]
    assert "290 rows, and the adapter trained row 300" in found.rungs[0].why


def test_an_added_token_with_rows_of_its_own_fits(world, tmp_path):
    folder = save(made("token rows"), tmp_path / "a")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(world / "base" / name, folder / name)
    bind(with_token(folder, "[EOI]", VOCAB), world / "base", VOCAB + 1)
    found = ladder(folder, world / "base")
    assert verdicts(found) == ["passed"] * 5
    assert "adds '[EOI]'" in found.rungs[3].why


def test_another_function_of_the_same_weights_fails_at_l1_alone(world, tmp_path):
    base = shutil.copytree(world / "base", tmp_path / "base")
    said = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**said, "rms_norm_eps": 1e-3}))
    found = ladder(world / "own", base)
    assert failed(found) == [1]
    assert "rms_norm_eps" in found.rungs[1].why


def test_an_adapter_below_that_is_gone_or_changed_fails_at_l4_alone(world, tmp_path):
    lower = write_adapter(tmp_path / "lower")
    digest = open_adapter(lower).digest
    folder = shutil.copytree(world / "own", tmp_path / "a")
    bind(folder, world / "base", VOCAB, below=(Below(str(lower), digest),))
    assert failed(ladder(folder, world / "base")) == []
    write_adapter(lower, r=4, lora_alpha=99)
    assert failed(ladder(folder, world / "base")) == [4]  # the same tensors, and another scale
    write_adapter(lower, base_model_name_or_path="org/elsewhere")
    assert failed(ladder(folder, world / "base")) == []
    (lower / "adapter_model.safetensors").write_bytes(b"other")
    assert failed(ladder(folder, world / "base")) == [4]
    shutil.rmtree(lower)
    assert failed(ladder(folder, world / "base")) == [4]
    found = fit(open_adapter(folder), BaseSide(world / "base"), None, find={digest: lower}.get)
    assert failed(found) == []


def test_a_file_of_a_newer_peft_is_unknown_and_no_error(world, tmp_path):
    folder = shutil.copytree(world / "own", tmp_path / "a")
    said = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**said, "peft_version": "0.99.0"}))
    found = ladder(folder, world / "base")
    assert found.rungs[4].verdict == "unknown"
    require_fit(found)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_peft_made_covers_the_base_it_was_made_on(tmp_path, name):
    base = save_tiny(tmp_path / "base", VARIANTS[name][0], vocab=VOCAB)
    folder = save(made(name), tmp_path / "a")
    for one in (folder, write_canonical(open_adapter(folder), tmp_path / "canonical")):
        assert ladder(one, base).rungs[0].verdict == "passed", ladder(one, base).rungs[0].why


def test_a_checkpoint_without_the_inner_models_name_is_covered(tmp_path):
    from safetensors.torch import load_file, save_file

    base = save_tiny(tmp_path / "base", "gpt2", vocab=VOCAB)
    tensors = load_file(base / "model.safetensors")
    short = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(short, base / "model.safetensors", metadata={"format": "pt"})
    folder = save(made("conv1d"), tmp_path / "a")
    assert ladder(folder, base).rungs[0].verdict == "passed"


@pytest.mark.parametrize("family", ["t5", "t5-v1.1"])
def test_an_encoder_decoder_is_covered_its_tied_head_too(tmp_path, family):
    import torch
    from peft import LoraConfig, get_peft_model

    from tests.tiny import save_tiny_pair, tiny_pair_model

    base = save_tiny_pair(tmp_path / "base", family)
    rows = base_tensors(base).shapes["shared.weight"][0]
    tuned = get_peft_model(tiny_pair_model(family, rows), LoraConfig(r=2, target_modules=["q", "v", "lm_head"]))
    with torch.no_grad():
        folder = save(tuned, tmp_path / "a")
    found = ladder(folder, base)
    assert found.rungs[0].verdict == "passed", found.rungs[0].why
    assert found.rungs[0].why.startswith("13 modules")


def test_a_tied_head_lies_on_the_embedding(tmp_path):
    base = save_tiny(tmp_path / "base", vocab=VOCAB, tie_word_embeddings=True)
    assert ladder(save(made("head"), tmp_path / "a"), base).rungs[0].verdict == "passed"


@pytest.mark.parametrize("name", ["conv1d", "conv1d undeclared", "plain", "gpt-neox"])
def test_which_way_round_a_weight_lies_is_seen_in_the_base(tmp_path, name):
    base = base_tensors(save_tiny(tmp_path / "base", VARIANTS[name][0], vocab=VOCAB))
    folder = save(made(name), tmp_path / "a")
    said = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**said, "fan_in_fan_out": False}))
    found = open_adapter(folder)
    assert {is_transposed(one, base) for one in found.low_rank} == {name.startswith("conv1d")}
    turned = oriented(found, base)
    assert all(base.shapes[f"{one.module}.weight"] == one.delta_shape for one in turned.low_rank)
    assert ladder(folder, base.folder).rungs[0].verdict == "passed"


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": ["self_attn.q_proj", "model.layers.1.mlp.up_proj"]},
        {"target_modules": r".*\.(q|k)_proj"},
        {"target_modules": ["q_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
        {"target_modules": ["q_proj"], "exclude_modules": r".*\.0\..*"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": "layers"},
        {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head"]},
    ],
)
def test_targets_are_pefts(tmp_path, options):
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists

    from tests.tiny import tiny_model

    config = LoraConfig(**options)
    config.save_pretrained(str(tmp_path))
    from lft.adapters.configuration import read_configuration

    said = read_configuration(tmp_path / "adapter_config.json")
    for name, _ in tiny_model().named_modules():
        theirs = check_target_module_exists(config, name)
        assert is_target(said, name) == (bool(theirs) and not isinstance(theirs, _ExcludedModule)), name


def test_the_real_adapter_covers_its_real_base(shared_data):
    folder = shared_data / "adapters" / "stories260K-lora-recipes"
    found = ladder(folder, shared_data / "stories260K" / "hf")
    assert verdicts(found)[0] == "passed", found.rungs[0].why


@pytest.mark.parametrize(("allow", "stops"), [(None, True), (4, True), (3, True), (2, False), (1, False)])
def test_a_level_that_is_allowed_tolerates_itself_and_what_is_above(world, allow, stops):
    found = ladder(world / "own", changed(world, "reseeded", seed=7))
    if stops:
        with pytest.raises(InputError, match="--allow-mismatch L2"):
            require_fit(found, allow)
    else:
        require_fit(found, allow)


def test_names_and_shapes_are_never_tolerated(world):
    found = ladder(world / "foreign", changed(world, "layers1", layers=1))
    for allow in (None, 1, 2, 3, 4):
        with pytest.raises(InputError, match="L0"):
            require_fit(found, allow)
    with pytest.raises(RecipeError, match="no level that may be allowed"):
        level_of("L0")


@pytest.mark.parametrize(("written", "level"), [("L1", 1), ("l2", 2), ("3", 3), (" L4 ", 4)])
def test_a_level_is_read_as_people_write_it(written, level):
    assert level_of(written) == level


@pytest.mark.parametrize("written", ["", "L5", "all", "-1", "2.0", "L22"])
def test_anything_else_is_no_level(written):
    with pytest.raises(RecipeError):
        level_of(written)


def test_the_hubs_cache_tells_name_and_commit(tmp_path):
    folder = tmp_path / "models--org--some-name" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    assert base_side(folder) == BaseSide(folder, "org/some-name", "a" * 40)
    assert base_side(tmp_path) == BaseSide(tmp_path)


def test_the_report_fits_in_eighty_columns_and_says_every_rung(world, tmp_path, capsys):
    deep = tmp_path / ("a-very-long-folder-name-" * 4) / "adapter"
    shutil.copytree(world / "own", deep)
    (deep / "optimizer.pt").write_bytes(b"x")
    adapter, found = verify(deep, BaseSide(changed(world, "reseeded", seed=7)), "L2")
    said = capsys.readouterr().out
    assert max(len(line) for line in said.splitlines()) <= 80
    assert [line[:2] for line in fit_lines(found) if line.startswith("L")] == ["L0", "L1", "L2", "L3", "L4"]
    assert "allowed  other weights" in said
    assert "optimizer.pt" in said
    assert adapter.digest in said
    assert adapter_lines(adapter)
    with pytest.raises(InputError, match="L2"):
        verify(deep, BaseSide(changed(world, "reseeded", seed=7)))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_TOKENIZER = st.fixed_dictionaries(
    {}, optional={"model": _JSON | st.fixed_dictionaries({"vocab": _JSON}), "added_tokens": _JSON, "version": _JSON}
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=_JSON | _TOKENIZER, config=_JSON)
def test_any_tokenizer_file_is_compared_or_refused_and_nothing_else(world, tmp_path_factory, content, config):
    folder = shutil.copytree(world / "foreign", tmp_path_factory.mktemp("any") / "a")
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with suppress(InputError):
        assert ladder(folder, world / "base").rungs[3].verdict in ("failed", "unknown", "passed")


def test_verifying_on_a_base_imports_no_torch(world):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from lft.adapters.fit import base_side\n"
        "from lft.cli.adapters_verify import verify\n"
        "_, found = verify(Path(sys.argv[1]), base_side(Path(sys.argv[2])))\n"
        "assert [rung.passed for rung in found.rungs] == [True] * 5\n"
        "heavy = {'torch', 'transformers', 'peft', 'safetensors', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code, str(world / "own"), str(world / "base")], check=True)
