"""Adapters from a hub on the loopback: what is fetched, what is checked, and how it ends when the hub misbehaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lft.adapters import hub_fetch
from lft.errors import InputError
from lft.hub.access import HubRef, hub_ref, is_hub_ref
from tests.hub_client import Machine
from tests.hub_server import TOKEN, HubServer
from tests.peft_folders import write_adapter

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
# What `lft generate --adapter` and `method.on_top_of` ask for.
FOLDER = """
import sys
from lft.adapters.hub import adapter_folder_from
from lft.cli.common import registry_folder
from lft.adapters.store.layout import open_store
from lft.errors import LftError
try:
    print(adapter_folder_from(sys.argv[1], open_store(registry_folder()), lambda text: print(text, file=sys.stderr)))
except LftError as error:
    sys.exit(f"error: {error}")
assert "torch" not in sys.modules
"""


@pytest.fixture
def server(tmp_path: Path):
    write_adapter(tmp_path / "repos/org/de")
    with HubServer(tmp_path / "repos") as running:
        yield running


@pytest.fixture
def here(server: HubServer, tmp_path: Path) -> Machine:
    return Machine(server, tmp_path / "here")


def repo(server: HubServer) -> Path:
    return server.root / "org/de"


def config(server: HubServer, **change: object) -> None:
    file = repo(server) / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


def failed(machine: Machine, *arguments: str, **how: str) -> str:
    """The one message of a pull that must fail and leave nothing."""
    done = machine.lft("pull", *(arguments or ("org/de",)), **how)
    assert done.code == 3, done.err
    assert machine.left_behind() == []
    return done.one_message


def test_only_an_adapters_files_are_fetched_and_its_commit_is_recorded(server, here):
    for name in ("adapter_model.bin", "training_args.bin", "modeling.py", "weights.zip", "recipe.yaml"):
        (repo(server) / name).write_bytes(b"no")
    (repo(server) / "checkpoint-10").mkdir()
    (repo(server) / "checkpoint-10" / CONFIG).write_text("{}")
    (repo(server) / "README.md").write_text("# made elsewhere")
    pulled = here.lft("pull", "org/de", "--json").said
    commit = server.commit("org/de")
    assert (pulled["version"], pulled["commit"], pulled["new"]) == ("org/de:1.0.0", commit, True)
    fetched = {line.split("/")[-1].split(" ")[0] for line in server.asked("GET", "/resolve/")}
    assert fetched == {CONFIG, WEIGHTS, "README.md"}
    manifest = here.lft("show", "org/de", "--json").said["manifest"]
    assert manifest["tags"]["source"] == [f"hub:org/de@{commit}"]
    assert {file["path"] for file in manifest["files"]} == fetched
    assert not server.asked("lft/tiny")  # the base that it names is text, and nobody goes there


def test_what_was_pulled_is_not_fetched_again(server, here):
    commit = here.lft("pull", "org/de", "--json").said["commit"]
    server.requests.clear()
    again = here.lft("pull", "org/de", "--json").said
    assert (again["new"], len(server.requests)) == (False, 1)  # which commit is it now?
    server.requests.clear()
    assert here.lft("pull", f"org/de@{commit}", "--json").said["version"] == "org/de:1.0.0"
    assert server.requests == []


def test_a_branch_or_tag_becomes_an_alias_that_follows_it(server, here):
    shutil.copytree(repo(server), server.branch("org/de", "v1"))
    first = here.lft("pull", "org/de@v1", "--json").said
    assert first["aliases"] == ["v1"]
    write_adapter(repo(server), r=4, lora_alpha=16)
    second = here.lft("pull", "org/de", "--json").said
    assert second["aliases"] == ["main"]
    assert (first["version"], second["version"]) == ("org/de:1.0.0", "org/de:1.0.1")
    write_adapter(repo(server), r=4, lora_alpha=32)
    here.lft("alias", "org/de:1.0.0", "default")
    third = here.lft("pull", "org/de", "--json").said
    assert third["aliases"] == ["main"]
    assert here.lft("show", "org/de", "--json").said["manifest"]["version"] == "1.0.0"  # default is people's own
    assert here.lft("show", "org/de@v1", "--json").said["manifest"]["version"] == "1.0.0"


def test_what_is_added_after_a_pull_is_what_the_name_means(server, here, tmp_path):
    here.lft("pull", "org/de")
    own = write_adapter(tmp_path / "own", lora_alpha=3)
    assert "alone means" not in here.lft("add", str(own), "--name", "org/de").out
    assert here.lft("show", "org/de", "--json").said["manifest"]["version"] == "1.0.1"
    assert "org/de alone means org/de:1.0.1, the newest version\n" in here.lft("pull", "org/de").out
    here.lft("alias", "org/de@main", "default")
    write_adapter(repo(server), r=4, lora_alpha=16)
    hidden = "org/de alone means org/de:1.0.0, by its alias default; to change that:\n  lft adapters alias org/de:1.0."
    assert f"{hidden}2 default\n" in here.lft("pull", "org/de").out
    assert f"{hidden}3 default\n" in here.lft("add", str(repo(server)), "--name", "org/de").out
    here.lft("alias", "org/de:1.0.2", "default")
    assert "alone means" not in here.lft("pull", "org/de").out


def test_a_branch_of_the_name_default_takes_no_alias(server, here):
    shutil.copytree(repo(server), server.branch("org/de", "default"))
    done = here.lft("pull", "org/de@default")
    assert done.code == 0
    assert "default cannot be an alias of a branch; the version is org/de:1.0.0" in done.err
    assert "@default" not in here.lft("alias", "org/de").out


def test_an_alias_that_somebody_gave_to_another_adapter_stays(server, here, tmp_path):
    own = write_adapter(tmp_path / "own", lora_alpha=3)
    here.lft("add", str(own), "--name", "org/de", "--alias", "main")
    done = here.lft("pull", "org/de")
    assert done.code == 0
    assert "org/de@main is not from org/de" in done.err
    assert here.lft("show", "org/de@main", "--json").said["manifest"]["version"] == "1.0.0"


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_file_of_the_right_size_with_another_content_is_refused(server, here, name):
    server.faults.changed["org/de"] = name
    assert f"{name} came damaged, twice" in failed(here)
    assert not list(here.home.rglob(f"snapshots/*/{name}"))


def test_a_file_that_was_damaged_on_its_way_is_fetched_once_more(server, here):
    server.faults.changed["org/de"], server.faults.changed_times = WEIGHTS, 1
    assert here.lft("pull", "org/de").code == 0
    assert len(server.asked("GET", f"/{WEIGHTS}")) == 2


def test_a_damaged_file_in_the_hub_librarys_cache_is_replaced(server, here):
    here.lft("pull", "org/de")
    shutil.rmtree(here.registry)
    blob = next(here.home.rglob(f"snapshots/*/{WEIGHTS}")).resolve()
    content = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = here.lft("pull", "org/de", offline=True)
    assert damaged.code == 3
    assert f"{WEIGHTS} is damaged in the hub library's cache" in damaged.one_message
    assert here.lft("pull", "org/de").code == 0
    assert blob.read_bytes() == content


def test_a_download_that_ends_early_is_one_message(server, here):
    server.faults.cut["org/de"] = 300
    assert "out of reach" in failed(here)


def test_a_slow_hub_is_waited_for_and_a_silent_one_is_not(server, here):
    server.faults.slow["org/de"] = 0.5
    assert here.lft("pull", "org/de", HF_HUB_DOWNLOAD_TIMEOUT="2").code == 0
    server.faults.slow.clear()
    server.faults.silent.add("org/de")
    other = Machine(server, here.home.parent / "other")
    assert "out of reach" in failed(other, HF_HUB_DOWNLOAD_TIMEOUT="1")


def test_a_private_repository_names_the_login_and_comes_with_the_token(server, here):
    server.faults.private.add("org/de")
    assert "hf auth login" in failed(here)
    assert here.lft("pull", "org/de", token=TOKEN).code == 0


def test_a_gated_repository_names_its_terms(server, here):
    server.faults.gated.add("org/de")
    message = failed(here)
    assert "terms" in message
    assert "hf auth login" in message


def test_a_token_that_is_not_enough_is_told_from_one_that_is_wrong(server, here):
    server.faults.statuses["org/de"] = [403]
    assert "use a token that may read org/de" in failed(here)
    server.faults.statuses["org/de"] = [401]
    assert "the hub wants a token" in failed(here)


def test_what_the_hub_does_not_have_is_said(server, here):
    assert "no such repository" in failed(here, "org/dee")
    assert "no such revision" in failed(here, "org/de@v9")
    assert "no such revision" in failed(here, "org/de@" + "0" * 40)


def test_a_busy_hub_is_asked_again_when_it_says_and_not_for_hours(server, here):
    server.faults.statuses["org/de"], server.faults.retry_after = [429, 429], 1
    assert here.lft("pull", "org/de").code == 0
    other = Machine(server, here.home.parent / "other")
    server.faults.statuses["org/de"], server.faults.retry_after = [429], 3600
    assert "start again in 3600 s" in failed(other)


def test_a_hub_that_gets_busy_during_the_download_is_not_slept_for(server, here):
    server.faults.after_info["org/de"] = lambda: server.faults.statuses.update({"org/de": [429] * 40})
    server.faults.retry_after = 3600
    assert "start again in 3600 s" in failed(here)


def test_a_hub_out_of_order_is_one_message(server, here):
    server.faults.broken.add("org/de")
    assert "out of order (status 500)" in failed(here)


def test_one_stumble_of_the_hub_is_not_noticed(server, here):
    server.faults.statuses["org/de"] = [500]
    assert here.lft("pull", "org/de").code == 0


def test_a_branch_that_moves_between_two_requests_gives_one_commit_whole(server, here):
    asked, was = server.commit("org/de"), (repo(server) / CONFIG).read_text()
    server.faults.after_info["org/de"] = lambda: config(server, lora_alpha=99)
    pulled = here.lft("pull", "org/de", "--json").said
    assert pulled["commit"] == asked != server.commit("org/de")
    file = next(here.home.rglob(f"snapshots/{asked}/{CONFIG}"))
    assert file.read_text() == was


def test_without_the_hub_the_registry_is_read_and_it_is_said(server, here):
    commit = here.lft("pull", "org/de", "--json").said["commit"]
    server.stop()
    done = here.lft("pull", "org/de")
    assert done.code == 0
    assert commit[:12] in done.err
    for written in ("org/de", f"org/de@{commit}"):
        assert here.lft("pull", written, "--json", offline=True).said["version"] == "org/de:1.0.0"
    assert "HF_HUB_OFFLINE" in here.lft("pull", "org/de@v2", offline=True).one_message


def test_offline_an_adapter_comes_from_the_hub_librarys_cache(server, here):
    first = here.lft("pull", "org/de", "--json").said
    shutil.rmtree(here.registry)
    again = here.lft("pull", "org/de", "--json", offline=True).said
    assert again["digest"] == first["digest"]
    next(here.home.rglob(f"snapshots/*/{CONFIG}")).unlink()
    shutil.rmtree(here.registry)
    assert "HF_HUB_OFFLINE" in here.lft("pull", "org/de", offline=True).one_message


def test_offline_what_another_program_fetched_in_part_is_not_taken_for_the_whole(server, here):
    """PEFT fetches two files and no listing; the adapter's tokenizer would be lost for good."""
    (repo(server) / "tokenizer.json").write_text("{}")
    fetch = "from huggingface_hub import hf_hub_download as get\nfor name in {!r}: get('org/de', name)"
    assert here.python(fetch.format([CONFIG, WEIGHTS])).code == 0
    assert "HF_HUB_OFFLINE" in here.lft("pull", "org/de", offline=True).one_message
    here.lft("pull", "org/de")
    files = here.lft("show", "org/de", "--json").said["manifest"]["files"]
    assert [file["path"] for file in files] == [CONFIG, WEIGHTS, "tokenizer.json"]


