"""Suites and published scores as Markdown tables, made from the suites' files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lft.evaluate.suite import find_suite, items_of, load_suite, suite_names
from lft.evaluate.suite_baselines import load_baselines, published_average
from lft.evaluate.suite_schema import Suite

_PAPER = ("longform", "rgen", "eli5", "writingprompts")


def shipped_suites() -> tuple[Suite, ...]:
    """The suites that ship with lft, by name."""
    return tuple(load_suite(find_suite(name)) for name in suite_names())


def suites_table(notify: Callable[[str], None] = lambda _: None) -> str:
    """One line a suite: what it asks, in which languages, from where, and how many items it has offline."""
    rows = [_row(suite, notify) for suite in shipped_suites()]
    return _table(("suite", "version", "what", "group", "languages", "full data", "offline items", "tokens"), rows)


def _row(suite: Suite, notify: Callable[[str], None]) -> tuple[str, ...]:
    if suite.harness:
        asked = f"lm-evaluation-harness ({', '.join(suite.harness.tasks)}, {suite.harness.shots}-shot)"
        return (f"`{suite.name}`", str(suite.version), suite.about, suite.group, "en", asked, "-", "-")
    offline = len(items_of(suite, True, Path(), notify).items) if suite.offline else 0
    return (
        f"`{suite.name}`", str(suite.version), suite.about, suite.group, " ".join(suite.langs), _data(suite),
        str(offline), str(suite.decoding.max_new_tokens),
    )  # fmt: skip


def _data(suite: Suite) -> str:
    paths = dict.fromkeys(f"`{part.path}`, {part.split}" if "/" in part.path else "by hand" for part in suite.data)
    return "; ".join(paths)


def published_table() -> str:
    """METEOR as published: the paper's models on the paper's suites, and the mean over the three out of domain."""
    suites = {name: load_suite(find_suite(name)) for name in _PAPER}
    models = dict.fromkeys(one.model for name in _PAPER[1:] for one in suites[name].published)
    rows = []
    for model in models:
        scores = [_score(suites[name], model) for name in _PAPER]
        mean = published_average(model)
        rows.append((model, *scores, "" if mean is None else f"{mean:.1f}"))
    rows += [(one.model, "", "", "", "", f"{one.score:.1f}") for one in load_baselines().averages]
    return _table(("model", *(f"`{name}`" for name in _PAPER), "mean of the last three"), rows)


def _score(suite: Suite, model: str) -> str:
    return next((f"{one.score:.1f}{'*' if one.note else ''}" for one in suite.published if one.model == model), "")


def baselines_table() -> str:
    """One line a baseline: where it is, and how much memory its weights take."""
    rows = [
        (
            f"`{one.name}`",
            f"`{one.model}`",
            one.architecture,
            f"{one.weights_gib:.1f}",
            one.published_as or "",
            one.licence,
        )
        for one in load_baselines().baselines
    ]
    return _table(("baseline", "model", "architecture", "GiB in bf16", "published as", "licence"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "suites": suites_table,
    "published": published_table,
    "baselines": baselines_table,
}


def with_tables(text: str) -> str:
    """A document with its tables made anew: each stands between ``<!-- NAME -->`` and ``<!-- end -->``."""
    for name, made in TABLES.items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        if mark:
            _, _, after = rest.partition("<!-- end -->\n")
            text = f"{before}{mark}{made()}<!-- end -->\n{after}"
    return text
