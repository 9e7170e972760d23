"""Adding an adapter: what is stored is what was checked, and what the manifest says is true of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from lft.adapters.store import blobs
from lft.adapters.store.add import Origin, RunRecord
from lft.adapters.store.checkout import adapter_folder_of, finder, folder_with_weights, materialise, stack_folders
from lft.adapters.store.fsck import check
from lft.adapters.store.lockfile import make_lock
from lft.adapters.store.manifest import Training
from lft.adapters.store.versions import versions
from lft.errors import InputError
from lft.files import MANIFEST, broken_files, seal
from tests.peft_folders import pair, raw, write_adapter
from tests.registry import NAME, adapter, added, new_store, pointed, tree


def add(store, folder: Path, **origin):
    from lft.adapters.store.add import add_adapter

    return add_adapter(store, folder, Origin(**origin))


# --- what is recorded ------------------------------------------------------------------------------------------------


def test_the_manifest_says_what_the_binding_says(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", base="org/base", revision="f" * 40, tags={"lang": ["de"]}, quantize="nf4")
    found = add(new_store(tmp_path), folder, tags={"domain": ("recipes",)})
    manifest = found.stored.manifest
    assert found.new
    assert (manifest.name, manifest.version, manifest.kind, manifest.method) == (NAME, "1.0.0", "adapter", "lora")
    assert (manifest.base.id, manifest.base.revision, manifest.base.weights) == ("org/base", "f" * 40, "a" * 64)
    assert (manifest.base.rows, manifest.tokenizer.fingerprint) == (384, "b" * 64)
    assert manifest.base.quantization is not None
    assert manifest.base.quantization.kind == "nf4"
    assert manifest.tags == {"domain": ("recipes",), "lang": ("de",)}
    assert manifest.lineage.lft == "0.1.0"
    assert [file.path for file in manifest.files] == ["adapter_config.json", "adapter_model.safetensors", "lft.json"]


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"lora_alpha": 3}], ids=["plain", "rslora", "alpha"])
def test_norms_are_those_of_the_product_that_is_never_formed(tmp_path: Path, options: dict[str, object]) -> None:
    names = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj")
    tensors = {key: value for seed, name in enumerate(names) for key, value in pair(name, seed=seed).items()}
    folder = write_adapter(tmp_path / "a", tensors, **options)
    lora = add(new_store(tmp_path), folder, name=NAME).stored.manifest.lora
    alpha = options.get("lora_alpha", 8)
    scale = float(alpha) / (2 if "use_rslora" in options else 4)  # type: ignore[arg-type]
    wanted = [
        scale
        * float(
            np.linalg.norm(
                tensors[f"base_model.model.{name}.lora_B.weight"].astype(float)
                @ tensors[f"base_model.model.{name}.lora_A.weight"].astype(float)
            )
        )
        for name in names
    ]
    assert lora is not None
    assert [float(target.norm) for target in lora.targets] == pytest.approx(wanted, rel=1e-5)
    assert float(lora.norm) == pytest.approx(float(np.hypot(*wanted)), rel=1e-5)
    assert [(target.m, target.n, target.r) for target in lora.targets] == [(6, 5, 4)] * 2
    assert [float(target.scale) for target in lora.targets] == [scale] * 2


def test_an_adapter_of_another_program_has_a_base_by_name_alone(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    manifest = add(store, adapter(tmp_path / "a", bound=False), name="me/theirs").stored.manifest
    assert (manifest.base.id, manifest.base.weights) == ("lft/tiny", None)
    write_adapter(tmp_path / "b", base_model_name_or_path=None)
    assert add(store, tmp_path / "b", name="me/b", base="org/base").stored.manifest.base.id == "org/base"


def test_a_run_leaves_its_recipe_and_lock_file_in_the_store(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    training = Training(None, None, "d" * 64, None, 42, "cpu", "float32", "none", 1, {"torch": "2.13.0"})
    run = RunRecord(b"name: de\n", b"{}", training)
    said = add(store, adapter(tmp_path / "a"), run=run).stored.manifest
    assert said.lineage.training is not None
    assert blobs.read(store, said.lineage.training.recipe or "") == b"name: de\n"
    assert blobs.read(store, said.lineage.training.lock or "") == b"{}"
    assert set(said.blobs) >= {said.lineage.training.recipe, said.lineage.training.lock}


def test_the_sizes_of_the_base_are_recorded_where_its_configuration_is(tmp_path: Path) -> None:
    store, said = new_store(tmp_path), {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}
    manifest = added(store, tmp_path, config=said).stored.manifest
    assert manifest.base.architecture == "llama hidden=64 heads=4 kv=4 head=16"
    assert added(store, tmp_path, 2).stored.manifest.base.architecture is None


def test_adapters_below_are_parents_where_the_store_has_them(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    low = added(store, tmp_path, 1, name="lft/low")
    weights = low.stored.manifest.weights
    below = [{"path": "/gone/low", "weights": weights}, {"path": "/gone/lower", "weights": "e" * 64}]
    top = added(store, tmp_path, 2, below=below)
    parents = [(parent.digest, parent.weights, parent.role) for parent in top.stored.manifest.lineage.parents]
    assert parents == [(low.stored.digest, weights, "below"), (None, "e" * 64, "below")]
    assert [parent.weights for parent in top.unknown_parents] == ["e" * 64]


# --- versions --------------------------------------------------------------------------------------------------------


def test_another_content_is_the_next_version_and_the_same_is_none(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    first, again, second = (added(store, tmp_path, seed) for seed in (1, 1, 2))
    assert (first.stored.manifest.version, second.stored.manifest.version) == ("1.0.0", "1.0.1")
    assert (again.new, again.stored.digest) == (False, first.stored.digest)
    assert not added(store, tmp_path, 1).new  # also an older one
    assert versions(store, NAME) == ["1.0.1", "1.0.0"]


def test_a_version_that_was_asked_for_is_taken_or_refused(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    assert added(store, tmp_path, 1, Origin(version="2.5.0")).stored.manifest.version == "2.5.0"
    assert not added(store, tmp_path, 1, Origin(version="2.5.0")).new
    with pytest.raises(InputError, match=r"lft/de:2\.5\.0 exists with another content"):
        added(store, tmp_path, 2, Origin(version="2.5.0"))
    assert added(store, tmp_path, 2).stored.manifest.version == "2.5.1"


def test_a_name_is_the_bindings_or_given_or_asked_for(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    assert added(store, tmp_path, name="tiny").stored.manifest.name == "local/tiny"
    assert added(store, tmp_path, origin=Origin(name="me/x")).stored.manifest.name == "me/x"
    with pytest.raises(InputError, match="give it a name: --name"):
        added(store, tmp_path, name="")
    with pytest.raises(InputError, match="cannot be a name"):
        added(store, tmp_path, name="a/b/c")


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_open_adapter_refuses_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    added(store, tmp_path, 1)
    before = tree(store.root)
    broken = adapter(tmp_path / "broken", 2, sealed=False)
    (broken / "helper.py").write_text("import os")
    with pytest.raises(InputError, match=r"helper\.py"):
        add(store, broken)
    odd = adapter(tmp_path / "odd", 2, sealed=False)
    (odd / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError):
        add(store, odd)
    assert tree(store.root) == before


def test_numbers_that_are_not_finite_are_refused_in_the_users_words(tmp_path: Path) -> None:
    tensors = pair("model.layers.0.self_attn.q_proj")
    next(iter(tensors.values()))[0, 0] = np.nan
    folder = write_adapter(tmp_path / "a", [raw(name, values) for name, values in tensors.items()])
    with pytest.raises(InputError, match="not finite") as caught:
        add(new_store(tmp_path), folder, name=NAME)
    assert caught.value.where == str(folder / "adapter_model.safetensors")


def test_a_snapshot_of_the_hubs_cache_is_copied_and_no_link_is_kept(tmp_path: Path) -> None:
    real = adapter(tmp_path / "hub" / "real", bound=False)
    store_of_hub, snapshot = tmp_path / "hub" / "m" / "blobs", tmp_path / "hub" / "m" / "snapshots" / ("1" * 40)
    store_of_hub.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(real.iterdir())):
        os.replace(path, store_of_hub / str(number))
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(number))
    store = new_store(tmp_path)
    stored = add(store, snapshot, name=NAME).stored
    assert not [path for path in store.root.rglob("*") if path.is_symlink()]
    assert (materialise(store, stored.digest) / "adapter_model.safetensors").read_bytes() == (
        store_of_hub / "1"
    ).read_bytes()
    assert check(store).findings == ()


def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", bound=False)
    os.replace(folder / "adapter_model.safetensors", tmp_path / "secret")
    (folder / "adapter_model.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of the folder"):
        add(new_store(tmp_path), folder, name=NAME)


# --- folders again ---------------------------------------------------------------------------------------------------


def test_a_version_comes_back_as_the_folder_that_it_was(tmp_path: Path) -> None:
    store, folder = new_store(tmp_path), adapter(tmp_path / "a")
    stored = add(store, folder).stored
    out = materialise(store, stored.digest)
    wanted, got = tree(folder), tree(out)
    assert got.pop(MANIFEST)
    assert wanted.pop(MANIFEST)
    assert got == wanted
    assert broken_files(out) == []
    assert (out / "adapter_model.safetensors").samefile(store.blob(stored.manifest.weights))
    assert materialise(store, stored.digest) == out


@pytest.mark.parametrize("damage", ["file gone", "other size", "one more", "folder gone"])
def test_a_checkout_that_is_not_what_it_was_is_made_again(tmp_path: Path, damage: str) -> None:
    store = new_store(tmp_path)
    out = materialise(store, added(store, tmp_path).stored.digest)
    before = tree(out)
    if damage == "file gone":
        (out / "lft.json").unlink()
    elif damage == "other size":
        (out / "lft.json").unlink()
        (out / "lft.json").write_text("{}")
    elif damage == "one more":
        (out / "model.safetensors").write_text("x")
    else:
        import shutil

        shutil.rmtree(out)
    assert tree(materialise(store, out.name)) == before


def test_a_damaged_file_does_not_come_back(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = added(store, tmp_path).stored
    blob = store.blob(stored.manifest.weights)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors of lft/de:1\.0\.0 is damaged"):
        materialise(store, stored.digest)
    assert not (store.checkouts / stored.digest).exists()


def test_what_is_written_where_an_adapter_is_asked_for_is_a_folder_a_run_or_a_name(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    stored = added(store, tmp_path).stored
    pointed(store, "prod", stored)
    wanted = store.checkouts / stored.digest
    for written in (
        NAME,
        f"{NAME}:1.0.0",
        f"{NAME}@prod",
        f"{NAME}@sha256:{stored.digest}",
        f"sha256:{stored.digest[:9]}",
    ):
        assert adapter_folder_of(written, store) == wanted
    run = tmp_path / "run"
    adapter(run / "adapter")
    (run / "recipe.yaml").write_text("x")
    assert adapter_folder_of(str(run), store) == run / "adapter"
    assert adapter_folder_of(str(run / "adapter"), store) == run / "adapter"


def test_a_checkout_that_a_run_recorded_is_made_again_where_it_was(tmp_path: Path) -> None:
    import shutil

    store = new_store(tmp_path)
    out = materialise(store, added(store, tmp_path).stored.digest)
    shutil.rmtree(out)
    assert adapter_folder_of(str(out), store) == out
    assert out.is_dir()


@pytest.mark.parametrize("written", ["none", "/no/where", "./none", "a/b/c/d", "a b", "~nobody-at-all", "runs/x/2026"])
def test_what_is_neither_is_one_message_about_both(tmp_path: Path, written: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = written.startswith((".", "/", "~"))
    with pytest.raises(
        InputError, match="there is no such adapter" + ("\n" if paths else ", neither a folder nor a name")
    ):
        adapter_folder_of(written, new_store(tmp_path))


def test_with_a_lock_only_what_it_pins_is_used(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    first = added(store, tmp_path, 1).stored
    lock = make_lock(store, [NAME])
    added(store, tmp_path, 2)
    assert adapter_folder_of(NAME, store, lock) == store.checkouts / first.digest
    with pytest.raises(InputError, match=r"lft/de:1\.0\.1 is not locked"):
        adapter_folder_of(f"{NAME}:1.0.1", store, lock)


def test_an_adapter_below_is_found_by_its_weights_when_its_folder_is_gone(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    low = added(store, tmp_path, 1, name="lft/low").stored
    there = adapter(tmp_path / "there", 3)
    below = [{"path": "/gone", "weights": low.manifest.weights}, {"path": str(there), "weights": "e" * 64}]
    added(store, tmp_path, 2, below=below, name="lft/top")
    low_folder, top_folder = store.checkouts / low.digest, adapter_folder_of("lft/top", store)
    assert finder(store)(low.manifest.weights) == low_folder
    assert folder_with_weights(store, "0" * 64) is None
    folders = stack_folders(["lft/top", str(there)], store, tmp_path / "cache")
    assert folders == (
        str(low_folder),
        str(top_folder),
        str(there),
    )


def test_the_manifest_of_equal_adapters_is_equal_on_every_machine(tmp_path: Path) -> None:
    one, other = new_store(tmp_path / "one"), new_store(tmp_path / "other")
    first, second = (add(store, adapter(store.root.parent / "a")).stored for store in (one, other))
    assert json.dumps(asdict(first.manifest)) == json.dumps(asdict(second.manifest))
    assert first.digest == second.digest


def test_a_merges_certificate_stays_with_it(tmp_path: Path) -> None:
    store, folder = new_store(tmp_path), adapter(tmp_path / "a", sealed=False)
    (folder / "merge.json").write_text('{"format": 1}')
    seal(folder)
    found = add(store, folder)
    assert found.ignored == ()
    assert [file.path for file in found.stored.manifest.files if file.role == "certificate"] == ["merge.json"]
    assert (materialise(store, found.stored.digest) / "merge.json").read_text() == '{"format": 1}'


def test_files_that_are_no_part_of_an_adapter_are_left_out_and_named(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", sealed=False)
    (folder / "optimizer.txt").write_text("x")
    seal(folder)
    found = add(new_store(tmp_path), folder)
    assert found.ignored == ("optimizer.txt",)
    assert "optimizer.txt" not in {file.path for file in found.stored.manifest.files}