def test_out_of_reach_with_nothing_here_is_one_message(server, here):
    server.stop()
    assert "out of reach" in failed(here)
    assert "HF_HUB_OFFLINE" in here.lft("pull", "org/de", offline=True).one_message


def test_an_adapter_that_is_refused_is_not_stored_and_the_message_names_it(server, here):
    config(server, auto_mapping={"parent_library": "evil", "base_model_class": "x"})
    message = failed(here)
    assert "org/de@" in message
    assert "auto_mapping" in message
    assert "/tmp/" not in message


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({CONFIG: "{}", "adapter_model.bin": "x"}, "pickle"),
        ({"config.json": "{}", "model.safetensors": "x"}, "whole model"),
        ({f"de/{CONFIG}": "{}", f"de/{WEIGHTS}": "x"}, "its adapters are in folders (de)"),
        ({"README.md": "x"}, f"it has no {CONFIG}"),
    ],
)
def test_what_is_no_adapter_is_refused_before_a_file_is_fetched(server, here, files, word):
    shutil.rmtree(repo(server))
    for name, content in files.items():
        (repo(server) / name).parent.mkdir(parents=True, exist_ok=True)
        (repo(server) / name).write_text(content)
    assert word in failed(here)
    assert not server.asked("/resolve/")


def test_a_mirror_that_does_not_say_what_files_are_is_refused(server, here):
    server.faults.no_metadata.add("org/de")
    assert "does not say what" in failed(here)


