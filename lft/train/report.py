"""report.html of a run folder: one static page that asks for nothing outside itself.

What a run did not record, or what is damaged, stands in the page as missing; nothing is left out in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import lft
from lft.files import write_text
from lft.page.chart import Series, chart
from lft.page.document import folded, missing, page
from lft.page.html import Child, Html, definitions, element, joined, table
from lft.train.folder import Lock, RunFolder
from lft.train.history import REPORT, Metrics, Run, SampleRecord, Saved, Value, recipe_values
from lft.train.record import SplitCounts
from lft.train.summary import began, fall_sentence, next_commands, obstacle, steps_taken, time_taken

_MARKS: Final = {"finished": "✓", "failed": "✕", "interrupted": "■", "running": "▶"}
_FILES: Final = ("recipe.yaml", "lock.json", "state.json", "data.json", "metrics.jsonl", "samples.jsonl", "log.txt")
_COUNTS: Final[tuple[tuple[str, Callable[[SplitCounts], str]], ...]] = (
    ("examples", lambda c: f"{c.examples:,}"),
    ("sequences kept", lambda c: f"{c.kept:,}"),
    ("tokens", lambda c: f"{c.tokens:,}"),
    ("supervised tokens", lambda c: f"{c.supervised:,}"),
    ("supervised", lambda c: f"{c.supervised / c.tokens:.1%}" if c.tokens else "no tokens"),
    ("longest example, tokens", lambda c: f"{c.longest:,}"),
    ("rows", lambda c: "streamed" if c.rows is None else f"{c.rows:,}"),
    ("packed rows full", lambda c: "not packed" if c.full is None else f"{c.full:.0%}"),
    ("dropped as too long", lambda c: f"{c.dropped:,}"),
    ("cut at max_length", lambda c: f"{c.truncated:,}"),
    ("split at max_length", lambda c: f"{c.split:,}"),
    ("tokens cut off", lambda c: f"{c.tokens_cut:,}"),
    ("left out, output empty", lambda c: f"{c.empty:,}"),
    ("answers tokenised apart from their prompt", lambda c: f"{c.retokenised:,}"),
)


def write_report(folder: Path) -> Path:
    """Write report.html anew from what lies in a run folder, and return its path.

    Raises:
        InputError: this is no run folder.
        MachineError: the page cannot be written.
    """
    path = folder / REPORT
    write_text(path, render(Run(RunFolder.open(folder).path)))
    return path


def render(run: Run) -> str:
    """The page of a run."""
    sections = (
        ("Curves", _curves(run.metrics)),
        ("Samples", _samples(run.samples)),
        ("What to type next", _commands(run)),
        ("Data", _data(run.data)),
        ("Recipe", _recipe(run)),
        ("What it ran on", _lock(run)),
        ("Checkpoints and result", _saved(run)),
    )
    return page(f"{_title(run)}: fine-tuning report", _header(run), sections, _footer(run))


def _title(run: Run) -> str:
    return run.recipe.value.name if run.recipe.value else run.path.absolute().parent.name


def _header(run: Run) -> Html:
    status, metrics = run.status, run.metrics
    badge = element("span", f"{_MARKS[status.word]} {status.word}", class_=f"status {status.word}")
    train = next((step.loss for step in reversed(metrics.steps) if step.loss is not None), None)
    figures: list[tuple[str, Child]] = [
        ("optimizer steps", steps_taken(run)),
        ("time", time_taken(run)),
        ("last training loss", "not recorded" if train is None else f"{train:.4f}"),
        ("supervised tokens/s", "not recorded" if metrics.speed is None else f"{metrics.speed:,.0f}"),
        ("peak memory", "not recorded" if metrics.memory is None else f"{metrics.memory / 2**30:.2f} GiB"),
    ]
    return element(
        "header",
        element("h1", _title(run)),
        element("p", badge, f"began {began(run)}" + (f"; {status.why}" if status.why else ""), class_="where"),
        element("p", element("code", str(run.path)), class_="where"),
        element("p", fall_sentence(metrics), class_="lead"),
        definitions(figures, "figures"),
    )


def _curves(metrics: Metrics) -> Html:
    if not metrics.steps and not metrics.evaluations:
        return missing("metrics.jsonl has no step and no evaluation.")
    checked = Series("validation", "validation", tuple((e.step, e.loss) for e in metrics.evaluations), dots=True)
    charts = [
        chart("loss", "Loss", "nats per supervised token", (_series(metrics, "loss", "training"), checked)),
        chart("rate", "Learning rate", "AdamW step size", (_series(metrics, "learning_rate", "learning rate"),)),
        chart("norm", "Gradient norm", "Euclidean, before clipping", (_series(metrics, "grad_norm", "gradient norm"),)),
    ]
    unreadable = [f"{metrics.unreadable:,} lines of metrics.jsonl cannot be read."] if metrics.unreadable else []
    return joined(
        [element("div", *charts, class_="charts"), *map(missing, unreadable), _evaluations(metrics)],
    )


def _series(metrics: Metrics, key: str, name: str) -> Series:
    values = ((step.step, getattr(step, key)) for step in metrics.steps)
    return Series(name, "train", tuple((at, value) for at, value in values if value is not None))


def _evaluations(metrics: Metrics) -> Html:
    if not metrics.evaluations:
        return missing("There is no evaluation on a validation split.")
    rows = [
        (f"{found.step:,}", f"{found.loss:.4f}" if math.isfinite(found.loss) else str(found.loss))
        for found in metrics.evaluations
    ]
    title = "1 evaluation in numbers" if len(rows) == 1 else f"{len(rows)} evaluations in numbers"
    return folded(title, table("Nats per supervised token", ("after step", "validation loss"), rows, "numbers"))


def _samples(samples: Sequence[SampleRecord]) -> Html:
    if not samples:
        return missing("No samples were recorded; name prompts in train.sample_prompts to see text before and after.")
    prompts = dict.fromkeys(sample.prompt for sample in samples)
    return joined([_sample(prompt, [one for one in samples if one.prompt == prompt]) for prompt in prompts])


def _sample(prompt: str, samples: Sequence[SampleRecord]) -> Html:
    newest = {sample.when: sample for sample in samples}  # a run that was resumed may have answered twice
    answers = [_answer(f"{when} training", sample) for when, sample in newest.items()]
    answers += [_answer(f"{when} training", None) for when in ("before", "after") if when not in newest]
    question = element("h3", prompt, dir="auto")
    return element("article", question, element("div", *answers, class_="answers"), class_="sample")


def _answer(title: str, sample: SampleRecord | None) -> Html:
    if sample is None:
        text, note = missing("not recorded"), ""
    else:
        text = element("p", sample.text, class_="text", dir="auto") if sample.text.strip() else missing("an empty text")
        note = "" if sample.finished else "cut at train.sample_tokens"
    notes = [element("span", note, class_="note")] if note else []
    return element("div", element("h4", title), text, *notes, class_="answer")


def _data(splits: dict[str, SplitCounts] | None) -> Html:
    if not splits:
        return missing("The counts of examples and tokens were not recorded.")
    rows = [(label, *(text(counts) for counts in splits.values())) for label, text in _COUNTS]
    absent = [missing(f"The {name} split was not counted.") for name in ("train", "validation") if name not in splits]
    streamed = any(counts.rows is None for counts in splits.values())
    note = "An example of a stream counts once for each pass over it." if streamed else ""
    return joined([table("What became of the examples", ("", *splits), rows, "numbers"), note, *absent])


def _recipe(run: Run) -> Html:
    if run.recipe.value is None:
        return missing(run.recipe.problem)
    values = recipe_values(run.recipe.value)
    chosen, left = [v for v in values if not v.default], [v for v in values if v.default]
    return joined(
        [
            element("p", "Resolved: the file, what it extends and the command line together."),
            _values("Other than the schema's defaults", chosen),
            folded(f"{len(left)} values that are the schema's defaults", _values("Defaults", left)),
        ]
    )


def _values(caption: str, values: Sequence[Value]) -> Html:
    rows = [(_key(value.key), element("span", value.text, dir="auto")) for value in values]
    return table(caption, ("key", "value"), rows)


def _key(key: str) -> Html:
    """A dotted key that a narrow page breaks between its words."""
    parts = re.split(r"(?<=[._])", key)
    return element("code", *(part for word in parts for part in (word, element("wbr"))))


def _lock(run: Run) -> Html:
    lock = run.lock.value
    if lock is None:
        return missing(run.lock.problem)
    facts: list[tuple[str, Child]] = [
        ("base", element("code", lock.base)),
        ("commit", element("code", lock.revision) if lock.revision else "none: the base is not from the hub"),
        ("weights, fingerprint", element("code", lock.weights)),
        ("tokenizer, fingerprint", element("code", lock.tokenizer)),
        ("training data, sha256", element("code", lock.data)),
        ("validation data, sha256", element("code", lock.validation) if lock.validation else "no validation split"),
        ("adapters below", joined([element("div", one) for one in lock.stack]) if lock.stack else "none"),
        ("device", f"{lock.device} in {lock.dtype}; CPU threads: {lock.threads}"),
        ("seed", str(lock.seed)),
        ("versions", _versions(lock)),
    ]
    return definitions(facts, "facts")


def _versions(lock: Lock) -> str:
    return ", ".join([lock.python, *(f"{name} {version}" for name, version in lock.packages.items())])


def _saved(run: Run) -> Html:
    rows = [(saved.path.name, _condition(saved)) for saved in (run.result, *run.checkpoints) if saved]
    notes = [] if run.checkpoints else [missing("There is no checkpoint.")]
    notes += [] if run.result else [missing("There is no finished adapter.")]
    caption = "Checked against their manifests (bytes and sha256) when this page was written"
    return joined([table(caption, ("folder", "state"), rows), *notes] if rows else notes)


def _condition(saved: Saved) -> Html:
    if not saved.broken:
        return element("span", "✓ whole", class_="whole")
    return element("span", f"✕ {'; '.join(saved.broken)}", class_="broken")


def _commands(run: Run) -> Html:
    lines = [
        (element("p", f"{what}:"), element("pre", element("code", command), class_="command"))
        for what, command in next_commands(run)
    ]
    why_not = obstacle(run)
    notes = [missing(why_not)] if why_not else []
    place = "" if run.path.is_absolute() else "Paths start at the folder in which this page was made."
    return joined([*notes, *(part for line in lines for part in line), element("p", place, class_="note")])


def _footer(run: Run) -> Html:
    there = [name for name in _FILES if (run.path / name).is_file()]
    links = [part for name in there for part in (element("a", name, href=name), " · ")][:-1]
    written = f"Written by lft {lft.__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. The numbers in full: "
    return element("footer", written, *links)
