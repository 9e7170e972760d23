"""Stacks: a weighted sum whose order means nothing, a chain whose order does, and what they compute."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from lft.adapters.adapter import open_adapter
from lft.adapters.deltas import Delta
from lft.adapters.load import load_adapted
from lft.adapters.stack import open_stack, with_below
from lft.adapters.stacking import Kind, Piece, in_place, parts_of, piece_of, pieces_of, together, write_stack
from lft.adapters.store.active import active, by_layer
from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.checkout import adapter_folder_of, finder, materialise, stack_folders
from lft.adapters.store.fsck import check
from lft.adapters.store.gc import collect
from lft.adapters.store.index import listed
from lft.adapters.store.layout import Store, open_store
from lft.adapters.store.lockfile import make_lock, verify
from lft.adapters.store.stacks import add_stack, place_in
from lft.adapters.store.versions import Stored
from lft.base.attach import WEIGHTS, lower_adapters
from lft.base.binding import Binding
from lft.base.identity import identity as identity_of_adapter
from lft.base.shares import layer_ranges, written_layers
from lft.data.prompts import PROMPT_FILE, prompt_format
from lft.errors import InputError, RecipeError
from lft.files import new_folder, seal
from lft.recipe.schema import Method
from tests.adapters.test_stacked_adapters import adapter, below_of, fresh, identity, logits
from tests.tiny import save_tiny

METHODS = {
    "de": Method(r=4, alpha=8.0),
    "recipes": Method(kind="rslora", r=2, alpha=6.0),
    "en": Method(r=3, alpha=3.0),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a registry: adapters without rows, ``lft/row-a`` and ``-b`` with one, ``lft/task`` trained on de."""
    folder = tmp_path_factory.mktemp("world")
    save_tiny(folder / "base", "llama", hidden=64)
    store = open_store(folder / "registry")
    for seed, (name, method) in enumerate(METHODS.items(), 1):
        put(store, folder, name, seed, method=method, tokens=())
    for seed, name in enumerate(("row-a", "row-b"), 5):
        put(store, folder, name, seed)
    put(store, folder, "task", 8, below=("de",), tokens=())
    return folder


def put(store: Store, folder: Path, name: str, seed: int, **also: Any) -> None:
    adapter(folder, name, seed, **also)
    form = prompt_format("plain", "text", fresh(folder)[1])
    (folder / name / PROMPT_FILE).write_text(form.to_json())
    seal(folder / name)
    add_adapter(store, folder / name, Origin(name=f"lft/{name}"))


@pytest.fixture
def store(world: Path) -> Store:
    return open_store(world / "registry")


def parts(store: Store, pieces: tuple[Piece, ...], kind: Kind = "stack", rows: Any = "exact") -> Any:
    return parts_of(pieces, kind, rows, place_in(store, lambda text: adapter_folder_of(text, store)))


def made(store: Store, expression: str, name: str, rows: Any = "exact") -> Stored:
    return add_stack(store, parts(store, pieces_of(expression), "stack", rows), "stack", name)[0]


def chained(store: Store, *names: str, name: str) -> Stored:
    return add_stack(store, parts(store, tuple(map(piece_of, names)), "chain"), "chain", name)[0]


def loaded(world: Path, store: Store, stored: Stored) -> Any:
    return load_adapted(materialise(store, stored.digest), world / "cache", lambda _: None, find=finder(store)).model


def merged(world: Path, weights: dict[str, float], layers: Any = lambda _name, _layer: True) -> Any:
    """The base with sum w s B A added to its weights, in float64 and rounded once."""
    model, _, _ = fresh(world, tokens=())
    total: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        for low in open_adapter(world / name).low_rank:
            from lft.adapters.tensors import read_tensor

            if layers(name, int(low.module.split(".")[2])):
                step = weight * low.scale * read_tensor(low.b).double() @ read_tensor(low.a).double()
                total[low.module] = total.get(low.module, torch.zeros(())) + step
    for module, step in total.items():
        weight_ = model.get_submodule(module).weight
        weight_.data = (weight_.data.double() + step).float()
    return model.eval()


def with_delta(world: Path, delta: Delta) -> Any:
    """The base with a change's low-rank parts in its weights."""
    model, _, _ = fresh(world, tokens=())
    for name, pair in delta.factors.items():
        model.get_parameter(name).data += pair.b @ pair.a
    return model.eval()


