"""What a run says of its speed and of the time that is left: training counts, what comes once or between does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lft.train import progress
from lft.train.events import Step
from lft.train.folder import RunFolder
from lft.train.ledger import Ledger
from lft.train.progress import Progress
from lft.train.world import World


class Clock:
    """A run of ten steps whose time passes only when it is told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.steps = 1000.0, list[Step]()
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)
        report: Any = self.steps.append
        self.ledger = Ledger(RunFolder(folder), World(), report, lambda _: None, keep_last=1, keep_best=False)
        self.progress = Progress(SimpleNamespace(ledger=self.ledger))
        self.state = SimpleNamespace(global_step=0, max_steps=10, epoch=0.0)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def tell(self, event: str, **more: Any) -> None:
        """As Trainer calls its callbacks."""
        getattr(self.progress, event)(None, self.state, None, **more)

    def step(self, seconds: float, tokens: int) -> Step:
        """One optimizer step of so many seconds and supervised tokens, logged."""
        self.tell("on_step_begin")
        self.pass_by(seconds)
        self.ledger.supervised_seen += tokens
        self.state.global_step += 1
        self.tell("on_log", logs={"loss": 1.0, "learning_rate": 1e-3})
        return self.steps[-1]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(tmp_path, monkeypatch)


def test_what_comes_before_the_first_step_is_not_in_the_time_that_is_left(run: Clock) -> None:
    run.tell("on_train_begin")
    run.pass_by(600)  # the first evaluation
    run.tell("on_evaluate")
    run.pass_by(60)  # answers to sample prompts
    first = run.step(2, tokens=100)
    assert first.remaining == pytest.approx(9 * 2)
    assert first.tokens_per_second == pytest.approx(50)


def test_a_run_that_goes_on_reckons_with_its_own_steps(run: Clock) -> None:
    run.state.global_step = 5
    run.tell("on_train_begin")
    run.pass_by(600)
    assert run.step(3, tokens=1).remaining == pytest.approx(4 * 3)


@pytest.mark.parametrize("pause", ["on_evaluate", "on_save"])
def test_what_comes_between_steps_does_not_slow_the_training_but_will_come_again(run: Clock, pause: str) -> None:
    run.step(2, tokens=100)
    run.pass_by(40)
    run.tell(pause)
    run.pass_by(8)  # what others do after it, such as answering validation examples
    second = run.step(2, tokens=100)
    assert second.tokens_per_second == pytest.approx(50)
    assert second.remaining == pytest.approx((2 + 40 + 8 + 2) / 2 * 8)


def test_steps_that_are_logged_together_are_counted_together(run: Clock) -> None:
    run.tell("on_step_begin")
    run.pass_by(2)
    run.ledger.supervised_seen += 30
    run.state.global_step += 1  # not logged
    assert run.step(4, tokens=90).tokens_per_second == pytest.approx(20)
