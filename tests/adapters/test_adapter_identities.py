"""Adapters of the same tensors and other scales are told apart wherever one names another; older files are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lft.adapters.adapter import open_adapter
from lft.adapters.merge import merge
from lft.adapters.merge_folder import merged_binding
from lft.adapters.peft_folder import Named
from lft.adapters.plan_file import plan_of_expression
from lft.adapters.sources import Source, require_same_base, source_of
from lft.adapters.store.active import active
from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.checkout import finder, materialise
from lft.adapters.store.fsck import check
from lft.adapters.store.index import alike, with_weights
from lft.adapters.store.layout import Store
from lft.adapters.store.leases import leased
from lft.adapters.store.lookup import resolve
from lft.adapters.store.manifest import Manifest, Parent, read_manifest
from lft.adapters.store.versions import Stored, publish, remove
from lft.base.attach import lower_adapters, recorded_adapters
from lft.base.binding import Below, Binding
from lft.base.fingerprint import Fingerprint
from lft.base.identity import identity
from lft.errors import InputError
from lft.files import seal
from lft.train.folder import Lock
from tests.registry import adapter, added, new_store
from tests.run_folders import LOCK

BASE = Fingerprint("a" * 64, "b" * 64)


def louder(folder: Path) -> Path:
    """The same tensors with ten times the scale."""
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 80}))
    seal(folder)
    return folder


def on(folder: Path, lower: Path, seed: int = 5, form: int = 4, path: str = "", weight: float = 1.0) -> Path:
    """An adapter on another, recorded as lft records it now or as it did in format 3."""
    known = identity(lower)
    adapter(folder, seed, format=3, stack="", below=[])
    below = Below(path or str(lower), known.digest if form == 4 else known.weights, weight)
    replace(Binding.load(folder), below=(below,), format=form).save(folder)
    seal(folder)
    return folder


@pytest.mark.parametrize("form", [3, 4])
def test_an_adapter_below_is_known_by_either_form_of_record(tmp_path: Path, form: int) -> None:
    lower = adapter(tmp_path / "low", 1)
    upper = on(tmp_path / "up", lower, form=form)
    assert [one.folder for one in lower_adapters([upper], BASE)] == [lower, upper]
    assert [one.weights for one in open_adapter(upper).binding.below] == [identity(lower).digest]  # type: ignore[union-attr]


def test_another_scale_below_is_a_change(tmp_path: Path) -> None:
    upper = on(tmp_path / "up", adapter(tmp_path / "low", 1))
    louder(tmp_path / "low")
    with pytest.raises(InputError, match=r"it changed since .* in its tensors or in what its configuration makes"):
        lower_adapters([upper], BASE)


def test_a_merge_of_both_scales_has_both(tmp_path: Path) -> None:
    folders = [str(adapter(tmp_path / "low", 1)), str(louder(adapter(tmp_path / "loud", 1)))]
    sources = {one: source_of(one, open_adapter(Path(one))) for one in folders}
    assert sources[folders[0]].weights == sources[folders[1]].weights
    plan = plan_of_expression(" - ".join(map(json.dumps, folders)), [])
    assert len(merge(plan, sources).certificate.parents) == 2


def test_records_of_both_forms_mean_one_adapter(tmp_path: Path) -> None:
    lower = adapter(tmp_path / "low", 1)
    old, new = on(tmp_path / "old", lower, 2, form=3), on(tmp_path / "new", lower, 3)
    assert [one.folder for one in lower_adapters([old, new], BASE)] == [lower, old, new]
    bound = [open_adapter(one).binding for one in (old, new)]
    require_same_base([Source(str(n), str(n), None, one) for n, one in enumerate(bound)])  # type: ignore[arg-type]


def test_the_registry_gives_the_one_with_the_scale_that_was_recorded(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    quiet = add_adapter(store, adapter(tmp_path / "low", 1), Origin("lft/low")).stored
    upper = on(tmp_path / "up", tmp_path / "low", path="/gone")
    loud = add_adapter(store, louder(tmp_path / "low"), Origin("lft/low")).stored
    assert (quiet.manifest.weights, quiet.digest == loud.digest) == (loud.manifest.weights, False)
    found = recorded_adapters(Binding.load(upper), BASE, upper, finder(store))
    assert [one.folder for one in found] == [materialise(store, quiet.digest)]
    assert [one[0] for one in with_weights(store, identity(tmp_path / "low").digest)] == [loud.digest]
    parents = add_adapter(store, upper, Origin("lft/up")).stored.manifest.parents
    assert parents == (quiet.digest,)


def test_an_older_record_that_may_mean_two_adapters_is_not_guessed(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    add_adapter(store, adapter(tmp_path / "low", 1), Origin("lft/low"))
    upper = on(tmp_path / "up", tmp_path / "low", form=3, path="/gone")
    assert len(recorded_adapters(Binding.load(upper), BASE, upper, finder(store))) == 1
    loud = add_adapter(store, louder(tmp_path / "low"), Origin("lft/low")).stored
    assert alike(store, loud.manifest.weights) == ["lft/low:1.0.1", "lft/low:1.0.0"]
    with pytest.raises(InputError, match=r"lft/low:1\.0\.1, lft/low:1\.0\.0 have them with other scales"):
        recorded_adapters(Binding.load(upper), BASE, upper, finder(store))
    assert add_adapter(store, upper, Origin("lft/up")).unknown_parents[0].weights == loud.manifest.weights


def test_what_is_merged_in_is_no_floor_in_either_form(tmp_path: Path) -> None:
    lower = adapter(tmp_path / "low", 1)
    for form in (3, 4):
        upper = on(tmp_path / f"up{form}", lower, form=form, path="/gone")
        opened = [Named(one.name, open_adapter(one)) for one in (upper, lower)]
        binding = merged_binding(opened, "cat", "me/sum", None)
        assert binding is not None
        assert binding.below == ()


def before(store: Store, stored: Stored) -> Stored:
    """The version as a registry of format 1 has it."""
    parents = stored.manifest.lineage.parents
    old = tuple(replace(one, weights=with_weights_of(store, one)) for one in parents)
    base = replace(stored.manifest.base, architecture=None)
    made = replace(
        stored.manifest, format=1, identity=None, base=base, lineage=replace(stored.manifest.lineage, parents=old)
    )
    with leased(store) as lease:
        remove(lease, stored)
    store.tombstone(made.name, made.version).unlink()
    with leased(store) as lease:
        return publish(lease, made)[0]


def with_weights_of(store: Store, parent: Parent) -> str:
    path = store.blob(str(parent.digest))
    return read_manifest(path.read_bytes(), "").weights


def test_a_registry_of_the_first_format_goes_on(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    old = before(store, added(store, tmp_path, 1).stored)
    text = json.loads(old.manifest.text)
    assert (text["format"], "identity" in text) == (1, False)
    assert resolve(store, "lft/de") == old
    assert check(store).findings == ()
    again = add_adapter(store, materialise(store, old.digest), Origin("lft/de"))
    assert (again.stored, again.new) == (old, False)
    known = identity(materialise(store, old.digest))
    assert with_weights(store, known.digest) == with_weights(store, known.weights) == [(old.digest, "lft/de", "1.0.0")]
    newer = add_adapter(store, louder(adapter(tmp_path / "loud", 1)), Origin("lft/de")).stored
    assert (newer.manifest.format, newer.manifest.identity) == (2, identity(tmp_path / "loud").digest)


def test_active_adapters_are_one_list_whatever_the_records(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    low = add_adapter(store, adapter(tmp_path / "low", 1), Origin("lft/low")).stored
    old = add_adapter(store, on(tmp_path / "mid", tmp_path / "low"), Origin("lft/mid")).stored
    mid = before(store, old)
    assert mid.manifest.lineage.parents[0].weights == low.manifest.weights
    binding = replace(Binding.load(on(tmp_path / "up", tmp_path / "mid", 6)), below=())
    lows = (Below("/x", identity(tmp_path / "low").digest, 0.5), Below("/y", identity(tmp_path / "mid").digest))
    replace(binding, below=lows).save(tmp_path / "up")
    seal(tmp_path / "up")
    up = add_adapter(store, tmp_path / "up", Origin("lft/up")).stored
    said = [(one.weight, one.name) for one in active(store, up)]
    assert said == [("0.5", "lft/low:1.0.0"), ("1", "lft/mid:1.0.0"), ("1", "lft/up:1.0.0")]


@pytest.mark.parametrize("change", [{"identity": "no"}, {"identity": 3}])
def test_an_identity_that_is_none_is_no_manifest(tmp_path: Path, change: dict[str, Any]) -> None:
    said = json.loads(added(new_store(tmp_path), tmp_path).stored.manifest.text)
    text = json.dumps({**said, **change}, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(text, "here")
    old = {key: value for key, value in said.items() if key != "identity"}
    old["base"] = {key: value for key, value in said["base"].items() if key != "architecture"}
    assert isinstance(
        read_manifest(json.dumps({**old, "format": 1}, sort_keys=True, separators=(",", ":")).encode(), ""), Manifest
    )
    with pytest.raises(InputError, match="no manifest"):  # a key that this format did not have
        read_manifest(json.dumps({**said, "format": 1}, sort_keys=True, separators=(",", ":")).encode(), "here")


def test_a_run_that_an_older_version_began_is_resumed() -> None:
    now = replace(LOCK, adapters_below=("1" * 64,), weights_below=("2" * 64,))
    older = replace(LOCK, adapters_below=("2" * 64,))
    assert older.changes(now) == []
    assert replace(older, adapters_below=("3" * 64,)).changes(now) == ["adapters_below"]
    assert replace(now, adapters_below=("2" * 64,)).changes(now) == ["adapters_below"]
    assert isinstance(older, Lock)