SUMS = {
    "two": ("0.7*lft/de + 0.3*lft/en", {"de": 0.7, "en": 0.3}),
    "rslora": ("0.5*lft/recipes + lft/en", {"recipes": 0.5, "en": 1.0}),
    "negative": ("lft/de - 0.4*lft/recipes - lft/en", {"de": 1.0, "recipes": -0.4, "en": -1.0}),
    "one": ("-1.5*lft/recipes", {"recipes": -1.5}),
}


@pytest.mark.parametrize("case", SUMS)
def test_a_stack_computes_the_base_and_the_weighted_sum_of_its_parts(world: Path, store: Store, case: str) -> None:
    expression, weights = SUMS[case]
    model = loaded(world, store, made(store, expression, f"lft/{case}"))
    wanted = logits(merged(world, weights), 6)
    assert torch.allclose(logits(model, 6), wanted, rtol=0, atol=1e-5)
    assert not torch.allclose(logits(merged(world, dict.fromkeys(weights, 1.0) | {"de": 0.1}), 6), wanted, atol=1e-3)
    assert not any(p.requires_grad for p in model.parameters())


def test_a_part_is_active_in_its_layers_alone(world: Path, store: Store) -> None:
    model = loaded(world, store, made(store, "0.7*lft/de[1] + 0.3*lft/en", "lft/layers"))
    wanted = merged(world, {"de": 0.7, "en": 0.3}, lambda name, layer: name != "de" or layer == 1)
    assert torch.allclose(logits(model, 6), logits(wanted, 6), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        "0.3*lft/en + 0.7*lft/de",
        "0.3*lft/en + 0.4*lft/de:1.0.0 + 0.3*lft/de + 0*lft/recipes",
        "0.1*(3*lft/en + 7*lft/de)",
    ],
)
def test_any_order_of_a_sum_is_the_same_version(store: Store, other: str) -> None:
    first = made(store, "0.7*lft/de + 0.3*lft/en", "lft/ordered")
    again, new = add_stack(store, parts(store, pieces_of(other)), "stack", "lft/ordered")
    assert (again.digest, new) == (first.digest, False)


def test_the_order_of_a_chain_is_another_version(store: Store) -> None:
    one = chained(store, "lft/de", "lft/en", name="lft/way")
    other = chained(store, "lft/en", "lft/de", name="lft/way")
    assert one.manifest.weights != other.manifest.weights
    assert [parent.digest for parent in one.manifest.lineage.parents] == [
        parent.digest for parent in reversed(other.manifest.lineage.parents)
    ]


def test_parts_are_pinned_by_version_and_not_by_their_tensors_alone(world: Path, store: Store, tmp_path: Path) -> None:
    store = open_store(shutil.copytree(store.root, tmp_path / "registry"))
    stored = made(store, "0.5*lft/de + 0.5*lft/en", "lft/pinned")
    before = logits(loaded(world, store, stored), 6)
    other = shutil.copytree(world / "de", tmp_path / "other")
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 80}))
    seal(other)
    newer = add_adapter(store, other, Origin(name="lft/de")).stored
    assert (newer.manifest.version, newer.manifest.weights) == ("1.0.1", identity_of_adapter(world / "de").weights)
    shutil.rmtree(store.checkouts)
    assert torch.equal(logits(loaded(world, store, stored), 6), before)
    assert not torch.allclose(
        logits(loaded(world, store, made(store, "0.5*lft/de + 0.5*lft/en", "lft/pinned")), 6), before
    )


def row(model: Any, token: int) -> torch.Tensor:
    return model.get_input_embeddings().weight[token]


def test_rows_of_a_chain_are_the_upper_ones_and_of_a_sum_the_sum(world: Path, store: Store) -> None:
    rows = {name: open_adapter(world / name).rows[-1] for name in ("row-a", "row-b")}
    from lft.adapters.tensors import read_tensor

    a, b = (read_tensor(one.info)[0] for one in rows.values())
    token = rows["row-a"].tokens[0]
    assert not torch.equal(a, b)
    up = chained(store, "lft/row-a", "lft/row-b", name="lft/ab")
    assert torch.equal(row(loaded(world, store, up), token), b)
    mixed = made(store, "0.75*lft/row-a + 0.25*lft/row-b", "lft/mixed")
    assert torch.allclose(row(loaded(world, store, mixed), token), 0.75 * a + 0.25 * b, rtol=0, atol=1e-7)
    mean = made(store, "3*lft/row-a + lft/row-b", "lft/mean", rows="mean")
    assert torch.allclose(row(loaded(world, store, mean), token), 0.75 * a + 0.25 * b, rtol=0, atol=1e-7)


