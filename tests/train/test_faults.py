"""Whatever ends a run in its middle is one message: what happened, what is safe, how to go on."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from lft.errors import LftError, MachineError, TrainingError
from lft.train.faults import Failure, explained, failures, last_safe


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints" / "step-4").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-12").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), MachineError, "out of memory"),
        (MemoryError(), MachineError, "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), MachineError, "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), MachineError, "no space left"),
        (
            RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1"),
            MachineError,
            "lost",
        ),
        (RuntimeError("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)"), MachineError, "lost"),
        (TrainingError("the loss is nan at step 3", fix="lower it"), TrainingError, "the loss is nan"),
    ],
)
def test_a_fault_says_what_happened_what_is_safe_and_how_to_go_on(
    run: Path, error: Exception, kind: type[LftError], words: str
) -> None:
    told = explained(error, run)
    assert isinstance(told, kind)
    assert words in told.what
    assert f"The last checkpoint is step 12; go on with: lft finetune --resume {run}" in str(told)
    assert str(explained(told, run)) == str(told)  # said once


def test_what_nobody_foresaw_stays_what_it_is(run: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        explained(ZeroDivisionError(), run)


def test_without_a_checkpoint_nothing_is_promised(tmp_path: Path) -> None:
    assert "No checkpoint was saved yet" in last_safe(tmp_path)
    assert "No checkpoint was saved yet" in last_safe(None)


def test_the_process_that_failed_is_named_before_those_that_only_lost_it(run: Path) -> None:
    lost = RuntimeError("Connection closed by peer")
    first, second = explained(lost, run), explained(MemoryError(), run)
    Failure.of(0, first, lost).save(run)
    Failure.of(3, second, MemoryError()).save(run)
    (run / "failure-5.json").write_text("{", encoding="utf-8")  # killed while it wrote
    found = failures(run)
    assert [failure.rank for failure in found] == [3, 0]
    assert "out of memory (process 3)" in str(found[0].error())
    assert found[0].error().exit_code == 4


def test_a_lost_connection_is_told_in_words_and_how_long_it_was_waited_for(run: Path) -> None:
    said = "[../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 30000ms for recv operation"
    told = explained(RuntimeError(said), run)
    assert told.what == "the connection to another process was lost (Timed out waiting 30000ms for recv operation)"
    assert "launch.timeout_minutes is how long a process waits" in str(told.fix)


def test_a_lack_of_memory_is_never_taken_for_a_lost_process(run: Path) -> None:
    lack = RuntimeError("NCCL error: Call to ibv_reg_mr failed with error Cannot allocate memory")
    told = explained(lack, run)
    assert "out of memory" in told.what
    assert not Failure.of(0, told, lack).consequence
    assert Failure.of(0, explained(RuntimeError("NCCL timeout"), run), RuntimeError("NCCL timeout")).consequence
