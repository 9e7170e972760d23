"""The negative corpus: each thing that an adapter's folder must not hold, as a crafted file, refused with its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lft.adapters.adapter import open_adapter
from lft.adapters.tensors import require_finite
from lft.errors import InputError
from tests.peft_folders import bfloat16, pair, pairs, raw, write_adapter
from tests.raw_safetensors import Raw, header_of, write_raw

WEIGHTS = "adapter_model.safetensors"
Q = "model.layers.0.self_attn.q_proj"
A, B = (raw(name, values) for name, values in pair(Q).items())


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        require_finite(open_adapter(folder).tensors)
    return str(caught.value)


def weights(folder: Path, tensors: list[Raw]) -> Path:
    return write_adapter(folder, tensors)


def cost(folder: Path) -> tuple[str, int, float]:
    """What opening an adapter says, and what it takes: megabytes and seconds beyond the imports."""
    code = (
        "import resource, sys, time\n"
        "from pathlib import Path\n"
        "from lft.adapters.adapter import open_adapter\n"
        "from lft.errors import InputError\n"
        "before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()\n"
        "try:\n    open_adapter(Path(sys.argv[1]))\n"
        "except InputError as error:\n    print(str(error).splitlines()[0])\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print((after - before) // 1024, time.process_time() - start)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    said, numbers = done.stdout.strip().splitlines()
    megabytes, seconds = numbers.split()
    return said, int(megabytes), float(seconds)


def test_a_header_bomb_is_refused_before_it_is_read(tmp_path):
    """73 MB of header and 900,000 empty tensors: the library takes 42 s and 1 GB for them."""
    folder = write_adapter(tmp_path)
    length = 73_000_000
    with (folder / WEIGHTS).open("wb") as file:  # the header is not even there: a sparse file
        file.write(length.to_bytes(8, "little"))
        file.truncate(8 + length)
    said, megabytes, seconds = cost(folder)
    assert "the header claims 73000000 bytes; 4000000 are allowed" in said
    assert megabytes < 20
    assert seconds < 0.5


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[' + ",".join(["{}"] * 1_300_000) + "]}",
        '{"a":[' + ",".join(["[]"] * 1_300_000) + "]}",
        '{"a":[' + ",".join(["0"] * 1_900_000) + "]}",
        '{"a":{"dtype":"F32","shape":[' + ",".join(["1"] * 1_900_000) + '],"data_offsets":[0,4]}}',
        "{" + ",".join(f'"{n:x}":0' for n in range(380_000)) + "}",
        '{"a":"' + "x" * 3_900_000 + '"}',
    ],
    ids=["maps", "lists", "numbers", "dimensions", "names", "text"],
)
def test_a_header_of_four_megabytes_is_refused_quickly_and_in_little_memory(tmp_path, text):
    folder = write_adapter(tmp_path)
    write_raw(folder / WEIGHTS, text, b"\0\0\0\0")
    assert len(text) < 4_000_000
    _, megabytes, seconds = cost(folder)
    assert megabytes < 100
    assert seconds < 2


def test_a_header_of_too_many_tensors_is_refused(tmp_path):
    folder = write_adapter(tmp_path)
    header = {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(20_001)}
    assert len(json.dumps(header)) < 4_000_000
    write_raw(folder / WEIGHTS, header, b"")
    assert "20,001 tensors; 20,000 are allowed" in refusal(folder)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "base_model.model/../x.lora_A.weight", " a.lora_A.weight", "a b", "a\\b", "C:x", ".a", "a..b",
     "a\x00b", "a\n", "", "\ud800"],
)  # fmt: skip
def test_a_tensor_name_that_no_module_has_is_refused(tmp_path, name):
    folder = weights(tmp_path, [Raw(name, A.dtype, A.shape, A.data), B])
    assert "is no name of a module or parameter" in refusal(folder)


def test_a_tensor_name_of_a_thousand_letters_is_refused(tmp_path):
    assert "allowed" in refusal(weights(tmp_path, [Raw("a" * 1000, A.dtype, A.shape, A.data), B]))


@pytest.mark.parametrize("shape", [(0, 2**40), (0,), (4, 0)])
def test_an_empty_tensor_of_any_length_is_refused(tmp_path, shape):
    assert "is empty" in refusal(weights(tmp_path, [Raw(A.name, "F32", shape, b""), B]))


@pytest.mark.parametrize(("dtype", "size"), [("F64", 8), ("I32", 4), ("U8", 1), ("F8_E4M3", 1)])
def test_numbers_of_another_type_are_refused(tmp_path, dtype, size):
    assert f"is {dtype}; allowed are" in refusal(weights(tmp_path, [Raw(A.name, dtype, A.shape, bytes(20 * size)), B]))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("make", [raw, lambda n, v: raw(n, v.astype(np.float16)), bfloat16])
def test_a_number_that_is_not_finite_is_refused_with_its_tensor(tmp_path, make, odd):
    values = np.ones((6, 4), np.float32)
    values[2, 1] = odd
    said = refusal(weights(tmp_path, [A, make(B.name, values)]))
    assert f"{B.name!r} holds a number that is not finite (element 9)" in said


def _header(change: Callable[[dict], None]) -> tuple[dict, bytes]:
    header = header_of([A, B])
    change(header)
    return header, A.data + B.data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h[B.name].update(data_offsets=[0, len(B.data)]), "overlaps"),
        (lambda h: h[B.name].update(data_offsets=[90, 90 + len(B.data)]), "leaves a gap"),
        (lambda h: h[B.name].update(shape=[2**62, 2**62]), "do not hold"),
        (lambda h: h[B.name].update(shape=[-6, -4]), "non-negative"),
        (lambda h: h[B.name].update(shape=[6.0, 4]), "non-negative"),
        (lambda h: h.pop(B.name), "after the last tensor"),
        (lambda h: h.update(__metadata__={"format": 1}), "metadata is not a map of texts"),
        (lambda h: h.update(__metadata__=[1]), "metadata is not a map of texts"),
    ],
)
def test_a_header_that_does_not_agree_with_the_file_is_refused(tmp_path, change, said):
    folder = write_adapter(tmp_path)
    write_raw(folder / WEIGHTS, *_header(change))
    assert said in refusal(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "a": {"dtype":"F32","shape":[1],'
         '"data_offsets":[0,4]}}', "occurs twice"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[]", "not a map"),
        ("\ufeff{}", "not valid JSON"),
    ],
)  # fmt: skip
def test_a_header_that_is_no_plain_json_is_refused(tmp_path, text, said):
    folder = write_adapter(tmp_path)
    write_raw(folder / WEIGHTS, text, b"\0\0\0\0")
    assert said in refusal(folder)


def test_a_git_lfs_pointer_and_a_cut_file_are_named_as_such(tmp_path):
    folder = write_adapter(tmp_path)
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-1])
    assert "truncated" in refusal(folder)
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    assert "git-lfs pointer" in refusal(folder)


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt", "pytorch_model.bin"])
def test_an_adapter_that_is_only_a_pickle_is_refused_with_the_way_out(tmp_path, name):
    folder = write_adapter(tmp_path)
    (folder / WEIGHTS).rename(folder / name)
    said = refusal(folder)
    assert f"only there as {name}, a pickle" in said
    assert "save_pretrained" in said


def test_the_pickle_of_2023_is_refused_and_never_opened(shared_data):
    assert "a pickle" in refusal(shared_data / "adapters" / "bloom-560m-lora-legacy")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("modeling.py", "is code"),
        ("Setup.PY", "is code"),
        ("native.so", "is code"),
        ("adapter.zip", "is an archive"),
        ("more.tar", "is an archive"),
        ("more.tar.gz", "is an archive"),
        ("a\\b.json", "is refused"),
        ("C:x.json", "is refused"),
        ("x.json.", "is refused"),
        ("bell\x07.md", "is refused"),
        ("ADAPTER_CONFIG.json", "the same name on some systems"),
    ],
)
def test_a_file_that_no_adapter_needs_and_some_misuse_is_refused(tmp_path, name, said):
    folder = write_adapter(tmp_path)
    (folder / name).write_bytes(b"x")
    assert said in refusal(folder)


def test_what_is_not_part_of_the_adapter_is_listed_and_not_opened(tmp_path):
    folder = write_adapter(tmp_path)
    for name in ("training_args.bin", "optimizer.pt", "trainer_state.json", "loss curve.png", ".gitattributes"):
        (folder / name).write_bytes(b"x")
    (folder / "checkpoint-100").mkdir()
    (folder / "checkpoint-100" / "evil.py").write_text("boom")
    (folder / "README.md").write_text("# hello")
    found = open_adapter(folder)
    assert found.ignored == (
        ".gitattributes", "checkpoint-100/", "loss curve.png", "optimizer.pt", "trainer_state.json",
        "training_args.bin",
    )  # fmt: skip


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    folder = write_adapter(tmp_path)
    os.mkfifo(folder / "tokenizer.json")
    assert "no plain file" in refusal(folder)


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "notes.txt"])
def test_a_link_out_of_the_folder_is_refused(tmp_path, name):
    folder = write_adapter(tmp_path / "adapter")
    outside = tmp_path / "secret"
    if (folder / name).exists():
        (folder / name).rename(outside)
    else:
        outside.write_text("{}")
    (folder / name).symlink_to(outside)
    assert "leads out of the folder" in refusal(folder)


def test_a_link_that_leads_nowhere_or_round_in_circles_is_refused(tmp_path):
    folder = write_adapter(tmp_path)
    (folder / "tokenizer.json").symlink_to("gone")
    assert "leads nowhere" in refusal(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("tokenizer.json")
    assert "leads nowhere" in refusal(folder)


def hub_snapshot(tmp_path: Path) -> Path:
    """An adapter as the hub library's cache holds it: links into blobs."""
    made = write_adapter(tmp_path / "made")
    repo = tmp_path / "models--user--name"
    snapshot = repo / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for number, path in enumerate(sorted(made.iterdir())):
        path.rename(repo / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_the_links_of_the_hubs_cache_are_followed(tmp_path):
    snapshot = hub_snapshot(tmp_path)
    assert len(open_adapter(snapshot).low_rank) == 2


def test_a_link_out_of_the_hubs_blobs_is_refused(tmp_path):
    snapshot = hub_snapshot(tmp_path)
    other = tmp_path / "models--other--name" / "blobs"
    other.mkdir(parents=True)
    (other / "7").write_text("{}")
    (snapshot / "tokenizer.json").symlink_to("../../../models--other--name/blobs/7")
    assert "leads out of the folder" in refusal(snapshot)


def test_a_configuration_of_many_megabytes_is_refused_before_it_is_read(tmp_path):
    folder = write_adapter(tmp_path)
    with (folder / "adapter_config.json").open("r+b") as file:
        file.truncate(5_000_000_000)
    assert "are allowed" in refusal(folder)


@pytest.mark.parametrize("text", ["", "null", "[1]", "{", "[" * 100_000, '{"r": NaN', "\xff\xfe"])
def test_a_configuration_that_is_no_map_is_refused(tmp_path, text):
    folder = write_adapter(tmp_path)
    (folder / "adapter_config.json").write_text(text, encoding="latin-1")
    refusal(folder)


def test_a_folder_that_is_something_else_says_what_it_is(tmp_path):
    assert "there is no such adapter" in refusal(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    assert "this is a whole model" in refusal(tmp_path)
    write_adapter(tmp_path / "inner")
    assert "adapters are in inner" in refusal(tmp_path)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora", "corda", "lora_ga", "loftq"])
def test_a_start_that_changed_the_base_is_refused_with_the_way_out(tmp_path, start):
    said = refusal(write_adapter(tmp_path, init_lora_weights=start))
    if start == "loftq":
        assert "LoftQ" in said
    else:
        assert f"its start ({start}) was taken out of the base" in said
        assert "path_initial_model_for_weight_conversion" in said


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal", "mica"])
def test_a_start_that_left_the_base_alone_is_read(tmp_path, start):
    assert len(open_adapter(write_adapter(tmp_path, init_lora_weights=start)).low_rank) == 2


def without(tensors: dict, ending: str) -> dict:
    return {name: values for name, values in tensors.items() if not name.endswith(ending)}


@pytest.mark.parametrize(
    ("tensors", "config", "said"),
    [
        (without(pairs(Q), "lora_B.weight"), {}, "its B is missing"),
        (without(pairs(Q), "lora_A.weight"), {}, "its A is missing"),
        (pairs(Q), {"r": 8}, "the configuration says rank 8"),
        (pairs(Q), {"rank_pattern": {"q_proj": 2}}, "the configuration says rank 2"),
        (pairs(Q) | {"base_model.model.model.norm.weight": np.ones(4, np.float32)}, {}, "not explained"),
        (pairs(Q) | {f"base_model.model.{Q}.lora_diag": np.ones(4, np.float32)}, {}, "not explained"),
        (pairs(Q) | {f"base_model.model.{Q}.lora_magnitude_vector": np.ones(6, np.float32)}, {}, "use_dora is not set"),
        (pairs(Q) | {"base_model.model.lm_head.weight": np.ones(4, np.float32)}, {}, "not explained"),
        (pairs(Q), {"use_dora": True}, "use_dora is set"),
        (pairs(Q), {"lora_bias": True}, "lora_bias is set"),
        (pairs(Q) | {f"base_model.model.{Q}.base_layer.bias": np.ones(6, np.float32)}, {}, "not explained"),
        (pairs(Q), {"trainable_token_indices": {"embed_tokens": [1]}}, "the rows of embed_tokens are missing"),
        (pairs(Q) | {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta":
                     np.ones((2, 5), np.float32)}, {"trainable_token_indices": {"embed_tokens": [1]}}, "for 1 tokens"),
        ({name.replace("lora_A.", "lora_A.one.").replace("lora_B.", "lora_B.two."): values
          for name, values in pairs(Q).items()}, {}, "holds 2 adapters"),
        (pairs(Q) | {f"base_model.model.{Q}.lora_A.x.weight": np.ones((4, 5), np.float32)}, {}, "is the same part"),
        ({f"base_model.model.{Q}.lora_A.weight": np.ones(4, np.float32),
          f"base_model.model.{Q}.lora_B.weight": np.ones((6, 4), np.float32)}, {}, "only linear layers"),
        ({"base_model.model._orig_mod.q_proj.lora_A.weight": np.ones((4, 5), np.float32)}, {}, "not explained"),
        ({}, {}, "is empty"),
    ],
)  # fmt: skip
def test_a_tensor_that_the_configuration_does_not_explain_is_refused(tmp_path, tensors, config, said):
    assert said in refusal(write_adapter(tmp_path, tensors, **config))


def test_a_file_that_changed_under_its_manifest_is_refused_and_its_card_may_change(tmp_path):
    from lft.files import seal

    folder = write_adapter(tmp_path)
    (folder / "README.md").write_text("one")
    seal(folder)
    (folder / "README.md").write_text("two")
    assert len(open_adapter(folder).low_rank) == 2
    said = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**said, "lora_alpha": 64}))
    assert "is not what the manifest says" in refusal(folder)


@pytest.mark.parametrize("change", [{"weights": "x"}, {"rows": "many"}, {"base": None}, {"tags": [1]}])
def test_a_record_of_lft_with_values_that_it_never_writes_is_refused(tmp_path, change):
    folder = write_adapter(tmp_path)
    from tests.adapters_bound import record

    (folder / "lft.json").write_text(json.dumps(record(**change)))
    assert "lft.json" in refusal(folder)


def test_an_archive_inside_a_pickles_clothes_is_never_unpacked(tmp_path):
    folder = write_adapter(tmp_path)
    with zipfile.ZipFile(folder / WEIGHTS, "w") as archive:
        archive.writestr("data.pkl", b"cos\nsystem\n")
    assert "not a safetensors file" in refusal(folder)
