"""Adapters pushed to a hub on the loopback: what leaves this machine, what another one gets, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lft.adapters.store.add import Origin, RunRecord, add_adapter
from lft.adapters.store.layout import open_store
from lft.adapters.store.manifest import Score, Training
from lft.files import sha256
from tests.adapters_bound import record
from tests.hub_client import Machine
from tests.hub_server import TOKEN, HubServer
from tests.peft_folders import pairs, write_adapter

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
RECORD = "lft-manifest.json"


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "repos").mkdir()
    with HubServer(tmp_path / "repos") as running:
        yield running


@pytest.fixture
def here(server: HubServer, tmp_path: Path) -> Machine:
    return Machine(server, tmp_path / "here")


@pytest.fixture
def there(server: HubServer, tmp_path: Path) -> Machine:
    return Machine(server, tmp_path / "there")


def stored(machine: Machine, name: str = "me/de", config: dict[str, Any] | None = None, **binding: Any) -> Path:
    """An adapter of lft in a machine's registry; the folder that it came from."""
    machine.home.mkdir(parents=True, exist_ok=True)
    modules = ("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj")
    tensors = pairs(*modules, seed=len(name))
    said_config = {"base_model_name_or_path": "org/base", **(config or {})}
    folder = write_adapter(machine.home / name.replace("/", "-"), tensors, **said_config)
    said = record(base="org/base", revision="a" * 40, name=name, tags={"lang": ["de"], "license": ["mit"]})
    (folder / "lft.json").write_text(json.dumps(said | binding))
    done = machine.lft("add", str(folder))
    assert done.code == 0, done.err
    return folder


def push(machine: Machine, *more: str, name: str = "me/de", token: str | None = TOKEN) -> Any:
    return machine.lft("push", name, "me/de", *more, token=token)


def refused(machine: Machine, *more: str, token: str | None = TOKEN) -> str:
    """The one message of a push that must fail."""
    done = push(machine, *more, token=token)
    assert done.code == 3, done.out + done.err
    assert not list(machine.registry.glob("tmp/*"))
    return done.one_message


def test_what_is_pushed_is_the_same_version_on_another_machine(server, here, there):
    stored(here)
    pushed = push(here, "--json").said
    pulled = there.lft("pull", "me/de", "--json").said
    assert (pulled["version"], pulled["digest"]) == (pushed["version"], pushed["digest"])
    assert pushed["version"] == "me/de:1.0.0"
    assert pushed["commit"] == pulled["commit"] == server.commit("me/de")
    here.lft("lock", "me/de", "--file", str(there.home / "lft.lock"))
    checked = there.lft("lock", "--check", "--file", str(there.home / "lft.lock"))
    assert checked.code == 0, checked.out + checked.err
    again = here.lft("pull", "me/de", "--json").said
    assert (again["new"], again["digest"]) == (False, pushed["digest"])


def test_a_hub_without_xet_is_pushed_to_without_a_word_in_the_environment(server, here):
    stored(here)
    done = here.lft("push", "me/de", "me/de", token=TOKEN, HF_HUB_DISABLE_XET=None)
    assert done.code == 0, done.err
    assert not server.asked("xet")
    assert len(server.asked("PUT", "-> 200")) == 1


def test_a_second_push_sends_nothing_and_makes_no_commit(server, here):
    stored(here)
    first = push(here, "--json").said
    server.requests.clear()
    second = push(here, "--json").said
    assert second["commit"] == first["commit"]
    assert not server.asked("PUT")
    assert not server.asked("/commit/")


