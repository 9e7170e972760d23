"""A disk that fills up in the middle of a run: one message, whole checkpoints, and the run goes on afterwards.

The disk is real: a small tmpfs where this process may mount one, else a limit on the size of files.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lft.cli.finetune import finetune
from lft.errors import MachineError
from lft.files import broken_files
from lft.train.folder import RunFolder, checkpoint_steps
from tests.processes import Done, lft, one_clear_error, tiny_place

WEIGHTS = "adapter_model.safetensors"
BLOCK = 4096
RECIPE = """\
name: tiny
base: {model: ./llama, dtype: float32}
data: {train: ./data.jsonl, max_length: 128, packing: false}
method: {r: 4, alpha: 8}
train: {epochs: 2, learning_rate: 1.0e-2, global_batch_size: 4, save_every: 4, eval_every: end, keep_last: 9}
"""


@dataclass(frozen=True)
class Disk:
    """A small disk of its own, with a file on it that takes the room which a test does not leave."""

    path: Path

    def leave(self, room: int) -> None:
        """Fill the disk up to so many bytes."""
        gc.collect()  # an error that is still held may hold a file open, and with it room on the disk
        with (self.path / "filler").open("ab") as filler:
            filler.truncate(0)
            filler.write(bytes(shutil.disk_usage(self.path).free - room))

    def free(self) -> None:
        """Take the filler away."""
        (self.path / "filler").unlink()

    def empty(self) -> None:
        """Take everything away."""
        for path in self.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    path = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs", str(path)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a small disk")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def room(disk: Disk) -> Iterator[Disk]:
    """The small disk, empty."""
    disk.empty()
    yield disk
    disk.empty()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tiny_place(tmp_path_factory.mktemp("full"), RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LFT_CACHE", str(folder / "cache"))
        yield folder


def train(place: Path, runs: Path) -> None:
    """`lft finetune` in this process, so that the errors inside it can be looked at."""
    finetune(recipe=str(place / "tiny.yaml"), overrides=[f"output.runs={runs}"])


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """The run folder of a run that had room enough: checkpoints of steps 4, 8 and 10, and the adapter."""
    train(place, place / "roomy")
    (folder,) = runs_on(place, "roomy")
    assert [step for step, _ in checkpoint_steps(folder / "checkpoints")] == [10, 8, 4]
    return folder


def used(*paths: Path) -> int:
    """Bytes that files take on a disk of whole blocks."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return sum(-(-file.stat().st_size // BLOCK) * BLOCK for file in files)


def small_files(run: Path) -> int:
    """What lies in a run folder beside checkpoints, adapter and report."""
    return used(*(path for path in run.iterdir() if path.is_file() and path.suffix != ".html"))


def runs_on(disk: Path, runs: str = "runs") -> list[Path]:
    return sorted((disk / runs).glob("tiny/*"))


def assert_nothing_is_half_there(run: Path) -> None:
    """Every checkpoint is whole and nothing else lies beside them; no line of a log was torn."""
    import json

    found = list((run / "checkpoints").glob("*")) if (run / "checkpoints").is_dir() else []
    assert {path.name for path in found} <= {"step-4", "step-8", "step-10"}
    assert [broken_files(path) for path in found] == [[] for _ in found]
    assert not (run / "adapter").exists()
    assert [path.name for path in run.rglob(".*")] == []
    for log in run.glob("*.jsonl"):
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            assert line.endswith("\n")
            json.loads(line)


def assert_goes_on_to_the_same_adapter(run: Path, whole: Path) -> None:
    finetune(resume=run)
    assert broken_files(run / "adapter") == []
    assert (run / "adapter" / WEIGHTS).read_bytes() == (whole / "adapter" / WEIGHTS).read_bytes()


def writer_that_fails(place: Path, disk: Path) -> str:
    """Train until the disk is full; what the library raised that met its end."""
    with pytest.raises(MachineError, match="no space left on the disk") as caught:
        train(place, disk / "runs")
    assert str(disk) in str(caught.value.where)
    cause: BaseException = caught.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return "OSError" if isinstance(cause, OSError) else type(cause).__name__


# --- inside one process: whichever file meets the end of the disk ----------------------------------------------------


def test_whichever_file_of_a_checkpoint_meets_the_full_disk_the_run_ends_alike(
    room: Disk, place: Path, whole: Path
) -> None:
    one = used(whole / "checkpoints" / "step-4")
    writers = set()
    for level in range(small_files(whole) + one + BLOCK, small_files(whole) + 2 * one - BLOCK, 3 * BLOCK):
        room.leave(level)
        writer = writer_that_fails(place, room.path)
        (run,) = runs_on(room.path)
        assert_nothing_is_half_there(run)
        assert [step for step, _ in checkpoint_steps(run / "checkpoints")] == [4]
        room.free()
        if writer not in writers:
            assert_goes_on_to_the_same_adapter(run, whole)
        writers.add(writer)
        room.empty()
    # Python's own files, torch's pickles and the Rust libraries' files each say it in their own words.
    assert {"OSError", "RuntimeError", "SafetensorError"} <= writers


