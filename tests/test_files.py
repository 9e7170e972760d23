"""A folder that replaces another is the old one or the new one, whenever its process dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from lft import files
from lft.errors import MachineError
from lft.files import (
    broken_files,
    disk_errors,
    new_file,
    new_folder,
    require_folder_place,
    sweep,
    sweep_drafts,
    work_folder,
    write_text,
)

STEPS = ("replace", "fsync", "chmod")


def write(final: Path, text: str) -> None:
    with new_folder(final) as draft:
        (draft / "text").write_text(text)


def killed_at(step: int, act: Callable[[], None]) -> bool:
    """Run ``act`` in a child that dies, without any clean-up, just before its so-manieth call to the system."""
    child = os.fork()
    if child == 0:
        left = [step]

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **named: object) -> object:
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return real(*arguments, **named)

            return call

        for name in STEPS:
            setattr(files.os, name, dying(getattr(files.os, name)))
        files.shutil.rmtree = dying(files.shutil.rmtree)  # type: ignore[assignment]
        files.tempfile.mkdtemp = dying(files.tempfile.mkdtemp)  # type: ignore[assignment]
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def steps_until_it_ends(act: Callable[[], None], before: Callable[[], None], after: Callable[[int], None]) -> int:
    """Kill ``act`` at every step in turn, until it ends by itself; how many steps it has."""
    for step in range(100):
        before()
        if not killed_at(step, act):
            return step
        after(step)
    raise AssertionError("it never ended")


def test_a_folder_replaced_by_a_killed_process_is_the_old_or_the_new_one_after_sweeping(tmp_path: Path) -> None:
    final, seen = tmp_path / "adapter", []

    def check(step: int) -> None:
        gone = not final.exists()
        sweep(tmp_path)
        assert broken_files(final) == []
        assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
        seen.append(((final / "text").read_text(), gone))

    count = steps_until_it_ends(lambda: write(final, "new"), lambda: write(final, "old"), check)
    assert count > 8
    assert [text for text, _ in seen] == sorted((text for text, _ in seen), reverse=True)  # old, then new for good
    assert ("old", True) in seen  # it did die between the two renames
    assert ("new", False) in seen


def test_a_first_folder_of_a_killed_process_is_whole_or_not_there(tmp_path: Path) -> None:
    final = tmp_path / "adapter"

    def check(step: int) -> None:
        sweep(tmp_path)
        assert not final.exists() or broken_files(final) == []
        assert list(tmp_path.iterdir()) in ([], [final])

    def clear() -> None:
        if final.exists():
            files.shutil.rmtree(final)

    assert steps_until_it_ends(lambda: write(final, "new"), clear, check) > 5


def test_a_text_of_a_killed_process_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    final = tmp_path / "state.json"

    def check(step: int) -> None:
        sweep(tmp_path)
        assert final.read_text() in ("old", "new")
        assert list(tmp_path.iterdir()) == [final]

    assert steps_until_it_ends(lambda: write_text(final, "new"), lambda: write_text(final, "old"), check) >= 3


def test_sweeping_leaves_whole_folders_and_other_files_alone(tmp_path: Path) -> None:
    write(tmp_path / "adapter", "kept")
    (tmp_path / ".hidden").write_text("kept")
    (tmp_path / "notes.old.txt").write_text("kept")
    before = sorted(path.name for path in tmp_path.iterdir())
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert broken_files(tmp_path / "adapter") == []


def test_a_file_in_the_place_of_a_folder_and_the_reverse_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    acts = (
        lambda: write_text(tmp_path / "file" / "x", ""),
        lambda: write_text(tmp_path / "file" / "x" / "y", ""),
        lambda: write_text(tmp_path / "folder", ""),
        lambda: write(tmp_path / "file" / "x", ""),
    )
    for act in acts:
        with pytest.raises(MachineError, match="in each other's place") as caught:
            act()
        assert "choose another place" in str(caught.value)
    with pytest.raises(MachineError, match="place"), disk_errors(tmp_path):
        (tmp_path / "folder").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_below_a_file_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    require_folder_place(tmp_path / "new" / "newer")
    for place in ("file", "file/x", "file/x/y"):
        with pytest.raises(MachineError, match="a file is where a folder should be") as caught:
            require_folder_place(tmp_path / place)
        assert caught.value.where == str(tmp_path / "file")


def test_a_folder_that_several_write_at_once_is_whole_and_nobody_fails(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    final = tmp_path / "tokens"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write(final, str(number)), range(64)))
    assert broken_files(final) == []
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [final]


def left_by_a_killed(act: Callable[[], None]) -> None:
    """Run ``act`` in a child that SIGKILL ends."""
    child = os.fork()
    if child == 0:
        act()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_folder(final: Path) -> None:
    with new_folder(final) as draft:
        (draft / "text").write_text("half")
        killed()


def half_file(final: Path) -> None:
    with new_file(final) as draft:
        draft.write_text("half")
        killed()


def half_work(final: Path) -> None:
    with work_folder(final) as folder:
        (folder / "text").write_text("half")
        killed()


@pytest.mark.parametrize("half", [half_folder, half_file, half_work])
def test_what_a_killed_process_left_of_a_place_is_swept_by_the_next_one(tmp_path: Path, half, monkeypatch) -> None:
    monkeypatch.setattr(files, "_NEW", 0.0)
    left_by_a_killed(lambda: half(tmp_path / "out"))
    left_by_a_killed(lambda: half(tmp_path / "other"))
    assert len(list(tmp_path.iterdir())) == 2
    write(tmp_path / "out", "new")
    assert sorted(path.name.split(".draft.")[0] for path in tmp_path.iterdir()) == [".other", "out"]


@contextmanager
def _abandoned(writing: AbstractContextManager[Path]) -> Iterator[None]:
    """A draft that is held for a while and then given up."""
    with suppress(KeyboardInterrupt), writing:
        yield
        raise KeyboardInterrupt


def test_drafts_of_the_living_and_files_of_others_are_not_swept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "_NEW", 0.0)
    (tmp_path / ".out.draft.md").write_text("a post")
    with (
        work_folder(tmp_path / "out"),
        _abandoned(new_folder(tmp_path / "out")),
        _abandoned(new_file(tmp_path / "out")),
    ):
        before = sorted(tmp_path.iterdir())
        assert len(before) == 4
        sweep_drafts(tmp_path / "out")
        assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / ".out.draft.md").exists()


def test_a_folder_that_is_being_sealed_is_not_swept_by_another_writer_to_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = files.seal
    monkeypatch.setattr(files, "_NEW", -1.0)

    def while_another_comes(draft: Path, known: object) -> None:
        files.sweep_drafts(tmp_path / "out")
        sealed(draft, known)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "seal", while_another_comes)
    with files.new_folder(tmp_path / "out") as draft:
        (draft / "a").write_text("a")
    assert files.broken_files(tmp_path / "out") == []