def test_paths_of_this_machine_are_replaced_by_what_others_know(server, here, there):
    home = str(here.home)
    folder = stored(
        here, config={"base_model_name_or_path": f"{home}/cache/snapshot"}, recipe=f"{home}/recipes/de.yaml"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"name_or_path": home, "model_max_length": 9}))
    here.lft("add", str(folder))
    done = push(here)
    assert done.code == 0, done.err
    assert "base_model_name_or_path is org/base" in done.out
    assert "stored as me/de:1.0.2" in done.out
    for path in server.root.rglob("*"):
        assert not path.is_file() or home.encode() not in path.read_bytes(), path
    sent = json.loads((server.root / "me/de" / CONFIG).read_text())
    assert (sent["base_model_name_or_path"], sent["revision"]) == ("org/base", "a" * 40)
    assert json.loads((server.root / "me/de/tokenizer_config.json").read_text()) == {"model_max_length": 9}
    assert json.loads((server.root / "me/de/lft.json").read_text())["recipe"] == "de.yaml"
    pulled = there.lft("pull", "me/de", "--json").said
    assert pulled["digest"] == here.lft("show", "me/de:1.0.2", "--json").said["digest"]


def test_the_run_goes_with_it_and_comes_back(server, here, there):
    stored(here)
    training = Training(None, None, "d" * 64, None, 7, "cpu", "float32", "none", 1, {"torch": "2"})
    recipe = f"name: de\ndata:\n  train: {here.home}/texts.jsonl\n".encode()
    score = Score("validation", "loss (nats/token)", "2.5", 10, ())
    origin = Origin("me/run", run=RunRecord(recipe, b"{}", training), evaluation=(score,))
    add_adapter(open_store(here.registry), here.home / "me-de", origin)
    done = push(here, name="me/run")
    assert done.code == 0, done.err
    assert "./texts.jsonl" in done.out
    assert (server.root / "me/de/recipe.yaml").read_text() == "name: de\ndata:\n  train: ./texts.jsonl\n"
    card = (server.root / "me/de/README.md").read_text()
    assert "Trained on `./texts.jsonl`." in card
    assert "| validation | loss (nats/token) | 2.5 | 10 |" in card
    pulled = there.lft("pull", "me/de", "--name", "me/run", "--json").said
    assert (pulled["version"], pulled["digest"]) == (
        "me/run:1.0.1",
        here.lft("show", "me/run", "--json").said["digest"],
    )
    assert there.lft("show", "me/run", "--recipe").out == (server.root / "me/de/recipe.yaml").read_text()


def test_an_adapter_on_top_of_another_is_the_same_where_the_lower_one_is(server, here, there):
    lower = stored(here, "me/lang", config={"base_model_name_or_path": f"{here.home}/base"})
    stored(here, below=[{"path": str(lower), "weights": sha256(lower / WEIGHTS)}])
    assert "it was made from me/lang:1.0.0, which is on no hub yet" in push(here, "--dry-run").out
    here.lft("push", "me/lang", "me/lang", token=TOKEN)
    done = push(here)
    assert done.code == 0, done.err
    assert "on no hub" not in done.out
    assert json.loads((server.root / "me/de/lft.json").read_text())["below"][0]["path"] == "me/lang:1.0.1"
    digest = here.lft("show", "me/de", "--json").said["digest"]
    there.lft("pull", "me/lang")
    assert there.lft("pull", "me/de", "--json").said["digest"] == digest


def test_a_base_in_a_folder_needs_a_name_that_others_know(server, here):
    base = str(here.home / "base")
    stored(here, config={"base_model_name_or_path": base}, base=base, revision=None)
    assert "--base user/model" in refused(here)
    assert "no name of a base" in refused(here, "--base", "/somewhere/else")
    assert server.requests == []
    assert push(here, "--base", "org/base@v1").code == 0
    sent = json.loads((server.root / "me/de/lft.json").read_text())
    assert (sent["base"], sent["revision"]) == ("org/base", "v1")
    assert push(here, "--base", "none", name="me/de:1.0.0").code == 0
    assert json.loads((server.root / "me/de/lft.json").read_text())["base"] == "./base"
    assert json.loads((server.root / "me/de" / CONFIG).read_text())["base_model_name_or_path"] is None


