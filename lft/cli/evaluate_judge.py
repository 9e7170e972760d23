"""The judge of `lft evaluate`: its model opened, its ledger held. Keys are read from the environment here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lft.cli.common import cache_folder
from lft.cli.evaluate_subject import note

if TYPE_CHECKING:
    from lft.evaluate.judge import Court
    from lft.evaluate.rubric import Judge, Rubric


@contextmanager
def court(said: tuple[Judge, Rubric]) -> Iterator[Court]:
    """A judge's file and rubric at work.

    Raises:
        RecipeError: the key that its file names is not set.
        InputError, MachineError: its model cannot be had, or another process asks it.
    """
    from lft.ask.ledger import open_ledger
    from lft.ask.opened import open_model
    from lft.evaluate.generation import ledger_file
    from lft.evaluate.judge import Court

    judge, rubric = said
    name = judge.backend.key_env
    model = open_model(judge.backend, "backend", os.environ.get(name) if name else None, cache_folder(), note)
    asked = json.dumps([judge.backend.url, judge.backend.model, model.name])
    identity = f"judge-{hashlib.sha256(asked.encode()).hexdigest()}"
    with open_ledger(ledger_file(cache_folder() / "answers", identity), note) as ledger:
        yield Court(judge, rubric, model, ledger, note)
