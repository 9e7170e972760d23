"""report.html: honest, safe against its own contents, readable without a network and in both colour schemes."""

from __future__ import annotations

import json
import math
import re
import shlex
import signal
import tempfile
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.errors import InputError, TrainingError
from lft.page.chart import MOST_POINTS, Series, chart, ticks
from lft.page.html import element
from lft.recipe.schema import Recipe
from lft.train.folder import LockedBelow, RunFolder
from lft.train.history import Run
from lft.train.report import render, write_report
from lft.train.summary import fall_sentence, next_commands
from tests.pages import Page
from tests.run_folders import LOCK, bare_run, checkpoint, finished_run, log_metrics, recipe, sample, step_record


def page_of(path: Path) -> Page:
    return Page(render(Run(path)))


@pytest.fixture
def finished(tmp_path: Path) -> Page:
    return page_of(finished_run(tmp_path))


def test_the_page_asks_for_nothing_outside_itself_and_runs_nothing(finished: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(finished.tags)
    assert not [name for name, _ in finished.attributes if name in ("src", "srcset", "style") or name.startswith("on")]
    links = [value for name, value in finished.attributes if name == "href"]
    assert links == ["recipe.yaml", "lock.json", "state.json", "data.json", "metrics.jsonl", "samples.jsonl"]
    assert ("http-equiv", "Content-Security-Policy") in finished.attributes
    css = (files("lft.page") / "page.css").read_text(encoding="utf-8")
    assert "url(" not in css
    assert "@import" not in css
    assert "</" not in css


def test_a_finished_run_has_everything_in_its_page(finished: Page) -> None:
    wanted = [
        "✓ finished",
        "Validation loss fell by 33.3%, from 3.0000 to 2.0000 nats per token after step 4.",
        "4 of 4",
        "text before",
        "text after",
        "75.0%",
        "train.learning_rate",
        "org/base",
        LOCK.weights,
        "a" * 40,
        "torch 2.13.0",
        "step-4",
        "✓ whole",
    ]
    assert [text for text in wanted if text not in finished.text] == []


def test_each_adapter_below_stands_with_name_short_digest_and_weight(tmp_path: Path) -> None:
    below = (LockedBelow("./lang/de", "1" * 64, "0.7[0-11]"), LockedBelow("./task", "2" * 64, "1"))
    path = bare_run(tmp_path)
    RunFolder(path).write_lock(replace(LOCK, adapters_below=("1" * 64, "2" * 64), below=below))
    text = Page(render(Run(path))).text
    assert f"lang/de ({'1' * 12}) x 0.7[0-11]" in text
    assert f"task ({'2' * 12}) x 1" in text
    older = {key: value for key, value in asdict(LOCK).items() if key != "below"}
    (path / "lock.json").write_text(json.dumps({**older, "adapters_below": ["3" * 64]}))
    assert "3" * 12 in Page(render(Run(path))).text


hostile = st.one_of(
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "</p></div><h1>x",
            "<!--",
            "]]>",
            "&lt;b&gt;",
            "\u202e<b>",
            "\ud800",
            "\0\x1b[31m",
            "</style><style>*{}",
            "' onmouseover='x",
        ]
    ),
    st.text(min_size=1).filter(str.strip),
)


@settings(max_examples=60, deadline=None)
@given(hostile)
def test_no_text_of_a_run_becomes_html(text: str) -> None:
    def made(prompt: str, answer: str) -> Page:
        with tempfile.TemporaryDirectory() as folder:
            path = bare_run(Path(folder), chosen=recipe(seed=7))
            with (path / "samples.jsonl").open("w", encoding="utf-8") as stream:
                stream.write(json.dumps({"when": prompt, "prompt": prompt, "text": answer}))
            (path / "lock.json").write_text(json.dumps({**asdict(LOCK), "base": answer}))
            return page_of(path)

    page, plain = made(text, text), made("x", "x")
    assert page.tags == plain.tags
    assert [name for name, _ in page.attributes] == [name for name, _ in plain.attributes]
    seen = text.encode("utf-8", "replace").decode()
    pictures = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"} | {0x7F: 0x2421}
    seen = seen.translate(pictures)
    assert page.text.count(seen) >= 4  # prompt, when, answer, base


def test_an_attribute_cannot_be_left_either() -> None:
    assert element("p", "<", title='"><b>').text == '<p title="&quot;&gt;&lt;b&gt;">&lt;</p>'


