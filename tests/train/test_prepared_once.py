"""Several processes prepare their data once, and what is wrong with it is one message."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from lft.errors import InputError, MachineError, TrainingError
from lft.files import new_folder
from lft.recipe.schema import Launch, Recipe
from lft.train.events import Event, Note
from lft.train.faults import Failure
from lft.train.launch import Job
from lft.train.worker import SignalWatch, _prepared
from lft.train.world import World
from lft.train.zero import require_engine
from tests.forks import Forked, together
from tests.launched import finetune
from tests.processes import one_clear_error
from tests.runs import material, recipe


@pytest.fixture(scope="module")
def stuff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("once"), llama={})


def by_two(place: Path, stuff: Path) -> Recipe:
    return recipe(stuff, place / "runs", launch={"engine": "ddp", "gpus": 2})


def part(world: World, job: Path, own_machine: bool) -> list[str]:
    """What this process tells of its preparation; ``own_machine`` puts each process on a machine of its own."""
    told: list[Event] = []
    if own_machine:
        world = World(world.rank, world.size, 0, world.timeout, world.control)
        job = job.parent / str(world.rank)
    _prepared(Job(job), None, world, 0, SignalWatch(Job(job)), told.append)
    return [event.text for event in told if isinstance(event, Note)]


@pytest.mark.parametrize("own_machine", [False, True], ids=["one machine", "machines that share the cache"])
def test_each_row_is_tokenised_once_by_one_process(stuff: Path, tmp_path: Path, own_machine: bool) -> None:
    jobs = [tmp_path / name for name in ("0", "1", "job")]
    for job in jobs:
        Job.write(job, by_two(tmp_path, stuff), tmp_path / "cache", None)
    said = together(part, 2, jobs[2], own_machine)
    made = [line for lines in said for line in lines if line.startswith("tokenising")]
    assert sorted(made) == ["tokenising 20 examples", "tokenising 4 examples"]
    taken = [line for lines in said for line in lines if line.endswith("tokens from the cache")]
    assert sorted(line.partition(":")[0] for line in taken) == ["train", "validation"]
    if not own_machine:
        assert set(made) < set(said[0])  # the first process, and the other one waited for it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "a", "answer": "b"}\n', ("question, answer", "fix: rename the columns")),
        ('{"input": "a", "output": "b"}\n{"input": "a', ("wrong.jsonl:2", "broken JSON", "fix: ")),
    ],
)
def test_a_mistake_in_the_data_is_one_message_and_leaves_no_process(
    stuff: Path, tmp_path: Path, content: str, said: tuple[str, ...]
) -> None:
    (tmp_path / "wrong.jsonl").write_text(content, encoding="utf-8")
    done = finetune(tmp_path, by_two(tmp_path, stuff), "data.train=wrong.jsonl", "--max-restarts", "2").done()
    message = one_clear_error(done.err)
    assert done.code == 3, done
    assert all(part in message for part in said), message
    assert "process" not in message  # it is nobody's fault among them
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("error", "named"), [(InputError("x"), False), (MachineError("x"), True)])
def test_a_process_is_named_only_where_it_could_have_been_another(error: InputError, named: bool) -> None:
    told = Failure.of(3, error, error).error()
    assert type(told) is type(error)
    assert told.what == ("x (process 3)" if named else "x")


def again(job: Path, said: str) -> str:
    """A process of the second attempt, after one of the first has left ``said``."""
    from lft.train.worker import work

    Failure.of(1, error := TrainingError(said), error).save(job)
    with pytest.raises(TrainingError):
        work(Job(job), 0, 2, 0, 1, lambda _: None)
    return " ".join(path.name for path in job.iterdir())


def test_what_cannot_help_is_not_tried_again_and_is_told_as_it_was(tmp_path: Path) -> None:
    assert Forked(again, tmp_path, "the loss is nan").result() == "failure-1.json"


def _interrupted(watch: SignalWatch, folder: Path) -> None:
    with watch.writing(), new_folder(folder) as draft:
        (draft / "rows").write_text("half", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)


def disturbed(place: Path) -> list[str]:
    """A signal comes while a folder is written: what is there afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    watch = SignalWatch(Job(place))
    with pytest.raises(KeyboardInterrupt):
        _interrupted(watch, place / "tokens")
    return [path.name for path in place.iterdir()]


def test_a_signal_while_the_data_is_prepared_leaves_nothing_half_written(tmp_path: Path) -> None:
    assert Forked(disturbed, tmp_path).result() == []


def test_too_few_gpus_are_refused_before_any_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(MachineError, match=r"launch\.gpus is 2, this machine has 1"):
        require_engine(Launch(engine="ddp", gpus=2))