@pytest.mark.parametrize("expression", ["0.5*lft/row-a + 0.3*lft/row-b", "lft/row-a + lft/row-b", "0.5*lft/row-a"])
def test_a_row_is_not_replaced_by_halves(store: Store, expression: str) -> None:
    with pytest.raises(InputError, match=r"the row of the token \[EOI\] is replaced by .* weights sum to"):
        parts(store, pieces_of(expression))


def test_a_part_brings_what_it_was_trained_on(world: Path, store: Store) -> None:
    stored = chained(store, "lft/task", name="lft/alone")
    wanted = merged(world, {"de": 1.0, "task": 1.0})
    assert torch.allclose(logits(loaded(world, store, stored), 6), logits(wanted, 6), rtol=0, atol=1e-5)
    shutil.rmtree(store.checkouts)
    folder = materialise(store, stored.digest)
    assert {path.name for path in store.checkouts.iterdir()} >= {
        folder.name,
        *stored.manifest.parents,
    }
    assert [one.name for one in active(store, stored)] == ["lft/de:1.0.0", "lft/task:1.0.0"]
    below = {parent.digest for one in active(store, stored) for parent in one.manifest.lineage.parents}  # type: ignore[union-attr]
    assert below
    assert below <= {path.name for path in store.checkouts.iterdir()}


def test_the_weight_that_was_asked_for_holds_for_what_lies_below_too(world: Path, store: Store) -> None:
    stored = made(store, "0.2*lft/de + lft/task", "lft/less")
    wanted = merged(world, {"de": 0.2, "task": 1.0})
    assert torch.allclose(logits(loaded(world, store, stored), 6), logits(wanted, 6), rtol=0, atol=1e-5)
    assert [(one.weight, one.name) for one in active(store, stored)] == [
        ("0.2", "lft/de:1.0.0"),
        ("1", "lft/task:1.0.0"),
    ]


def test_a_sum_of_adapters_on_different_floors_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="trained on top of different adapters"):
        parts(store, pieces_of("0.5*lft/en + 0.5*lft/task"))


def test_a_stack_in_a_stack_is_one_stack(store: Store) -> None:
    made(store, "0.5*lft/de + 0.5*lft/en", "lft/inner")
    nested = made(store, "0.4*lft/inner + lft/recipes", "lft/flat")
    flat = made(store, "0.2*lft/de + 0.2*lft/en + lft/recipes", "lft/flat")
    assert nested.digest == flat.digest


def test_a_chain_whose_order_counts_is_not_summed(store: Store) -> None:
    chained(store, "lft/row-a", "lft/row-b", name="lft/rows")
    with pytest.raises(InputError, match="their order means something"):
        parts(store, pieces_of("0.5*lft/rows + 0.5*lft/en"))
    chained(store, "lft/de", "lft/en", name="lft/no-rows")
    assert len(parts(store, pieces_of("0.5*lft/no-rows"))) == 2


def test_a_sum_in_a_chain_stays_a_sum(world: Path, store: Store) -> None:
    made(store, "0.75*lft/row-a + 0.25*lft/row-b", "lft/ground")
    both = parts(store, (Piece("lft/ground"), Piece("lft/en", layers="1")), "chain")
    with pytest.raises(InputError, match=r"lft/en:1\.0\.0 .* not the token \[EOI\]"):
        add_stack(store, both, "chain", "lft/mixed-chain", files_of="lft/en:1.0.0")
    stored = add_stack(store, both, "chain", "lft/mixed-chain", files_of="lft/row-a:1.0.0")[0]
    below = Binding.load(materialise(store, stored.digest)).below
    assert [one.sum for one in below] == [1, 1, 0]
    ground = loaded(world, store, made(store, "0.75*lft/row-a + 0.25*lft/row-b", "lft/ground"))
    token = open_adapter(world / "row-a").rows[-1].tokens[0]
    model = loaded(world, store, stored)
    assert torch.equal(row(model, token), row(ground, token))
    weights = {"row-a": 0.75, "row-b": 0.25, "en": 1.0}
    wanted = merged(world, weights, lambda name, layer: name != "en" or layer == 1)
    assert torch.allclose(logits(model, 6)[..., :384], logits(wanted, 6), rtol=0, atol=1e-5)