@pytest.mark.parametrize(
    ("secret", "word"),
    [
        ("hf_" + "aB3" * 12, "a token of Hugging Face"),
        ("ghp_" + "aB3" * 12, "a token of GitHub"),
        ("AKIA" + "A1B2" * 4, "a key of AWS"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        (TOKEN, "your own token"),
        ("HOME/notes", "a path of this machine"),
    ],
)
def test_nothing_is_uploaded_while_a_file_holds_a_key_or_a_path(server, here, secret, word):
    folder = stored(here)
    text = secret.replace("HOME", str(here.home))
    (folder / "tokenizer_config.json").write_text(json.dumps({"a": 1, "chat_template": f"x {text} y"}, indent=1))
    here.lft("add", str(folder))
    message = refused(here)
    assert word in message
    assert "tokenizer_config.json" in message
    assert "line 3" in message
    assert secret not in message
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "form"), [("tokenizer_config.json", "it lies in {}"), ("adapter_config.json", "{}/gone.txt")]
)
def test_a_path_outside_the_home_that_leads_somewhere_is_not_uploaded(server, here, tmp_path, name, form):
    place = tmp_path / "disk" / "models"
    place.mkdir(parents=True)
    folder = stored(here)
    key = "target_modules" if name == "adapter_config.json" else "chat_template"
    path = folder / name
    said = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(
        json.dumps(
            {**said, key: form.format(place)} if key == "chat_template" else {**said, "lora_dtype": form.format(place)}
        )
    )
    here.lft("add", str(folder))
    message = refused(here)
    assert name in message
    assert f"holds a path of this machine ({place}" in message
    assert server.requests == []


def test_a_rehearsal_shows_everything_and_changes_nothing(server, here):
    stored(here, config={"base_model_name_or_path": f"{here.home}/base"})
    before = sorted(here.registry.rglob("*"))
    done = push(here, "--dry-run", token=None)
    assert done.code == 0, done.err
    assert "base_model_name_or_path is org/base" in done.out
    for word in (WEIGHTS, CONFIG, "README.md", "nothing was uploaded", "base_model: org/base", "license: mit"):
        assert word in done.out
    assert server.requests == []
    assert sorted(here.registry.rglob("*")) == before


def test_the_card_on_the_hub_is_read_by_its_search(server, here):
    stored(here)
    push(here)
    text = (server.root / "me/de/README.md").read_text()
    said = YAML(typ="safe", pure=True).load(text.split("---\n")[1])
    assert said["base_model"] == "org/base"
    assert said["base_model_relation"] == "adapter"
    assert said["library_name"] == "peft"
    assert (said["license"], said["language"]) == ("mit", ["de"])
    assert 'PeftModel.from_pretrained(model, "me/de")' in text


def test_who_may_not_write_is_told_what_to_do(server, here):
    stored(here)
    assert "hf auth login" in refused(here, token=None)
    server.faults.read_only.add("me/de")
    assert "use a token that may write to me/de" in refused(here)
    assert not (server.root / "me/de").exists()


def test_a_push_that_broke_off_goes_on_where_it_was(server, here):
    stored(here)
    server.faults.puts = [500]  # one stumble is not noticed
    server.faults.commits, server.faults.retry_after = [503], 7
    assert "out of order (status 503)" in refused(here)
    assert not (server.root / "me/de" / WEIGHTS).exists()
    assert len(server.asked("PUT", "-> 200")) == 1
    server.faults.commits = [429]
    assert "start again in 7 s" in refused(here)
    server.faults.commits = [403]
    assert "may write to me/de" in refused(here)
    server.requests.clear()
    assert push(here).code == 0
    assert not server.asked("PUT")  # the tensors are there since the first time


def test_a_branch_that_somebody_moved_meanwhile_is_not_written_over(server, here):
    stored(here)
    push(here)
    note = server.root / "me/de/NOTE.md"
    server.faults.after_info["me/de"] = lambda: note.write_text("theirs")
    stored(here, config={"lora_alpha": 16})
    assert "changed the repository at the same moment" in refused(here)
    assert json.loads((server.root / "me/de" / CONFIG).read_text())["lora_alpha"] == 8
    assert push(here).code == 0
    assert note.read_text() == "theirs"


