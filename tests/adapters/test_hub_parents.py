"""Adapters that need others, and stacks, over a hub: all of it arrives, or what is missing is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lft.adapters.hub import pull
from lft.adapters.hub_parents import Elsewhere, read_parents
from lft.adapters.store.layout import open_store
from lft.adapters.store.lookup import resolve
from lft.base.identity import identity
from lft.errors import InputError
from lft.hub.access import HubRef
from tests.adapters.test_hub_push import here, server, stored, there
from tests.hub_client import Machine
from tests.hub_server import TOKEN, HubServer

__all__ = ["here", "server", "there"]
PARENTS = "lft-parents.json"


def push(machine: Machine, name: str, *more: str) -> Any:
    done = machine.lft("push", name, name.partition(":")[0], *more, token=TOKEN)
    assert done.code == 0, done.err
    return done


def on(machine: Machine, name: str, lower: Path) -> Path:
    """An adapter that was trained on another."""
    return stored(machine, name, below=[{"path": str(lower), "weights": identity(lower).digest}])


def digest(machine: Machine, name: str) -> str:
    return resolve(open_store(machine.registry), name).digest


def test_what_an_adapter_lies_on_comes_with_it(server: HubServer, here: Machine, there: Machine) -> None:
    lower = stored(here, "me/lang")
    middle = on(here, "me/the-task", lower)
    on(here, "me/one-more-above", middle)
    for name in ("me/lang", "me/the-task", "me/one-more-above"):
        push(here, name)
    said = read_parents(server.root / "me/one-more-above" / PARENTS)
    place = f"me/the-task@{server.commit('me/the-task')}"
    assert [(one.name, one.digest, one.hub) for one in said] == [
        ("me/the-task:1.0.1", digest(here, "me/the-task"), place)
    ]
    pulled = there.lft("pull", "me/one-more-above")
    assert pulled.code == 0, pulled.err
    assert f"it was made from me/the-task:1.0.1; pulling {place}" in pulled.err
    assert "it was made from me/lang:1.0.0; pulling me/lang@" in pulled.err
    for name in ("me/lang", "me/the-task", "me/one-more-above"):
        assert digest(there, name) == digest(here, name)
    assert "new version" not in pulled.err
    assert there.lft("fsck").code == 0
    server.requests.clear()
    assert there.lft("pull", "me/one-more-above", "--json").said["new"] is False
    assert len(server.requests) == 1


def test_what_is_on_no_hub_is_named_and_nothing_is_stored(server: HubServer, here: Machine, there: Machine) -> None:
    lower = stored(here, "me/lang")
    on(here, "me/the-task", lower)
    push(here, "me/the-task")
    done = there.lft("pull", "me/the-task")
    assert done.code == 3
    assert "it needs the adapter me/lang:1.0.0 (identity " in done.one_message
    assert "which is not here and on no hub that its maker knew of" in done.one_message
    assert "ask its maker to push me/lang:1.0.0" in done.one_message
    assert there.left_behind() == []
    assert not list(there.registry.glob("manifests/*/*/*.json"))
    assert there.lft("add", str(lower), "--name", "you/lang").code == 0
    assert there.lft("pull", "me/the-task").code == 0  # under another name it is the same adapter
    assert resolve(open_store(there.registry), "me/the-task").manifest.parents == (digest(there, "you/lang"),)


def test_what_cannot_be_pulled_is_named_with_the_command(server: HubServer, here: Machine, there: Machine) -> None:
    lower = stored(here, "me/lang")
    on(here, "me/the-task", lower)
    push(here, "me/lang")
    push(here, "me/the-task")
    commit = server.commit("me/lang")
    server.faults.broken.add("me/lang")
    message = there.lft("pull", "me/the-task").one_message
    assert f"could not be pulled from me/lang@{commit}" in message
    assert f"lft adapters pull me/lang@{commit} --name me/lang, then pull this again" in message
    server.faults.broken.clear()
    assert there.lft("pull", f"me/lang@{commit}", "--name", "me/lang").code == 0
    assert there.lft("pull", "me/the-task").code == 0
    assert digest(there, "me/the-task") == digest(here, "me/the-task")


def test_another_adapter_in_its_place_is_not_taken(server: HubServer, here: Machine, there: Machine) -> None:
    lower = stored(here, "me/lang")
    on(here, "me/the-task", lower)
    push(here, "me/lang")
    push(here, "me/the-task")
    stored(here, "me/other")
    push(here, "me/other")
    said = json.loads((server.root / "me/the-task" / PARENTS).read_text())
    said["parents"][0]["hub"] = f"me/other@{server.commit('me/other')}"
    (server.root / "me/the-task" / PARENTS).write_text(json.dumps(said))
    assert "holds another adapter by now" in there.lft("pull", "me/the-task").one_message


def test_an_adapter_that_needs_itself_is_refused(tmp_path: Path) -> None:
    store, ref = open_store(tmp_path / "registry"), HubRef("me/x", "a" * 40)
    for above in ((ref,), tuple(HubRef("me/x", f"{number:040}") for number in range(40))):
        with pytest.raises(InputError, match="it is among those that it was made from"):
            pull(store, ref, print, above=above)


def table(**change: str | None) -> str:
    one = {"name": "me/x:1.0.0", "digest": "a" * 64, "identity": "b" * 64, "hub": "me/x@" + "c" * 40, **change}
    return json.dumps({"format": 1, "parents": [one]})


@pytest.mark.parametrize(
    "said",
    [
        "no JSON", "[]", '{"format": 2, "parents": []}', '{"format": 1}',
        table(digest="../../x"), table(name="me/x"), table(hub="me/x"),
        table(hub="../x@" + "a" * 40), table(identity="b"),
    ],
)  # fmt: skip
def test_a_table_that_is_damaged_is_refused(tmp_path: Path, said: str) -> None:
    (tmp_path / PARENTS).write_text(said)
    with pytest.raises(InputError) as found:
        read_parents(tmp_path / PARENTS)
    assert found.value.where == PARENTS


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = Elsewhere("me/x:1.0.0", "a" * 64, "b" * 64, "me/x@" + "c" * 40)
    assert read_parents(tmp_path / PARENTS) == ()
    (tmp_path / PARENTS).write_text(table())
    assert read_parents(tmp_path / PARENTS) == (one,)


@pytest.fixture
def stacked(here: Machine) -> Machine:
    """A machine with two adapters, one of which says a path, and a stack and a chain of them."""
    stored(here, "me/de", config={"base_model_name_or_path": f"{here.home}/base"})
    stored(here, "me/longer-name")
    done = here.lft("stack", "0.7*me/de + 0.3*me/longer-name[0]", "--name", "me/both")
    assert done.code == 0, done.err
    return here


def test_a_stack_goes_with_its_adapters_and_comes_back_as_it_was(
    server: HubServer, stacked: Machine, there: Machine
) -> None:
    refused = stacked.lft("push", "me/both", "me/both", token=TOKEN).one_message
    assert all(name in refused for name in ("is made of ", "me/de:1.0.0", "me/longer-name:1.0.0", "on no hub"))
    assert "USER/NAME, then push the stack again" in refused
    assert server.requests == []
    for name in ("me/de", "me/longer-name"):
        push(stacked, name)
    done = push(stacked, "me/both")
    assert "stored as me/both:1.0.1" in done.out  # its adapter went as another version, without the path
    files = {path.name for path in (server.root / "me/both").iterdir()}
    assert files >= {"lft.json", "lft-manifest.json", PARENTS, "README.md"}
    assert not files & {"adapter_config.json", "adapter_model.safetensors"}
    card = (server.root / "me/both/README.md").read_text()
    assert "library_name" not in card
    assert f"| `0.7` | `me/de:1.0.1` | `me/de@{server.commit('me/de')}` |" in card
    assert "| `0.3[0]` | `me/longer-name:1.0.0` |" in card
    for path in server.root.rglob("*"):
        assert not path.is_file() or str(stacked.home).encode() not in path.read_bytes(), path
    pulled = there.lft("pull", "me/both", "--json")
    assert pulled.code == 0, pulled.err
    assert pulled.said["digest"] == digest(stacked, "me/both")
    assert [digest(there, name) for name in ("me/de", "me/longer-name")] == [
        digest(stacked, name) for name in ("me/de", "me/longer-name")
    ]
    assert there.lft("fsck").code == 0
    assert there.lft("verify", "me/both").code == 0
    shown = there.lft("show", "me/both").out
    assert "0.7 x me/de:1.0.1" in shown
    offline = there.lft("pull", "me/both", offline=True)
    assert offline.code == 0, offline.err


def test_a_stack_under_another_name_or_beside_other_versions_is_the_same_sum(
    server: HubServer, stacked: Machine, there: Machine
) -> None:
    for name in ("me/de", "me/longer-name", "me/both"):
        push(stacked, name)
    stored(there, "me/de", config={"base_model_name_or_path": "org/elsewhere"})  # the same adapter, other bytes
    shutil.rmtree(server.root / "me/de")
    pulled = there.lft("pull", "me/both", "--name", "you/both")
    assert pulled.code == 0, pulled.err
    stack = resolve(open_store(there.registry), "you/both").manifest
    assert set(stack.parents) == {digest(there, "me/de"), digest(there, "me/longer-name")}
    assert there.lft("verify", "you/both").code == 0
    assert there.lft("fsck").code == 0


def test_a_stack_that_was_changed_on_the_hub_is_refused(server: HubServer, stacked: Machine, there: Machine) -> None:
    for name in ("me/de", "me/longer-name", "me/both"):
        push(stacked, name)
    binding = server.root / "me/both/lft.json"
    whole = binding.read_text()
    binding.write_text(whole.replace('"weight": 0.7', '"weight": 0.9'))
    assert "its record names other parts than its lft.json" in there.lft("pull", "me/both").one_message
    binding.write_text(whole + "\n")
    assert "lft.json changed on the hub since it was pushed" in there.lft("pull", "me/both").one_message
    assert not list(there.registry.glob("manifests/me/both/*"))