def test_an_adapter_outside_the_registry_is_no_part(world: Path, store: Store) -> None:
    with pytest.raises(InputError, match="is not in the registry, and a stack names its parts by their versions"):
        made(store, f'"{world / "de"}" + lft/en', "lft/x")


def test_another_base_is_refused(world: Path, store: Store, tmp_path: Path) -> None:
    other = shutil.copytree(world / "en", tmp_path / "other")
    replace(Binding.load(other), weights="f" * 64).save(other)
    seal(other)
    with pytest.raises(InputError, match="were trained on different bases: weights differ"):
        parts(store, (Piece("lft/de", 0.5), Piece(str(other), 0.5)))


def test_prompt_formats_that_differ_are_refused_unless_one_is_chosen(world: Path, store: Store, tmp_path: Path) -> None:
    other = shutil.copytree(world / "en", tmp_path / "other")
    (other / PROMPT_FILE).write_text('{"other": 1}')
    seal(other)
    both = parts(store, (Piece("lft/de", 0.5), Piece(str(other), 0.5)))
    (tmp_path / "draft").mkdir()
    with pytest.raises(InputError, match=r"prompt_format.json differs"):
        write_stack(both, "stack", tmp_path / "draft")
    write_stack(both, "stack", tmp_path / "draft", files_of=str(other))
    assert (tmp_path / "draft" / PROMPT_FILE).read_text() == '{"other": 1}'


def test_a_dora_is_no_part(world: Path, store: Store) -> None:
    adapter(world, "dora", seed=1, method=Method(kind="dora", r=4), tokens=())
    with pytest.raises(InputError, match="a DoRA: only plain LoRAs are active together"):
        parts(store, (Piece(str(world / "dora"), 0.5), Piece("lft/en")))


# PEFT's traps


def test_every_part_takes_part_in_every_layer_and_none_is_merged(world: Path, store: Store) -> None:
    """A merged subset makes the others inactive without a word (huggingface/peft#3756)."""
    from peft.tuners.lora import LoraLayer

    model = loaded(world, store, made(store, "0.7*lft/de + 0.3*lft/en", "lft/trap"))
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    assert layers
    for layer in layers:
        assert list(layer.active_adapters) == ["below0", "below1"]
        assert not layer.merged
    first = min(("de", "en"), key=lambda name: open_adapter(world / name).digest)
    model.base_model.merge_adapter(["below0"])  # nothing in lft does: this is what it would do to the other part
    alone = merged(world, {first: {"de": 0.7, "en": 0.3}[first]})
    assert torch.allclose(logits(model, 6), logits(alone, 6), rtol=0, atol=1e-5)


def test_names_that_hold_pefts_own_words_lose_nothing(world: Path, store: Store, tmp_path: Path) -> None:
    """An adapter whose name holds the prefix loses its tensors in PEFT (huggingface/peft#2252)."""
    store = open_store(shutil.copytree(store.root, tmp_path / "registry"))
    for name, new in (("de", "lora_A"), ("en", "lora_B")):
        add_adapter(store, world / name, Origin(name=f"me/{new}"))
    model = loaded(world, store, made(store, "0.7*me/lora_A + 0.3*me/lora_B", "me/lora_stack"))
    assert torch.allclose(logits(model, 6), logits(merged(world, {"de": 0.7, "en": 0.3}), 6), rtol=0, atol=1e-5)


# training on a stack


def test_a_stack_is_the_frozen_floor_of_training_and_recorded_part_by_part(world: Path, store: Store) -> None:
    stored = made(store, "0.7*lft/de[0] - 0.3*lft/en", "lft/floor")
    floor = stack_folders(["lft/floor"], store, world / "cache")
    assert floor == (str(materialise(store, stored.digest)),)
    name = "on-stack"
    lowers = lower_adapters(floor, identity(world))
    tuned = adapter(world, name, 11, below=floor, tokens=(), method=Method(r=2, alpha=4.0))  # type: ignore[arg-type]
    binding = Binding.load(world / name)
    assert sorted(one.share for one in binding.below) == ["-0.3", "0.7[0]"]
    assert {one.weights for one in binding.below} == {lower.digest for lower in lowers}
    again = load_adapted(world / name, world / "cache", lambda _: None, find=finder(store))
    assert torch.equal(logits(again.model, 6), logits(tuned.model, 6))
    shutil.rmtree(store.checkouts)
    again = load_adapted(world / name, world / "cache", lambda _: None, find=finder(store))
    assert torch.equal(logits(again.model, 6), logits(tuned.model, 6))
    whole = with_below(open_adapter(world / name), world / "base", identity(world), finder(store)).delta
    assert torch.allclose(logits(with_delta(world, whole), 6), logits(again.model, 6), rtol=0, atol=1e-5)
    parents = add_adapter(store, world / name, Origin(name="lft/on-stack")).stored.manifest.lineage.parents
    assert sorted(str(parent.weight) for parent in parents) == ["-0.3", "0.7[0]"]
    assert all(parent.digest for parent in parents)