def test_what_an_earlier_adapter_left_there_goes_and_other_files_stay(server, here):
    folder = stored(here)
    (folder / "chat_template.jinja").write_text("{{ x }}")
    here.lft("add", str(folder))
    push(here)
    (server.root / "me/de/LICENSE").write_text("theirs")
    (server.root / "me/de/notes.md").write_text("theirs")
    pushed = push(here, "--json", name="me/de:1.0.0").said
    assert pushed["removed"] == ["chat_template.jinja"]
    kept = {path.name for path in (server.root / "me/de").iterdir()}
    assert {"LICENSE", "notes.md", CONFIG, WEIGHTS, "lft.json", "README.md", RECORD} <= kept
    assert "chat_template.jinja" not in kept


def test_a_branch_is_made_where_it_is_not_there(server, here, there):
    stored(here)
    assert push(here, "--revision", "v2", "--message", "second").code == 0
    assert not (server.root / "me/de" / WEIGHTS).exists()
    assert there.lft("pull", "me/de@v2", "--json").said["aliases"] == ["v2"]
    assert "give a branch" in refused(here, "--revision", "a" * 40)


def test_private_is_kept_or_refused(server, here, there):
    stored(here)
    assert push(here, "--private").code == 0
    assert server.private == {"me/de"}
    assert there.lft("pull", "me/de").code == 3
    assert there.lft("pull", "me/de", token=TOKEN).code == 0
    server.private.clear()
    assert "public already" in refused(here, "--private")


def test_a_models_repository_is_not_written_into(server, here):
    stored(here)
    model = server.root / "me/de"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"x")
    assert "holds a model" in refused(here)


def test_a_hub_that_keeps_other_bytes_is_found_out(server, here):
    stored(here)
    server.faults.loses.add("me/de")
    assert f"other bytes than were sent: {WEIGHTS}" in refused(here)
    shown = here.lft("show", "me/de", "--json").said
    assert "source" not in shown["tags"]


def test_a_blob_that_is_damaged_here_is_not_pushed(server, here):
    stored(here)
    weights = here.lft("show", "me/de", "--json").said["manifest"]["files"][1]["sha256"]
    blob = here.registry / "blobs/sha256" / weights[:2] / weights
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert "damaged in the registry" in refused(here)
    assert server.requests == []


def test_a_hub_out_of_reach_or_offline_is_one_message(server, here):
    stored(here)
    assert "unset HF_HUB_OFFLINE to upload" in here.lft("push", "me/de", "me/de", token=TOKEN, offline=True).one_message
    server.stop()
    assert "out of reach" in refused(here)


def test_a_record_is_only_used_for_its_own_name(server, here, there):
    stored(here)
    here.lft("push", "me/de", "other/de", token=TOKEN)
    pulled = there.lft("pull", "other/de", "--json")
    assert "--name me/de takes it as that" in pulled.err
    assert pulled.said["version"] == "other/de:1.0.0"
    named = there.lft("pull", "other/de", "--name", "me/de", "--json").said
    assert named["digest"] == here.lft("show", "me/de", "--json").said["digest"]


def test_a_record_that_says_other_things_than_the_files_is_not_used(server, here, there):
    stored(here)
    push(here)
    file = server.root / "me/de" / RECORD
    said = file.read_text()
    file.write_text(said.replace('"r":4', '"r":5'))
    assert "says something else than its files" in there.lft("pull", "me/de").err
    shutil.rmtree(there.home)
    file.write_text(said)
    binding = server.root / "me/de/lft.json"
    binding.write_text(binding.read_text().replace('"mit"', '"gpl-3.0"'))
    assert "lft.json changed on the hub" in there.lft("pull", "me/de").err
    shutil.rmtree(there.home)
    file.write_text("{")
    pulled = there.lft("pull", "me/de", "--json")
    assert "not as the one that was pushed" in pulled.err
    assert pulled.said["new"]


def test_a_version_that_this_name_has_already_is_not_replaced(server, here, there):
    stored(here)
    push(here)
    stored(there, config={"lora_alpha": 16})
    pulled = there.lft("pull", "me/de", "--json")
    assert "exists with another content" in pulled.err
    assert pulled.said["version"] == "me/de:1.0.1"
