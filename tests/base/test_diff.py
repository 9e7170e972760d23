"""Exact weight differences: base + difference is the tuned model, byte for byte, or there is nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.diff import apply_diff, check_diff, make_diff, resolve_diff
from lft.base.diff_files import RECORD
from lft.base.fingerprint import weights_fingerprint
from lft.base.headers import BITS, SINGLE, read_headers
from lft.base.resolve import BaseRef, check_folder
from lft.errors import InputError, LftError, RecipeError
from lft.files import broken_files
from tests.raw_safetensors import Raw, write_sharded, write_tensors
from tests.tiny import save_tiny

ROOT = Path(__file__).resolve().parents[2]
FLOATS = ("F16", "BF16", "F32")


def ref(folder: Path) -> BaseRef:
    return BaseRef(str(folder), "folder", folder, None, False)


def make(base: Path, tuned: Path, out: Path, said: list[str] | None = None):
    return make_diff(ref(base), ref(tuned), out, out.parent / "cache", (said if said is not None else []).append)


def apply(base: Path, diff: Path, out: Path, **kw):
    return apply_diff(ref(base), diff, out, out.parent / "cache", lambda _: None, **kw)


def model(folder: Path, *shards: list[Raw]) -> Path:
    """A model folder of raw tensors: single when there is one shard."""
    folder.mkdir(parents=True)
    if len(shards) == 1:
        write_tensors(folder / SINGLE, shards[0])
    else:
        write_sharded(folder, shards)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text('{"model": {}}')
    return folder


def raw(name: str, dtype: str, *shape: int, fill: int = 1) -> Raw:
    size = 1
    for length in shape:
        size *= length
    return Raw(name, dtype, shape, bytes([fill]) * (size * BITS[dtype] // 8))


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "manifest.json"}


@st.composite
def tensor_pairs(draw, number: int) -> tuple[Raw | None, Raw | None]:
    """A tensor of the base and of the tuned model: any bits, more rows, another float format, or only one of them."""
    dtype = draw(st.sampled_from(["F16", "BF16", "F32", "F64", "U8", "I64", "BOOL", "F8_E4M3", "F4", "C64"]))
    tail = draw(st.sampled_from([(), (2,), (4, 2)]))
    rows, more = draw(st.integers(0, 5)), 0
    there = draw(st.sampled_from(["both", "both", "both", "both", "equal", "base", "tuned"]))
    if there == "both" and BITS[dtype] >= 8:
        more = draw(st.integers(0, 2))
    other = draw(st.sampled_from(FLOATS)) if dtype in FLOATS and there == "both" else dtype
    if dtype == "F4":
        tail = (*tail, 2)

    def one(kind: str, length: int) -> Raw:
        shape = (length, *tail)
        bits = BITS[kind]
        for n in shape:
            bits *= n
        return Raw(f"t{number}.weight", kind, shape, draw(st.binary(min_size=bits // 8, max_size=bits // 8)))

    base = one(dtype, rows)
    if there == "equal":
        return base, base
    return (None if there == "tuned" else base), (None if there == "base" else one(other, rows + more))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_base_plus_difference_is_the_tuned_model_byte_for_byte(tmp_path_factory, data):
    pairs = [data.draw(tensor_pairs(number)) for number in range(data.draw(st.integers(1, 5)))]
    # Most of the weights have a counterpart, and at least one differs.
    anchor = Raw("anchor", "U8", (4096,), bytes(4096)), Raw("anchor", "U8", (4096,), bytes([7]) * 4096)
    base = [a for a, _ in [*pairs, anchor] if a]
    tuned = [b for _, b in [*pairs, anchor] if b]
    cut = data.draw(st.integers(0, len(tuned) - 1))
    at = tmp_path_factory.mktemp("diff")
    model(at / "base", base)
    model(at / "tuned", *([tuned[:cut], tuned[cut:]] if cut else [tuned]))
    made = make(at / "base", at / "tuned", at / "diff")
    applied = apply(at / "base", at / "diff", at / "again")
    assert content(at / "again") == content(at / "tuned")
    assert broken_files(at / "again") == []
    assert applied.result == made.result == weights_fingerprint(at / "tuned", None)
    assert (applied.changed, applied.same, applied.whole) == (made.changed, made.same, made.whole)


def test_a_sharded_model_whose_embedding_grew_comes_back_as_the_library_wrote_it(tmp_path):
    base = save_tiny(tmp_path / "base", "opt")
    tuned = save_tiny(tmp_path / "tuned", "opt", seed=1, extra_rows=3, max_shard_size="40KB")
    said: list[str] = []
    summary = make(base, tuned, tmp_path / "diff", said)
    apply(base, tmp_path / "diff", tmp_path / "again")
    assert content(tmp_path / "again") == content(tuned)
    assert len([line for line in said if line.startswith("shard ")]) > 1
    assert summary.grown == ("model.decoder.embed_tokens.weight",)
    check_folder(tmp_path / "again", "again")
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "again", local_files_only=True)
    assert loaded.get_input_embeddings().weight.shape[0] == loaded.config.vocab_size


def test_weights_that_did_not_change_cost_nothing(tmp_path):
    big = raw("big", "F32", 100_000)
    base = model(tmp_path / "base", [big, raw("head", "F32", 10)])
    tuned = model(tmp_path / "tuned", [big, raw("head", "F32", 10, fill=2)])
    summary = make(base, tuned, tmp_path / "diff")
    assert (summary.same, summary.changed, summary.stored_bytes) == (1, 1, 40)
    assert sum(p.stat().st_size for p in (tmp_path / "diff").iterdir()) < 4000


def test_a_small_step_of_a_weight_is_a_small_integer(tmp_path):
    base = model(tmp_path / "base", [Raw("w", "BF16", (2,), bytes.fromhex("803f 803f"))])
    tuned = model(tmp_path / "tuned", [Raw("w", "BF16", (2,), bytes.fromhex("823f 7e3f"))])
    make(base, tuned, tmp_path / "diff")
    (stored,) = (tmp_path / "diff").glob("*.safetensors")
    assert stored.read_bytes()[-4:] == bytes.fromhex("0200 feff")


def test_a_wrong_base_is_refused_before_anything_is_written(tmp_path):
    base = model(tmp_path / "base", [raw("w", "F32", 4)])
    other = model(tmp_path / "other", [raw("w", "F32", 4, fill=3)])
    make(base, model(tmp_path / "tuned", [raw("w", "F32", 4, fill=2)]), tmp_path / "diff")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="not the base of this difference") as caught:
        apply(other, tmp_path / "diff", tmp_path / "again")
    assert "use base, the very weights" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before
    assert check_diff(tmp_path / "diff", ref(base), tmp_path / "cache", lambda _: None)
    with pytest.raises(InputError, match="not the base"):
        check_diff(tmp_path / "diff", ref(other), tmp_path / "cache", lambda _: None)


def test_the_same_base_in_other_shards_is_still_the_base(tmp_path):
    parts = [raw("a", "F32", 4), raw("b", "F32", 4)]
    base, split = model(tmp_path / "base", parts), model(tmp_path / "split", parts[:1], parts[1:])
    tuned = model(tmp_path / "tuned", [raw("a", "F32", 4, fill=2), raw("b", "F32", 4)])
    make(base, tuned, tmp_path / "diff")
    apply(split, tmp_path / "diff", tmp_path / "again")
    assert content(tmp_path / "again") == content(tuned)


def test_a_difference_names_the_base_and_no_path_of_this_machine(tmp_path):
    base = model(tmp_path / "base", [raw("w", "F32", 4)])
    tuned = model(tmp_path / "tuned", [raw("w", "F32", 4, fill=2)])
    make(base, tuned, tmp_path / "diff")
    record = json.loads((tmp_path / "diff" / RECORD).read_text())
    assert record["base"] == {"model": "base", "revision": None, "weights": weights_fingerprint(base, None)}
    hub = replace(ref(base), written="org/base", kind="hub", revision="a" * 40)
    make_diff(hub, ref(tuned), tmp_path / "second", tmp_path / "cache", lambda _: None)
    record = json.loads((tmp_path / "second" / RECORD).read_text())
    assert (record["base"]["model"], record["base"]["revision"]) == ("org/base", "a" * 40)
    assert str(tmp_path) not in (tmp_path / "second" / RECORD).read_text()


def test_a_difference_is_never_taken_for_a_model(tmp_path):
    base = save_tiny(tmp_path / "base", "llama")
    make(base, save_tiny(tmp_path / "tuned", "llama", seed=1), tmp_path / "diff")
    with pytest.raises(InputError):
        check_folder(tmp_path / "diff", "diff")
    from transformers import AutoModelForCausalLM

    with pytest.raises(OSError, match="no file named"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "diff", local_files_only=True)


BASE = [raw("w", "F32", 4, 2), raw("v", "F32", 4)]
APART = {
    "shape": ([raw("w", "F32", 4, 3), raw("v", "F32", 4)], r"'w' has shape \(4, 3\), the base's has \(4, 2\)"),
    "fewer rows": ([raw("w", "F32", 3, 2), raw("v", "F32", 4)], r"'w' has shape \(3, 2\)"),
    "rank": ([raw("w", "F32", 4, 2, 1), raw("v", "F32", 4)], r"'w' has shape \(4, 2, 1\)"),
    "dtype": ([raw("w", "F64", 4, 2), raw("v", "F32", 4)], "'w' is F64, the base's is F32; these do not convert"),
    "names": ([raw("model.w", "F32", 4, 2), raw("v", "F32", 4)], "only 33 % of its weights.*'model.w' has none"),
    "same": (BASE, "there is no difference"),
}


@pytest.mark.parametrize("case", APART)
def test_models_that_do_not_belong_together_are_an_error_that_says_why(tmp_path, case):
    tensors, says = APART[case]
    base, tuned = model(tmp_path / "base", BASE), model(tmp_path / "tuned", tensors)
    with pytest.raises(InputError, match=says):
        make(base, tuned, tmp_path / "diff")
    assert {p.name for p in tmp_path.iterdir()} <= {"base", "tuned", "cache"}


def test_tensors_of_one_side_only_are_counted(tmp_path):
    base = model(tmp_path / "base", [raw("w", "F32", 400), raw("lm_head.weight", "F32", 4)])
    tuned = model(tmp_path / "tuned", [raw("w", "F32", 400, fill=2), raw("bias", "F32", 4)])
    summary = make(base, tuned, tmp_path / "diff")
    assert (summary.whole, summary.left_out) == (("bias",), ("lm_head.weight",))
    apply(base, tmp_path / "diff", tmp_path / "again")
    assert [t.name for t in read_headers(tmp_path / "again")] == ["w", "bias"]


@pytest.mark.parametrize("target", ["diff", "again"])
def test_nothing_is_overwritten(tmp_path, target):
    base = model(tmp_path / "base", [raw("w", "F32", 4)])
    tuned = model(tmp_path / "tuned", [raw("w", "F32", 4, fill=2)])
    make(base, tuned, tmp_path / "made")
    (tmp_path / target).mkdir()
    with pytest.raises(RecipeError, match="exists already"):
        make(base, tuned, tmp_path / "diff") if target == "diff" else apply(base, tmp_path / "made", tmp_path / "again")
    assert list((tmp_path / target).iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_difference_makes_no_model_and_no_traceback(tmp_path_factory, data):
    at = tmp_path_factory.mktemp("damage")
    base = model(at / "base", [raw("w", "F32", 8), raw("v", "BF16", 4)])
    make(base, model(at / "tuned", [raw("w", "F32", 8, fill=2), raw("v", "BF16", 6)]), at / "diff")
    file = at / "diff" / data.draw(st.sampled_from([RECORD, f"diff-{SINGLE}"]))
    damaged = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(damaged) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    if kind == "flip":
        damaged[place] ^= data.draw(st.integers(1, 255))
    else:
        damaged[place : place + (kind == "cut")] = b"" if kind == "cut" else b"7"
    file.write_bytes(damaged)
    with pytest.raises(InputError):
        check_diff(at / "diff", None, at / "cache", lambda _: None)
    try:
        apply(base, at / "diff", at / "again")
    except LftError:
        assert {p.name for p in at.iterdir()} <= {"base", "tuned", "diff", "cache"}
    else:  # damage where nothing depends on it: a name for people, white space in the header
        assert content(at / "again")[SINGLE] == content(at / "tuned")[SINGLE]


def test_a_record_cannot_write_outside_its_folder(tmp_path):
    base = model(tmp_path / "base", [raw("w", "F32", 4)])
    make(base, model(tmp_path / "tuned", [raw("w", "F32", 4, fill=2)]), tmp_path / "diff")
    record = json.loads((tmp_path / "diff" / RECORD).read_text())
    for name in ("../out.safetensors", "/tmp/out.safetensors", "a/b.safetensors", ".safetensors", "run.py"):
        record["shards"][0]["name"] = name
        (tmp_path / "diff" / RECORD).write_text(json.dumps(record))
        with pytest.raises(InputError, match="not a weight difference that this version can read"):
            apply(base, tmp_path / "diff", tmp_path / "again")


def test_a_published_fingerprint_is_compared_before_anything_is_written(tmp_path):
    base = model(tmp_path / "base", [raw("w", "F32", 4)])
    tuned = model(tmp_path / "tuned", [raw("w", "F32", 4, fill=2)])
    summary = make(base, tuned, tmp_path / "diff")
    apply(base, tmp_path / "diff", tmp_path / "again", expect=summary.result)
    with pytest.raises(InputError, match="this difference makes weights"):
        apply(base, tmp_path / "diff", tmp_path / "other", expect="0" * 64)
    assert not (tmp_path / "other").exists()


def test_a_path_that_is_no_difference_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    for written in (str(tmp_path / "none"), str(tmp_path / "file"), "a b"):
        with pytest.raises(InputError, match="not a folder and not a hub id"):
            resolve_diff(written, None, lambda _: None)
    with pytest.raises(InputError, match="is on the disk"):
        resolve_diff(str(tmp_path), "main", lambda _: None)


KILLED = """
import os, signal, sys
from pathlib import Path
import lft.base.diff as diff
import lft.base.diff_files as files
from lft.base.resolve import BaseRef
action, base, second, out, when = sys.argv[1:]
calls, write = [], diff.write_shard
def write_or_die(*arguments):
    calls.append(1)
    if when == "mid-shard" and len(calls) == 2:
        inner = arguments[3]
        def content(tensor):
            yield from inner(tensor)
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*arguments[:3], content)
    return write(*arguments)
