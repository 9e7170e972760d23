"""Where a run's processes are, and what its machines must agree on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lft.errors import MachineError, RecipeError
from lft.recipe.schema import Launch, Recipe
from lft.train.events import Event, Note
from lft.train.launch import Job, Node, _root_cause, _unmet, from_hostfile, launch
from lft.train.worker import require_one_recipe


@pytest.mark.parametrize(
    ("node", "nodes", "words"),
    [
        (Node(), 2, "does not know where they meet"),
        (Node(2, "a:29500"), 2, "--node-rank 2 is not below"),
        (Node(0, "a"), 2, "is not HOST:PORT"),
        (Node(0, "a:99999"), 2, "is not HOST:PORT"),
    ],
)
def test_machines_that_cannot_meet_are_refused_at_once(node: Node, nodes: int, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        node.require(Launch(engine="ddp", nodes=nodes))


def test_a_hostfile_gives_the_machines_their_places(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(f"# two of them\nfirst.example slots=4\n{socket.gethostname()} slots=4\n", encoding="utf-8")
    launch, node = from_hostfile(path, Launch(engine="ddp"))
    assert (launch.nodes, launch.gpus) == (2, 4)
    assert node == Node(1, "first.example:29500")
    node.require(launch)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a slots=4\nb slots=2\n", "same number of slots"),
        ("", "same number of slots"),
        ("a b c", "cannot be read"),
        ("elsewhere.example slots=1\n", "is not in it"),
    ],
)
def test_a_hostfile_that_cannot_be_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "hosts"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=words):
        from_hostfile(path, Launch(engine="ddp"))


def test_a_worker_knows_that_another_one_is_gone(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.arrive(0)
    assert not job.doomed()
    (tmp_path / "pid-1").write_text(str(_gone()), encoding="utf-8")
    assert job.doomed()


def test_a_worker_that_begins_again_forgets_its_failure(tmp_path: Path) -> None:
    (tmp_path / "failure-0.json").write_text("{}", encoding="utf-8")
    job = Job(tmp_path)
    assert job.doomed()
    job.arrive(0)
    assert not job.doomed()


def _gone() -> int:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


# --- machines that do not meet -------------------------------------------------------------------------------------


def recipe(**launch: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", "base": {"model": "m"}, "data": {"train": "d"}, "launch": launch})


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of this machine that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def meeting(tmp_path: Path, node: Node, told: list[Event]) -> MachineError:
    """What the launcher says of machines that cannot meet; no worker is ever started."""
    with pytest.raises(MachineError) as raised:
        launch(
            recipe(engine="ddp", nodes=2), node, tmp_path, None, lambda _: ["-c", "raise SystemExit(1)"], told.append
        )
    return raised.value


def test_a_port_that_is_taken_ends_at_once(tmp_path: Path, taken: int) -> None:
    told: list[Event] = []
    error = meeting(tmp_path, Node(0, f"127.0.0.1:{taken}"), told)
    assert error.what == "this port of machine 0 is taken"
    assert error.where == f"127.0.0.1:{taken}"
    assert told == [Note(f"meeting another machine at 127.0.0.1:{taken}: waiting 30 minutes at most")]


def test_a_name_that_nobody_knows_ends_at_once(tmp_path: Path) -> None:
    error = meeting(tmp_path, Node(1, "nowhere.invalid:29500"), [])
    assert "no machine is known here by the name 'nowhere.invalid'" in error.what
    assert "--rdzv" in str(error.fix)


@pytest.mark.parametrize(
    ("rank", "host", "text", "words"),
    [
        (1, "10.0.0.1", "The client socket has timed out", "machine 0 was not reached within 2 minutes"),
        (1, "10.0.0.1", "wait timeout after 60000ms, keys: /lft/torchelastic/assigned_ranks/1", "not all 2 machines"),
        (0, "127.0.0.1", "Timed out after 61 seconds waiting for clients. 1/2 clients joined.", "not all 2 machines"),
    ],
)
def test_each_side_of_a_failed_meeting_says_what_it_can_know(rank: int, host: str, text: str, words: str) -> None:
    node, place = Node(rank, f"{host}:29500"), Launch(engine="ddp", nodes=2, timeout_minutes=2.0)
    error = _unmet(RuntimeError(text), node, place, None)
    assert words in error.what
    assert "same --rdzv and --nodes, and a --node-rank of its own" in str(error.fix)
    assert "checkpoint" not in str(error.fix)


def test_machine_0_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--node-rank 0 is machine 0, and 192\.0\.2\.1 is not this machine"):
        launch(recipe(engine="ddp", nodes=2), Node(0, "192.0.2.1:29500"), tmp_path, None, lambda _: [])


def test_machines_that_do_not_meet_again_are_told_what_is_safe(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-7").mkdir(parents=True)
    error = _unmet(RuntimeError("x"), Node(1, "10.0.0.1:29500"), Launch(engine="ddp", nodes=2), tmp_path)
    assert f"The last checkpoint is step 7; go on with: lft finetune --resume {tmp_path}" in str(error)


def test_machines_that_were_started_with_different_recipes_do_not_train() -> None:
    def world(other: Recipe) -> Any:
        said: list[Any] = []
        require_one_recipe(other, SimpleNamespace(everyone=lambda value: said.append(value) or [value]))  # type: ignore
        return SimpleNamespace(everyone=lambda value: [*said, value])

    one = recipe(engine="ddp", nodes=2)
    require_one_recipe(one, world(one.model_copy(update={"base": one.base.model_copy(update={"model": "/b/m"})})))
    with pytest.raises(RecipeError, match=r"launch.nodes is 3 for process 0 and 2 for process 1"):
        require_one_recipe(one, world(recipe(engine="ddp", nodes=3)))


@pytest.mark.parametrize(
    ("number", "words"), [(9, "out of memory"), (6, "NCCL, which waited longer than launch.timeout_minutes"), (11, "")]
)
def test_a_killed_worker_is_told_by_its_signal(tmp_path: Path, number: int, words: str) -> None:
    job = Job.write(tmp_path, recipe(engine="ddp"), tmp_path, None)
    error = _root_cause(job, {1: SimpleNamespace(exitcode=-number)})
    assert "process 1 was killed (SIG" in str(error)
    assert words in str(error)
    assert str(error).endswith("No checkpoint was saved yet: start the run again")