def test_training_on_what_lies_on_a_stack_keeps_the_weights_below(world: Path, store: Store) -> None:
    made(store, "0.7*lft/de - 0.3*lft/en", "lft/floor2")
    adapter(world, "second", 12, below=stack_folders(["lft/floor2"], store, world / "cache"), tokens=())
    add_adapter(store, world / "second", Origin(name="lft/second"))
    shutil.rmtree(store.checkouts)  # as a sweep does between a run and its resume
    lowers = below_of(world, stack_folders(["lft/second"], store, world / "cache"))
    assert sorted(lower.share.share for lower in lowers) == ["-0.3", "0.7", "1"]


def test_weights_below_are_not_lost_where_the_parts_are_elsewhere(world: Path, store: Store, tmp_path: Path) -> None:
    made(store, "0.7*lft/de - 0.3*lft/en", "lft/floor3")
    adapter(world, "third", 14, below=stack_folders(["lft/floor3"], store, world / "cache"), tokens=())
    other = shutil.copytree(world / "third", tmp_path / "third")
    binding = Binding.load(other)
    replace(binding, below=tuple(replace(one, path=f"/gone/{one.weights}") for one in binding.below)).save(other)
    seal(other)
    for written in ([str(other)], ["lft/floor3", str(other)]):
        lowers = below_of(world, stack_folders(written, store, world / "cache"))
        assert sorted(lower.share.share for lower in lowers) == ["-0.3", "0.7", "1"]


def test_an_adapter_that_two_need_with_other_weights_is_refused(world: Path, store: Store) -> None:
    made(store, "0.5*lft/de", "lft/half")
    adapter(world, "on-half", 13, below=stack_folders(["lft/half"], store, world / "cache"), tokens=())
    with pytest.raises(InputError, match=r"asked for twice, as 0\.5 and as 1 of itself"):
        below_of(world, [world / "on-half", world / "task"])
    both = below_of(world, [world / "de", world / "on-half", world / "task"])
    assert [lower.share.share for lower in both] == ["1", "1", "1"]


# export, registry, show


