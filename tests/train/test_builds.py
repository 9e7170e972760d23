"""A build of DeepSpeed's parts that was killed does not make the next one wait; one that goes on does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lft.errors import MachineError
from lft.train import builds
from lft.train.builds import build, clear_locks
from lft.train.events import Event, Note

PART, NAME = "ShareMemCommBuilder", "deepspeed_shm_comm"
# As torch.utils.file_baton takes its lock: the file is made, and stays open.
BUILDER = "import os, sys, time; os.open(sys.argv[1], os.O_CREAT | os.O_EXCL); print('.', flush=True); time.sleep(600)"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch would put the lock of the part, in a cache of its own."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    (tmp_path / NAME).mkdir()
    return tmp_path / NAME / "lock"


def builder_of(lock: Path) -> subprocess.Popen[str]:
    """A process that has taken the lock and works under it."""
    process = subprocess.Popen([sys.executable, "-c", BUILDER, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == ".\n"
    return process


def notes(told: list[Event]) -> list[str]:
    return [event.text for event in told if isinstance(event, Note)]


def test_the_lock_of_a_builder_that_lives_stays_and_that_of_a_killed_one_goes(lock: Path) -> None:
    told: list[Event] = []
    with builder_of(lock) as builder:
        try:
            clear_locks(PART, told.append)
            assert lock.exists()
            assert "another process is building it: waiting 15 minutes at most" in notes(told)[-1]
        finally:
            builder.send_signal(signal.SIGKILL)
    clear_locks(PART, told.append)
    assert not lock.exists()
    assert notes(told)[-1] == f"removed {lock}: the build that made it was killed"


def test_on_a_shared_disk_the_builder_may_be_another_machine(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_is_on_own_disk", lambda _: False)
    lock.touch()
    clear_locks(PART, lambda _: None)
    assert lock.exists()
    long_ago = time.time() - 16 * 60
    os.utime(lock, (long_ago, long_ago))
    (lock.parent / "shm.o").touch()  # the other machine still compiles
    clear_locks(PART, lambda _: None)
    assert lock.exists()
    os.utime(lock.parent / "shm.o", (long_ago, long_ago))
    clear_locks(PART, lambda _: None)
    assert not lock.exists()


def test_this_machine_knows_its_own_disk(tmp_path: Path) -> None:
    assert builds._is_on_own_disk(tmp_path / "lock")
    assert not builds._is_on_own_disk(Path("/proc/self/lock"))


def test_a_build_that_waits_too_long_names_the_lock(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("build", 900)

    monkeypatch.setattr(builds.subprocess, "run", late)
    monkeypatch.setattr(builds, "_abandoned", lambda _: False)
    lock.touch()
    with pytest.raises(MachineError, match="took more than 15 minutes") as raised:
        build(PART, lambda _: None)
    assert f"remove {lock}" in str(raised.value)


def test_the_next_build_after_a_killed_one_does_not_wait(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed's own part, built before these tests, with the lock that a killed builder leaves."""
    built = [path for path in (Path.home() / ".cache" / "torch_extensions").glob(f"*/{NAME}") if any(path.glob("*.so"))]
    if not built:
        pytest.skip("DeepSpeed's part was not built on this machine: make test builds it")
    shutil.copytree(built[0], lock.parent, dirs_exist_ok=True)
    lock.touch()
    monkeypatch.setattr(builds, "BUILD_MINUTES", 1)
    build(PART, lambda _: None)
    assert not lock.exists()
