"""One run on two hosts: two network namespaces, which share nothing but a cable and the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lft.recipe.schema import Recipe
from tests.launched import finetune, run_of
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