def test_another_name_may_be_given(server, here):
    assert here.lft("pull", "org/de", "--name", "mine/de", "--json").said["version"] == "mine/de:1.0.0"
    assert "cannot be a name" in here.lft("pull", "org/de", "--name", "no name").one_message


def test_wherever_an_adapter_is_asked_for_the_hub_is_asked_last(server, here):
    done = here.python(FOLDER, "org/de")
    assert done.code == 0, done.err
    assert "org/de is not in the registry; asking the hub" in done.err
    assert (Path(done.out.strip()) / WEIGHTS).is_file()
    server.requests.clear()
    for written in ("org/de", "org/de@main", f"org/de@{server.commit('org/de')}"):
        assert here.python(FOLDER, written).out == done.out
    assert server.requests == []


def test_what_is_nowhere_is_said_so_and_a_path_never_asks_the_hub(server, here):
    done = here.python(FOLDER, "org/nothing")
    assert "neither a folder nor a name in the registry; the hub has no such repository" in done.err
    server.requests.clear()
    for written in ("./org/de", "runs/de", "/org/de", "de"):
        assert here.python(FOLDER, written).code == 1
    assert server.requests == []


def test_progress_is_said_in_lines_and_drawn_nowhere(monkeypatch, capsys):
    said: list[str] = []
    monkeypatch.setattr(hub_fetch, "_EVERY", 0.0)
    kind = hub_fetch._counter(said.append)
    with kind(total=4_000_000, unit="B", desc="x") as bar, kind(total=3, desc="files") as files:
        bar.update(1_000_000)
        files.update(1)
        bar.update(3_000_000)
        bar.refresh()
    assert said == ["1.0 of 4.0 MB", "4.0 of 4.0 MB"]
    assert capsys.readouterr() == ("", "")


def test_a_repository_is_written_as_the_hub_writes_it():
    assert hub_ref("hub:org/de@refs/pr/1") == HubRef("org/de", "refs/pr/1")
    assert hub_ref("org/de@" + "a" * 40).commit == "a" * 40
    assert hub_ref("org/de@v1.0").commit is None
    for written in (
        "de",
        "a/b/c",
        "../de",
        "org/..",
        "org/de@",
        "org/de@../x",
        "org/de@-x",
        "http://x/y",
        "org/de--x",
        "",
    ):
        assert not is_hub_ref(written), written
        with pytest.raises(InputError, match="user/name"):
            hub_ref(written)
