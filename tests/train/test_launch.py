"""Where a run's processes are, and what its machines must agree on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lft.errors import RecipeError
from lft.recipe.schema import Launch
from lft.train.launch import Job, Node, from_hostfile


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