def test_what_a_run_lacks_is_said(tmp_path: Path) -> None:
    page = page_of(bare_run(tmp_path))
    for missing in (
        "No validation loss was recorded",
        "metrics.jsonl has no step and no evaluation.",
        "No samples were recorded",
        "The counts of examples and tokens were not recorded.",
        "there is no lock.json",
        "There is no checkpoint.",
        "There is no finished adapter.",
        "The run cannot be resumed: it has no whole checkpoint.",
        "the run has no record of its state",
    ):
        assert missing in page.text, missing


def test_a_recipe_of_another_version_is_said_to_be_unreadable(tmp_path: Path) -> None:
    path = finished_run(tmp_path)
    (path / "recipe.yaml").write_text("name: small\nnew_key: 1\n")
    assert "recipe.yaml cannot be read by this version of lft" in page_of(path).text
    assert "✓ finished" in page_of(path).text


def test_a_damaged_checkpoint_is_named_and_not_offered(tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    checkpoint(path, "checkpoints/step-2")
    assert ("Go on from step-2", f"lft finetune --resume {path}") in next_commands(Run(path))
    (path / "checkpoints" / "step-2" / "weights.safetensors").write_bytes(b"12")
    page = page_of(path)
    assert "✕ weights.safetensors is damaged" in page.text
    assert "--resume" not in page.text


def test_commands_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path) -> None:
    path = finished_run(tmp_path / "it's $HOME; `x`")
    for _, command in next_commands(Run(path)):
        assert any(str(path) in word for word in shlex.split(command))


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([(0, 4.0), (5, 3.0)], "fell by 25.0%, from 4.0000 to 3.0000"),
        ([(0, 4.0), (5, 5.0)], "rose by 25.0%, from 4.0000 to 5.0000"),
        ([(0, 4.0), (5, 2.0), (9, 3.0)], "It was lowest, 2.0000, at step 5."),
        ([(0, 4.0)], "was 4.0000 before the first step; it was not measured after that"),
        ([(5, 4.0)], "was 4.0000 after step 5; before training it was not recorded"),
        ([(0, 4.0), (5, math.nan)], "went from 4.0000 to nan"),
        ([], "No validation loss was recorded"),
    ],
)
def test_the_first_sentence_says_no_more_than_was_measured(
    records: list[tuple[int, float]], words: str, tmp_path: Path
) -> None:
    path = bare_run(tmp_path)
    log_metrics(path, *({"step": step, "eval_loss": loss} for step, loss in records))
    assert words in fall_sentence(Run(path).metrics)


numbers = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e-300, 1e300]))


@given(st.lists(st.tuples(st.integers(0, 10**7), numbers), max_size=12))
def test_a_chart_of_any_numbers_stays_inside_its_axes(points: list[tuple[int, float]]) -> None:
    shown = Page(chart("a", "Title", "unit", [Series("one", "train", tuple(points), dots=True)]).text)
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        assert shown.tags == ["p"]
        return
    coordinates = [value for name, value in shown.attributes if name == "points"]
    places = [float(number) for number in re.split("[ ,]", " ".join(coordinates))]
    assert len(places) == 2 * len(finite)
    assert all(-0.1 <= place <= 1000.1 for place in places)
    assert shown.tags.count("circle") == len(finite)
    if len(finite) < len(points):
        assert "not finite are not drawn" in shown.text


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 6))
def test_ticks_enclose_the_values_and_are_few(low: float, width: float, count: int) -> None:
    found = ticks(low, low + width, count)
    step = found[1] - found[0]
    assert found[0] <= low + step / 1e6
    assert found[-1] >= low + width - step / 1e6
    assert 2 <= len(found) <= count + 2


def test_a_chart_says_what_it_shows_to_who_cannot_see_it(finished: Page) -> None:
    labels = [value.split() for name, value in finished.attributes if name == "aria-labelledby"]
    ids = [value for name, value in finished.attributes if name == "id"]
    assert sorted(name for names in labels for name in names) == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert finished.attributes.count(("role", "img")) == 3
    assert "validation: 3 at step 0, 2 at step 4, lowest 2, highest 3" in finished.text
    assert finished.tags.count("figure") == 3


