"""A run in words: what its report and `lft runs` both say."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from lft.train.history import Metrics, Run


def fall_sentence(metrics: Metrics) -> str:
    """How much the validation loss fell, or why that cannot be said."""
    before, last, best = metrics.before, metrics.last, metrics.best
    if before is None and last is None:
        return "No validation loss was recorded, so how well the adapter generalises is not known."
    if before is None and last is not None:
        return f"Validation loss was {last.loss:.4f} after step {last.step:,}; before training it was not recorded."
    if last is None:
        return f"Validation loss was {before:.4f} before the first step; it was not measured after that."
    span = f"from {before:.4f} to {last.loss:.4f} nats per token after step {last.step:,}"
    if metrics.fall is None:
        return f"Validation loss went {span}."
    moved = f"fell by {metrics.fall:.1%}" if metrics.fall >= 0 else f"rose by {-metrics.fall:.1%}"
    lowest = f" It was lowest, {best.loss:.4f}, at step {best.step:,}." if best and best.loss < last.loss else ""
    return f"Validation loss {moved}, {span}.{lowest}"


def duration(seconds: float) -> str:
    """Seconds as 45 s, 4 min 31 s or 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def began(run: Run) -> str:
    """When the run began, as `2026-11-03 14:25 UTC`."""
    try:
        if run.state is not None:
            return f"{datetime.fromisoformat(run.state.began).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return f"{datetime.strptime(run.name[:15], '%Y%m%d-%H%M%S'):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return "at an unknown time"


def time_taken(run: Run) -> str:
    """Wall-clock time of all sessions, with what it leaves out."""
    state = run.state
    if state is None or (state.ended is None and not state.seconds):
        return "not recorded"
    untimed = state.untimed + (state.ended is None)
    sessions = f" in {state.sessions} sessions" if state.sessions > 1 else ""
    return duration(state.seconds) + sessions + (f", {untimed} of them not timed" if untimed else "")


def steps_taken(run: Run) -> str:
    """Optimizer steps done, of those planned."""
    done, planned = run.steps
    return f"{done:,}" if planned is None else f"{done:,} of {planned:,}"


def next_commands(run: Run) -> list[tuple[str, str]]:
    """What can be done with a run now, and the command for it."""
    path = shlex.quote(str(run.path))
    whole = [saved for saved in run.checkpoints if not saved.broken]
    found = []
    if run.result is not None and not run.result.broken:
        found.append((f"Write text with the {run.result.path.name}", f'lft generate --run {path} "your instruction"'))
        found.append(("Talk to it", f"lft chat --run {path}"))
    if run.status.word in ("interrupted", "failed") and whole:
        found.append((f"Go on from {whole[0].path.name}", f"lft finetune --resume {path}"))
    recipe = shlex.quote(str(run.path / "recipe.yaml"))
    found.append(("Run the same recipe again, in a new folder", f"lft finetune {recipe}"))
    return found


def obstacle(run: Run) -> str:
    """Why a run cannot be resumed now, in a sentence; empty where it can be or need not be."""
    if run.status.word == "running":
        return "The run was still going on when this was written."
    if run.status.word != "finished" and all(saved.broken for saved in run.checkpoints):
        return "The run cannot be resumed: it has no whole checkpoint."
    return ""
