"""A run folder read back: whole, going on, killed, damaged, of another version."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.errors import InputError, TrainingError
from lft.train.compare import comparable, lock_differences, recipe_differences
from lft.train.folder import RunFolder
from lft.train.history import Evaluation, Run, find_run, find_runs, recipe_values
from lft.train.record import STATE, held, read_data, read_state, recorded
from tests.run_folders import (
    COUNTS,
    LOCK,
    bare_run,
    checkpoint,
    finished_run,
    log_metrics,
    recipe,
    step_record,
    write_state,
)


def test_a_finished_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    run = Run(finished_run(tmp_path))
    assert run.status.word == "finished"
    assert run.recipe.value == recipe()
    assert run.lock.value == LOCK
    assert run.data == {"train": COUNTS, "validation": COUNTS}
    assert run.steps == (4, 4)
    assert [step.loss for step in run.metrics.steps] == [2.9, 2.8, 2.7, 2.6]
    assert run.metrics.evaluations == (Evaluation(0, 3.0), Evaluation(2, 2.5), Evaluation(4, 2.0))
    assert run.metrics.fall == pytest.approx(1 / 3)
    assert [(one.when, one.prompt, one.text) for one in run.samples] == [
        ("before", "a prompt", "text before"),
        ("after", "a prompt", "text after"),
    ]
    assert [(one.path.name, one.broken) for one in run.checkpoints] == [("step-4", ())]
    assert run.result is not None
    assert run.result.broken == ()


def test_a_damaged_checkpoint_is_told_from_a_whole_one(tmp_path: Path) -> None:
    path = finished_run(tmp_path)
    (checkpoint(path, "checkpoints/step-2") / "weights.safetensors").write_bytes(b"12")
    (path / "checkpoints" / "step-3").mkdir()
    assert [(one.path.name, bool(one.broken)) for one in Run(path).checkpoints] == [
        ("step-4", False),
        ("step-3", True),
        ("step-2", True),
    ]


def test_steps_that_a_resumed_run_took_again_are_counted_once(tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    log_metrics(path, step_record(1, 3.0), step_record(2, 2.0), {"step": 2, "eval_loss": 9.0}, step_record(3, 1.0))
    log_metrics(path, step_record(2, 2.5), {"step": 2, "eval_loss": 2.4}, {"step": 2, "eval_loss": 2.4})
    metrics = Run(path).metrics
    assert [(step.step, step.loss) for step in metrics.steps] == [(1, 3.0), (2, 2.5)]
    assert metrics.evaluations == (Evaluation(2, 2.4),)


@given(cut=st.integers(1, 200))
def test_a_line_cut_by_a_kill_loses_that_line_only_and_is_counted(cut: int) -> None:
    import tempfile

    line = json.dumps(step_record(2, 2.0)).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = bare_run(Path(folder))
        log_metrics(path, step_record(1, 3.0))
        with (path / "metrics.jsonl").open("ab") as stream:
            stream.write(line[: min(cut, len(line) - 1)])
        metrics = Run(path).metrics
    assert [step.step for step in metrics.steps] == [1]
    assert metrics.unreadable == 1


@given(st.binary(max_size=200))
def test_no_bytes_in_the_files_of_a_run_stop_the_reader(content: bytes) -> None:
    import tempfile

    from lft.train.report import render

    with tempfile.TemporaryDirectory() as folder:
        path = bare_run(Path(folder))
        for name in ("metrics.jsonl", "samples.jsonl", "lock.json", "state.json", "data.json", "recipe.yaml"):
            (path / name).write_bytes(content)
        run = Run(path)
        assert "</html>" in render(run)
        assert run.data is None or run.data == {}
        assert run.lock.value is None
        assert run.state is None


@pytest.mark.parametrize(
    "record",
    [
        '{"step": 1}',
        '{"step": true, "loss": 1}',
        '{"step": "1", "loss": 1}',
        "[]",
        "1",
        "[" * 100_000,
        '{"step": 1, "eval_loss": "2"}',
    ],
)
def test_what_is_no_record_is_counted_as_unreadable(record: str, tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    (path / "metrics.jsonl").write_text(record + "\n")
    metrics = Run(path).metrics
    assert (metrics.steps, metrics.evaluations, metrics.unreadable) == ((), (), 1)


def test_a_run_is_running_while_its_process_holds_it_and_interrupted_after_a_kill(tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    write_state(path, word="running")
    work = "import sys; from pathlib import Path; from lft.train.record import held\n"
    work += "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", work, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == "held\n"
        assert Run(path).status.word == "running"
        with pytest.raises(InputError, match="another process is working on this run"), held(path):
            pass
        training.kill()
    status = Run(path).status
    assert (status.word, status.why) == ("interrupted", "its process was killed or its machine stopped")
    with held(path):
        assert Run(path).status.word == "running"


def test_each_way_to_end_is_recorded(tmp_path: Path) -> None:
    def ended(name: str, error: BaseException | None = None, received: int | None = None) -> tuple[str, str]:
        path = bare_run(tmp_path, name)
        with nullcontext() if error is None else pytest.raises(type(error)), recorded(path, 9) as session:
            session.signal, session.done = received, 3
            assert Run(path).status.why.startswith("its process was killed")  # as a kill here would leave it
            if error:
                raise error
        status = Run(path).status
        return status.word, status.why

    assert ended("well") == ("finished", "")
    assert ended("signal", received=signal.SIGTERM) == ("interrupted", "SIGTERM received")
    assert ended("at-once", KeyboardInterrupt()) == ("interrupted", "stopped at once")
    assert ended("nan", TrainingError("the loss is nan", fix="x")) == ("failed", "the loss is nan")
    assert ended("fault", ValueError("odd\nthing")) == ("failed", "ValueError: odd")


def test_an_error_of_training_is_seen_even_where_its_record_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bare_run(tmp_path)

    def full(*_: object) -> None:
        raise OSError("full")

    with pytest.raises(TrainingError), recorded(path, 1):  # noqa: PT012
        monkeypatch.setattr("lft.train.record.write_text", full)
        raise TrainingError("the loss is nan")


def test_a_resumed_run_adds_up_its_sessions_and_names_those_that_were_not_timed(tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    write_state(path, word="interrupted", seconds=100.0, ended="2026-01-02T03:06:00+00:00")
    with recorded(path, 4):
        pass
    state = read_state(path)
    assert state is not None
    assert (state.sessions, state.untimed, state.began) == (2, 0, "2026-01-02T03:04:05+00:00")
    assert 100 <= state.seconds < 110
    write_state(path, word="running", seconds=100.0)
    with recorded(path, 4):
        pass
    assert read_state(path).untimed == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("values", [{"word": "odd"}, {"planned": "4"}, {"began": 4}, {"more": 1}, {"seconds": True}])
def test_a_state_of_another_kind_is_no_state(values: dict[str, object], tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    write_state(path)
    assert read_state(path) is not None
    write_state(path, **values)
    assert read_state(path) is None


def test_a_run_without_a_state_is_judged_by_its_adapter(tmp_path: Path) -> None:
    path = finished_run(tmp_path)
    (path / STATE).unlink()
    assert Run(path).status.word == "finished"
    (path / "adapter" / "manifest.json").unlink()
    assert Run(path).status.word == "interrupted"


def test_counts_of_another_kind_are_none(tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    (path / "data.json").write_text('{"train": {"rows": 1}}')
    assert read_data(path) is None


def test_values_say_which_are_the_defaults_of_the_schema() -> None:
    values = {value.key: value for value in recipe_values(recipe(seed=7, epochs=3.0, sample_prompts=["a", "b"]))}
    assert (values["train.seed"].text, values["train.seed"].default) == ("7", False)
    assert (values["train.epochs"].text, values["train.epochs"].default) == ("3.0", True)
    assert (values["train.max_steps"].text, values["train.max_steps"].default) == ("null", True)
    assert values["train.sample_prompts"].text == '["a", "b"]'
    assert not values["base.model"].default


def test_runs_are_found_newest_first_and_never_inside_a_run(tmp_path: Path) -> None:
    for name, stamp in (("b", "20260101-000000"), ("a/deep", "20260103-000000"), ("b", "20260102-000000")):
        path = bare_run(tmp_path, name, stamp)
        (path / "checkpoints" / "step-1").mkdir(parents=True)
        (path / "checkpoints" / "step-1" / "recipe.yaml").write_text("")
    names = [name for name, _ in find_runs(tmp_path)]
    assert names == ["a/deep/20260103-000000", "b/20260102-000000", "b/20260101-000000"]


@pytest.mark.parametrize("asked", ["small", "small/20260102-030405", "20260102-030405", "{root}/small/20260102-030405"])
def test_a_run_is_found_by_folder_name_time_or_both(asked: str, tmp_path: Path) -> None:
    bare_run(tmp_path, stamp="20250101-000000")
    path = bare_run(tmp_path)
    assert find_run(asked.format(root=tmp_path), tmp_path).path == path


@pytest.mark.parametrize("asked", ["smal", "small/20260102-030406", "smal/20260102-030405", "runs/smal"])
def test_a_wrong_run_names_the_nearest(asked: str, tmp_path: Path) -> None:
    bare_run(tmp_path)
    with pytest.raises(InputError, match=r"no such run; nearest: .*small"):
        find_run(asked, tmp_path)


@pytest.mark.parametrize("asked", ["", "\0", "x" * 5000, "zzzz", "/"])
def test_a_run_like_no_other_is_answered_with_the_newest(asked: str, tmp_path: Path) -> None:
    bare_run(tmp_path)
    with pytest.raises(InputError, match="the newest is small/20260102-030405"):
        find_run(asked, tmp_path)


def test_runs_differ_in_what_differs_and_in_nothing_else(tmp_path: Path) -> None:
    one, two = (bare_run(tmp_path, stamp=f"2026010{n}-000000", chosen=recipe(seed=n)) for n in (1, 2))
    RunFolder(one).write_lock(LOCK)
    (two / "lock.json").write_text(json.dumps({**json.loads((one / "lock.json").read_text()), "validation": "f" * 64}))
    runs = [Run(one), Run(two)]
    assert [(found.name, found.values) for found in recipe_differences(runs)] == [("train.seed", ("1", "2"))]
    assert [(found.name, found.values) for found in lock_differences(runs)] == [
        ("validation data", ("e" * 12, "f" * 12))
    ]
    assert comparable(runs) is False
    assert comparable([runs[0], runs[0]]) is True
    (two / "lock.json").unlink()
    assert comparable([Run(one), Run(two)]) is None
    assert lock_differences([Run(one), Run(two)]) == ()