def test_long_runs_are_drawn_as_means_and_the_page_says_so(tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    log_metrics(path, *(step_record(step, float(step % 2)) for step in range(1, 3 * MOST_POINTS + 1)))
    page = page_of(path)
    assert "training: each point is the mean of 3 logged steps" in page.text
    drawn = [value for name, value in page.attributes if name == "points"]
    assert max(len(points.split()) for points in drawn) <= MOST_POINTS


def test_colours_have_the_contrast_that_text_needs_in_both_schemes() -> None:
    css = (files("lft.page") / "page.css").read_text(encoding="utf-8")
    assert "@media (prefers-color-scheme: dark)" in css
    schemes = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for name in ("text", "soft", "train", "validation", "good", "bad", "link"):
            for ground in ("page", "panel"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for ground in (f"{kind}{level}" for kind in ("gain", "loss") for level in range(1, 5)):
            assert contrast(colours["text"], colours[ground]) >= 4.5, ground


def contrast(one: str, two: str) -> float:
    """WCAG 2.2 contrast ratio."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(two)))
    return (high + 0.05) / (low + 0.05)


def test_an_old_report_stays_whole_where_a_new_one_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished_run(tmp_path)
    before = write_report(path).read_bytes()
    monkeypatch.setattr("lft.train.report.render", lambda _: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        write_report(path)
    assert (path / "report.html").read_bytes() == before
    assert [file.name for file in path.iterdir() if file.name.startswith(".")] == []


def test_there_is_no_report_of_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import save_tiny, sentences

    folder = tmp_path_factory.mktemp("report")
    save_tiny(folder / "llama", "llama")
    texts = sentences(24, seed=5, low=3, high=12)
    rows = [
        {"input": texts[i], "output": texts[i + 12], "split": "train" if i < 9 else "validation"} for i in range(12)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def trained(material: Path, runs: Path, on_event: Any = lambda _: None, **data: Any) -> Any:
    from lft.train.inputs import prepare_inputs
    from lft.train.run import finetune

    chosen = Recipe.model_validate(
        {
            "name": "tiny",
            "base": {"model": str(material / "llama"), "dtype": "float32"},
            "data": {"train": str(material / "data.jsonl"), "max_length": 128, **data},
            "method": {"r": 2, "alpha": 4},
            "train": {"max_steps": 4, "global_batch_size": 1, "sample_prompts": ["<b>cat</b>"], "sample_tokens": 4},
            "output": {"runs": str(runs)},
        }
    )
    return finetune(prepare_inputs(chosen, material / "cache", lambda _: None), on_event)


@pytest.mark.parametrize("streaming", [False, True])
def test_training_leaves_the_report_of_a_finished_run(material: Path, tmp_path: Path, streaming: bool) -> None:
    outcome = trained(material, tmp_path, streaming=streaming)
    text = Page((outcome.folder / "report.html").read_text(encoding="utf-8")).text
    assert "✓ finished" in text
    assert "4 of 4" in text
    assert "<b>cat</b>" in text
    run = Run(outcome.folder)
    assert run.data is not None
    assert (run.data["train"].examples >= 9) if streaming else (run.data["train"].examples == 9)
    assert (run.data["train"].rows is None) is streaming


def test_an_interrupted_run_has_a_report_with_the_way_to_go_on(material: Path, tmp_path: Path) -> None:
    from lft.train.events import Step

    def interrupt(event: object) -> None:
        if isinstance(event, Step) and event.step == 2:
            signal.raise_signal(signal.SIGTERM)

    outcome = trained(material, tmp_path, interrupt)
    text = Page((outcome.folder / "report.html").read_text(encoding="utf-8")).text
    assert "■ interrupted" in text
    assert "SIGTERM received" in text
    assert f"lft finetune --resume {outcome.folder}" in text
    assert "lft generate" not in text


def test_a_run_that_fails_says_why_in_its_report(material: Path, tmp_path: Path) -> None:
    from lft.train.events import Step

    def fail(event: object) -> None:
        if isinstance(event, Step) and event.step == 2:
            raise TrainingError("the loss is nan at step 2, in examples 3, 4")

    with pytest.raises(TrainingError):
        trained(material, tmp_path, fail)
    (path,) = tmp_path.glob("tiny/*/report.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert "✕ failed" in page.text
    assert "the loss is nan at step 2, in examples 3, 4" in page.text


def test_a_report_that_cannot_be_made_does_not_lose_the_adapter(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> Path:
        raise ZeroDivisionError("a fault in the page")

    monkeypatch.setattr("lft.train.run.write_report", broken)
    events: list[Any] = []
    outcome = trained(material, tmp_path, events.append)
    assert Run(outcome.folder).result is not None
    assert Run(outcome.folder).result.broken == ()  # type: ignore[union-attr]
    assert Run(outcome.folder).status.word == "finished"
    assert "report.html was not written (a fault in the page)" in events[-1].text


def test_a_sample_that_was_answered_twice_is_shown_once(tmp_path: Path) -> None:
    path = bare_run(tmp_path)
    for text in ("first answer", "second answer"):
        sample(path, "p", text, "after", finished=False)
    page = page_of(path)
    assert "second answer" in page.text
    assert "first answer" not in page.text
    assert page.text.count("cut at train.sample_tokens") == 1
