"""One run on two hosts: two network namespaces, which share nothing but a cable and the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lft.recipe.schema import Recipe
from lft.train.folder import newest_whole_checkpoint
from tests.launched import Launched, finetune, run_of
from tests.processes import one_clear_error
from tests.runs import material, metrics, recipe, run_by_several

pytestmark = pytest.mark.slow
ADDRESSES = ("10.77.0.1", "10.77.0.2")


@dataclass(frozen=True)
class Host:
    """A network namespace and its end of the cable."""

    name: str
    wire: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, it runs there."""
        return ("ip", "netns", "exec", self.name)


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    number = os.getpid()
    two = tuple(
        Host(f"lft{end}{number}", f"{end}{number}", address) for end, address in zip("ab", ADDRESSES, strict=True)
    )
    if subprocess.run(["ip", "netns", "add", two[0].name], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no network namespaces")
    try:
        _ip("netns", "add", two[1].name)
        _ip("link", "add", two[0].wire, "type", "veth", "peer", "name", two[1].wire)
        for host in two:
            _ip("link", "set", host.wire, "netns", host.name)
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.wire)
            _ip("-n", host.name, "link", "set", "lo", "up")
            _ip("-n", host.name, "link", "set", host.wire, "up")
        yield two[0], two[1]
    finally:
        for host in two:
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def stuff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("hosts"), llama={})


def chosen(place: Path, stuff: Path, engine: str, gpus: int) -> Recipe:
    train = {"global_batch_size": 8, "micro_batch_size": 2, "save_every": 3}
    return recipe(stuff, place / "runs", train=train, launch={"engine": engine, "gpus": gpus})


@pytest.mark.parametrize(("engine", "meeting"), [("ddp", "rdzv"), ("zero2", "rdzv"), ("ddp", "hostfile")])
def test_two_hosts_train_what_one_trains(
    stuff: Path, tmp_path: Path, hosts: tuple[Host, Host], engine: str, meeting: str
) -> None:
    (tmp_path / "hosts").write_text("".join(f"{address} slots=1\n" for address in ADDRESSES))
    asked = chosen(tmp_path, stuff, engine, gpus=1)
    commands = []
    for rank, host in enumerate(hosts):
        known = ("--nodes", "2", "--node-rank", str(rank), "--rdzv", f"{ADDRESSES[0]}:29555")
        arguments = known if meeting == "rdzv" else ("--hostfile", "hosts")
        commands.append(finetune(tmp_path, asked, *arguments, prefix=host.prefix, GLOO_SOCKET_IFNAME=host.wire))
    ended = [command.done() for command in commands]
    assert [done.code for done in ended] == [0, 0], ended
    one = run_by_several(chosen(tmp_path / "one", stuff, engine, gpus=2), stuff / "cache")
    run = run_of(tmp_path)
    assert (run / "adapter" / "manifest.json").is_file()
    for here, there in zip(metrics(one), metrics(run), strict=True):
        assert here == pytest.approx(there, rel=1e-6)
    assert "step 6/6" in ended[0].out
    assert "step" not in ended[1].out  # the first process speaks for all


# --- the network fails ---------------------------------------------------------------------------------------------

WAIT = 30  # seconds that a process waits for another one in these tests; machines wait for each other for 60


def begun(place: Path, stuff: Path, host: Host, rank: int, port: int, **more: object) -> Launched:
    """One machine's part of a run that would go on for far longer than anybody waits."""
    at, nodes = more.pop("at", ADDRESSES[0]), more.pop("nodes", 2)
    train = {"global_batch_size": 6, "micro_batch_size": 1, "save_every": 5, "eval_every": "end", "max_steps": 5000}
    launch = {"engine": "ddp", "gpus": 1, "timeout_minutes": WAIT / 60}
    place.mkdir(exist_ok=True)
    line = ("--nodes", str(nodes), "--node-rank", str(rank), "--rdzv", f"{at}:{port}")
    asked = recipe(stuff, place / "runs", train=train, launch=launch)
    return finetune(place, asked, *line, prefix=host.prefix, GLOO_SOCKET_IFNAME=host.wire)


@contextmanager
def cut(host: Host) -> Iterator[None]:
    """While the block runs, the cable is out at one end: nothing arrives, and nobody is told."""
    _ip("-n", host.name, "link", "set", host.wire, "down")
    try:
        yield
    finally:
        _ip("-n", host.name, "link", "set", host.wire, "up")


@pytest.mark.parametrize("end", [0, 1], ids=["at the first", "at the second"])
def test_a_network_that_is_lost_ends_both_sides_with_one_message_each(
    stuff: Path, tmp_path: Path, hosts: tuple[Host, Host], end: int
) -> None:
    sides = [begun(tmp_path, stuff, host, rank, 29600 + end) for rank, host in enumerate(hosts)]
    sides[0].wait_for_step(12)
    since = time.monotonic()
    with cut(hosts[end]):
        ended = [side.done(WAIT + 60) for side in sides]
    assert WAIT - 5 < time.monotonic() - since < WAIT + 45
    run = run_of(tmp_path)
    step = newest_whole_checkpoint(run / "checkpoints").step
    assert step >= 10
    for done in ended:
        assert done.code == 4, done
        error = one_clear_error(done.err)
        assert "the connection to another process was lost" in error
        assert "launch.timeout_minutes is how long a process waits for another" in error
        assert f"The last checkpoint is step {step}; go on with: lft finetune --resume {run}" in error


def test_machines_that_do_not_meet_end_with_one_message_each(
    stuff: Path, tmp_path: Path, hosts: tuple[Host, Host]
) -> None:
    """All at once, for each waits a minute."""
    one, two = hosts
    cases = {
        "nobody came": (begun(tmp_path / "a", stuff, one, 0, 29611), "not all 2 machines came within 1 minute"),
        "no machine 0": (begun(tmp_path / "b", stuff, two, 1, 29612), "machine 0 was not reached within 1 minute"),
        "three expected": (begun(tmp_path / "d", stuff, one, 0, 29614, nodes=3), "not all 3 machines came"),
        "two expected": (begun(tmp_path / "e", stuff, two, 1, 29614, nodes=2), "not all 2 machines came"),
    }
    for case, (side, words) in cases.items():
        done = side.done()
        assert done.code == 4, (case, done)
        assert words in one_clear_error(done.err), case
        assert "waiting 1 minute at most" in done.out


def test_machines_that_count_differently_do_not_train(stuff: Path, tmp_path: Path, hosts: tuple[Host, Host]) -> None:
    """Machine 0 knows of two, and two are there; the other one would divide the batch by three."""
    sides = [begun(tmp_path / str(rank), stuff, host, rank, 29615, nodes=2 + rank) for rank, host in enumerate(hosts)]
    for side in sides:
        done = side.done()
        assert done.code == 2, done
        assert "launch.nodes is 2 for process 0 and 3 for process 1" in one_clear_error(done.err)
    assert not list(tmp_path.glob("*/runs/*"))