def test_a_stack_exports_as_what_it_computes(world: Path, store: Store, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from lft.adapters.export.merged import export_merged
    from lft.adapters.export.peft import export_peft

    stored = made(store, "0.7*lft/de[1] - 0.3*lft/recipes", "lft/exported")
    wanted = logits(loaded(world, store, stored), 6)
    adapter_ = open_stack(materialise(store, stored.digest), finder(store))
    stacked = with_below(adapter_, world / "base", identity(world), finder(store))
    model, _, _ = fresh(world, tokens=())
    out = export_peft(stacked, tmp_path / "peft")
    assert torch.allclose(logits(PeftModel.from_pretrained(model, str(out)), 6), wanted, rtol=0, atol=1e-5)
    assert (out / PROMPT_FILE).is_file()
    export_merged(world / "base", stacked.delta, tmp_path / "merged", tokenizer=adapter_.folder, rows=None)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert torch.allclose(logits(whole, 6), wanted, rtol=0, atol=1e-5)


def test_rows_of_a_stack_are_exported_as_it_computes_them(world: Path, store: Store) -> None:
    stored = made(store, "0.75*lft/row-a + 0.25*lft/row-b", "lft/mixed-out")
    adapter_ = open_stack(materialise(store, stored.digest), finder(store))
    delta = with_below(adapter_, world / "base", identity(world), finder(store)).delta
    rows = delta.rows["model.embed_tokens.weight"]
    assert torch.allclose(rows.values[0], row(loaded(world, store, stored), rows.tokens[0]), rtol=0, atol=1e-7)


def test_a_registry_with_stacks_is_sound_locked_and_kept_by_gc(world: Path, store: Store, tmp_path: Path) -> None:
    store = open_store(shutil.copytree(store.root, tmp_path / "registry"))
    stored = made(store, "0.7*lft/de + 0.3*lft/en", "lft/kept")
    assert [row_.kind for row_ in listed(store) if row_.name == "lft/kept"] == ["stack"]
    assert check(store).findings == ()
    assert check(store, quick=True).findings == ()
    lock = make_lock(store, ["lft/kept"])
    assert {pin.name for pin in lock.adapters} == {"lft/kept", "lft/de", "lft/en"}
    collect(store, 0.0, ())
    collect(store, 0.0, ())
    assert verify(store, lock, whole=True) == []
    assert not (materialise(store, stored.digest) / WEIGHTS).exists()


def test_what_is_active_where_is_one_line_for_layers_that_are_alike(store: Store) -> None:
    stored = made(store, "0.7*lft/de[1] + 0.3*lft/en", "lft/shown")
    found = active(store, stored)
    places = {one.name: place for place, one in enumerate(found, 1)}
    de, en = (places["lft/de:1.0.0"], "0.7", 4), (places["lft/en:1.0.0"], "0.3", 3)
    assert [(line.layers, line.parts) for line in by_layer(found)] == [("0", (en,)), ("1", tuple(sorted((de, en))))]
    assert "q_proj" in by_layer(found)[0].modules


# what people write


@pytest.mark.parametrize(
    ("written", "piece"),
    [
        ("de", Piece("de")),
        ("de*0.5", Piece("de", 0.5)),
        ("-0.5 * lft/de:1.0.0", Piece("lft/de:1.0.0", -0.5)),
        ("lft/de[0-3,5]*2", Piece("lft/de", 2.0, "0-3,5")),
        ("./runs/a b/adapter*.5", Piece("./runs/a b/adapter", 0.5)),
    ],
)
def test_a_piece_is_a_name_with_a_weight_and_layers(written: str, piece: Piece) -> None:
    assert piece_of(written) == piece


@pytest.mark.parametrize("written", ["2*de*0.5", "de[3-1]", "de[x]", "de[]", "", "de[0-99999]*1"])
def test_a_piece_that_cannot_be_meant_is_a_mistake(written: str) -> None:
    with pytest.raises(RecipeError):
        piece_of(written)


@pytest.mark.parametrize(
    ("words", "kind", "pieces"),
    [
        (["de"], "chain", [Piece("de")]),
        (["de", "en-us"], "chain", [Piece("de"), Piece("en-us")]),
        (["de*0.5"], "stack", [Piece("de", 0.5)]),
        (["a + b"], "stack", [Piece("a"), Piece("b")]),
        (["0.7*a - 0.3*b", "c"], "stack", [Piece("a", 0.7), Piece("b", -0.3), Piece("c")]),
    ],
)
def test_words_for_adapters_may_be_sums(words: list[str], kind: str, pieces: list[Piece]) -> None:
    assert together(words) == (kind, tuple(pieces))


def test_layers_are_written_one_way() -> None:
    assert written_layers(layer_ranges("7,0-2,3,5-6,9")) == "0-3,5-7,9"
    assert pieces_of("0.5*de[3,0-2] + b") == (Piece("de", 0.5, "0-3"), Piece("b"))


def test_several_adapters_are_put_together_where_they_lie(world: Path, store: Store, tmp_path: Path) -> None:
    both = in_place(parts(store, (Piece(str(world / "de"), 0.7), Piece("lft/en", 0.3))))
    with new_folder(tmp_path / "stack") as draft:
        write_stack(both, "stack", draft)
    model = load_adapted(tmp_path / "stack", world / "cache", lambda _: None).model
    assert torch.allclose(logits(model, 6), logits(merged(world, {"de": 0.7, "en": 0.3}), 6), rtol=0, atol=1e-5)


def test_a_stack_whose_file_names_no_parts_is_refused(world: Path, store: Store, tmp_path: Path) -> None:
    folder = materialise(store, made(store, "0.7*lft/de + 0.3*lft/en", "lft/torn").digest)
    said = json.loads((folder / "lft.json").read_text())
    for change in ({"below": []}, {"stack": "pile"}, {"below": [{**said["below"][0], "weight": "x"}]}):
        (tmp_path / "lft.json").write_text(json.dumps({**said, **change}))
        with pytest.raises(InputError, match=r"does not say what (the stack is made of|is below)"):
            Binding.load(tmp_path)