@pytest.mark.parametrize("blocks", range(8))
def test_a_disk_that_is_full_from_the_start_is_the_same_message(room: Disk, place: Path, blocks: int) -> None:
    room.leave(blocks * BLOCK)
    with pytest.raises(MachineError, match="no space left on the disk"):
        train(place, room.path / "runs")
    for run in runs_on(room.path):
        assert (run / "recipe.yaml").is_file()  # a folder without it is no run
        assert_nothing_is_half_there(run)


@pytest.mark.parametrize("blocks", [1, 4, 7, 10])
def test_a_full_disk_at_the_adapter_keeps_the_last_checkpoint(
    room: Disk, place: Path, whole: Path, blocks: int
) -> None:
    fits = small_files(whole) + used(whole / "checkpoints")
    assert blocks * BLOCK < used(whole / "adapter")
    room.leave(fits + blocks * BLOCK)
    with pytest.raises(MachineError, match="no space left on the disk") as caught:
        train(place, room.path / "runs")
    assert "adapter" in str(caught.value.where)
    (run,) = runs_on(room.path)
    assert_nothing_is_half_there(run)
    assert [step for step, _ in checkpoint_steps(run / "checkpoints")] == [10, 8, 4]
    room.free()
    assert_goes_on_to_the_same_adapter(run, whole)


def test_a_line_that_does_not_fit_leaves_no_part_of_itself(room: Disk) -> None:
    folder = RunFolder(room.path)
    room.leave(BLOCK)
    folder.append("metrics.jsonl", {"step": 1})
    with pytest.raises(MachineError, match="no space left on the disk"):
        folder.append("metrics.jsonl", {"text": "x" * 2 * BLOCK})
    room.free()
    folder.append("metrics.jsonl", {"step": 2})
    assert (room.path / "metrics.jsonl").read_text(encoding="utf-8") == '{"step": 1}\n{"step": 2}\n'


# --- whole processes: what a person reads ----------------------------------------------------------------------------


def assert_message(done: Done, where: Path, step: int, run: Path) -> None:
    """Exit 4 and one message: which place is full, what was saved last, what to do."""
    assert done.code == 4
    message = one_clear_error(done.err)
    assert message.startswith(f"error: {where}")
    assert "no space left on the disk" in message
    assert "\n  fix: free some space" in message
    assert f"The last checkpoint is step {step}; go on with: lft finetune --resume {run}\n" in message


def test_a_full_disk_is_exit_4_and_says_what_was_saved_and_how_to_go_on(room: Disk, place: Path, whole: Path) -> None:
    one = used(whole / "checkpoints" / "step-4")
    room.leave(small_files(whole) + one * 3 // 2)
    done = lft(place, "finetune", "tiny.yaml", f"output.runs={room.path / 'runs'}")
    (run,) = runs_on(room.path)
    assert_message(done, run / "checkpoints", 4, run)
    assert_nothing_is_half_there(run)
    room.free()
    assert_goes_on_to_the_same_adapter(run, whole)


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_adapter_says_so_and_resume_only_saves(room: Disk, place: Path, whole: Path) -> None:
    room.leave(small_files(whole) + used(whole / "checkpoints") + used(whole / "adapter") // 2)
    done = lft(place, "finetune", "tiny.yaml", f"output.runs={room.path / 'runs'}")
    (run,) = runs_on(room.path)
    assert_message(done, run / "adapter", 10, run)
    still_full = lft(place, "finetune", "--resume", str(run))
    assert_message(still_full, run, 10, run)
    assert_nothing_is_half_there(run)
    room.free()
    resumed = lft(place, "finetune", "--resume", str(run))
    assert (resumed.code, resumed.err) == (0, "")
    assert (run / "adapter" / WEIGHTS).read_bytes() == (whole / "adapter" / WEIGHTS).read_bytes()


def test_a_limit_on_the_size_of_files_is_the_same_as_a_full_disk(place: Path, whole: Path, tmp_path: Path) -> None:
    """Needs no disk of its own: the optimizer's state is the largest file of a checkpoint."""
    run = tmp_path / "runs" / "tiny" / "cut"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "adapter")
    for step in (8, 10):
        shutil.rmtree(run / "checkpoints" / f"step-{step}")
    sizes = sorted(file.stat().st_size for file in (run / "checkpoints" / "step-4").iterdir())
    done = lft(place, "finetune", "--resume", str(run), limit=(sizes[-1] + sizes[-2]) // 2)
    assert_message(done, run / "checkpoints" / "step-8", 4, run)
    assert_nothing_is_half_there(run)
    assert_goes_on_to_the_same_adapter(run, whole)