diff.write_shard = write_or_die
if when == "before the rename":
    import lft.files
    replace = os.replace
    def replace_or_die(source, target):
        if os.path.isdir(source):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
    lft.files.os.replace = replace_or_die
ref = lambda folder: BaseRef(folder, "folder", Path(folder), None, False)
cache = Path(out).parent / "cache"
if action == "make":
    diff.make_diff(ref(base), ref(second), Path(out), cache, print)
else:
    diff.apply_diff(ref(base), Path(second), Path(out), cache, print)
"""


@pytest.mark.parametrize("when", ["mid-shard", "before the rename"])
@pytest.mark.parametrize("action", ["make", "apply"])
def test_killed_midway_leaves_nothing_that_passes_as_whole_and_the_next_run_ends_well(tmp_path, action, when):
    base = model(tmp_path / "base", [raw("a", "F32", 8)], [raw("b", "F32", 8)])
    tuned = model(tmp_path / "tuned", [raw("a", "F32", 8, fill=2)], [raw("b", "F32", 8, fill=3)])
    second, out = tuned, tmp_path / "diff"
    if action == "apply":
        make(base, tuned, tmp_path / "diff")
        second, out = tmp_path / "diff", tmp_path / "again"
    command = [sys.executable, "-c", KILLED, action, str(base), str(second), str(out), when]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    (draft,) = tmp_path.glob(f".{out.name}.*")
    if when == "mid-shard":
        assert broken_files(draft) == ["it has no manifest, so writing it was never finished"]
    if action == "make":
        make(base, tuned, out)
        assert broken_files(out) == []
    else:
        apply(base, second, out)
        assert content(out) == content(tuned)


MEASURED = """
import resource, sys
from pathlib import Path
from lft.base.diff import apply_diff, make_diff
from lft.base.resolve import BaseRef
at = Path(sys.argv[1])
ref = lambda name: BaseRef(name, "folder", at / name, None, False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
make_diff(ref("base"), ref("tuned"), at / "diff", at / "cache", print)
apply_diff(ref("base"), at / "diff", at / "again", at / "cache", print)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
print(*(name for name in ("torch", "transformers", "safetensors") if name in sys.modules))
"""


def test_memory_is_a_few_pieces_whatever_the_size_of_a_tensor_and_torch_is_not_loaded(tmp_path):
    size = 48 * 2**20
    model(tmp_path / "base", [Raw("w", "F16", (size // 2,), bytes(size))])
    model(tmp_path / "tuned", [Raw("w", "F32", (size // 2 + 7,), os.urandom(16) * (size // 8) + bytes(28))])
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, mebibytes, modules = done.stdout.splitlines()
    assert modules == ""
    assert int(mebibytes) < 64  # the larger file has 96
    assert (tmp_path / "again" / SINGLE).stat().st_size == (tmp_path / "tuned" / SINGLE).stat().st_size
