"""`lft evaluate` as it is typed: a suite answered, scored, compared and reported; mistakes in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lft.evaluate.result import load_result, results_below
from lft.evaluate.rubric import load_rubric
from tests.corpus.endpoint import Endpoint
from tests.tiny import save_tiny, sentences
from tests.typed import Typed, registry_of

Says = Callable[..., str]
SUITE = """\
name: mine
version: 3
about: questions of a test
group: out-of-domain
licence: CC0
origin: made by the test
prompt: {en: "Write about {topic}.", de: "Schreibe {topic}."}
reference: "{text}"
offline: [{path: ./rows.jsonl}]
decoding: {max_new_tokens: 12, samples: 2}
metrics: [rouge-l, length-ratio, repetition, bits-per-byte]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models and a suite of 12 items in two languages."""
    folder = tmp_path_factory.mktemp("home")
    save_tiny(folder / "one", chat=False, seed=1)
    save_tiny(folder / "two", chat=False, seed=2)
    texts = sentences(24, low=6, high=20)
    rows = [{"topic": texts[n], "text": texts[n + 12], "lang": "de" if n % 3 else "en"} for n in range(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mine.yaml").write_text(SUITE)
    return folder


@pytest.fixture
def says(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """Run lft in that folder: what it prints, or the errors where it is to fail."""
    monkeypatch.setenv("LFT_CACHE", str(home / "cache"))
    typed = Typed(home, home, monkeypatch, capsys)

    def call(*words: object, code: int = 0) -> str:
        said = typed("evaluate", *words, code=code)
        return said.err if code else said.out

    return call


def test_a_suite_is_answered_scored_compared_and_reported(says: Says, home: Path) -> None:
    out = says("mine.yaml", "--offline", "--model", "one", "--prompt", "plain", "--workers", 1)
    assert "mine v3 (offline set)" in out
    assert "24 answers to 12 items" in out
    assert "bits-per-byte" in out
    says("mine.yaml", "--offline", "--model", "two", "--prompt", "plain", "--workers", 1)
    places = sorted((home / "evaluations").glob("*"))
    assert [path.name.rpartition("-")[0] for path in places] == ["one", "two"]
    result = load_result(results_below(places[0])[0])
    assert {row.item.lang for row in result.rows} == {"de", "en"}
    assert result.columns["rouge-l"].floor is not None
    table = says("compare", places[0], places[1], "--into", "page", "--metric", "rouge-l")
    assert "p" in table
    assert max(map(len, table.splitlines())) <= 120
    assert (home / "page" / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads((home / "page" / "comparison.json").read_text())["baseline"] == "one"
    assert "## Evaluation" in says("show", places[0], "--markdown")


def test_bertscore_comes_with_its_model_and_a_suite_that_names_it_says_where_there_was_none(
    says: Says, home: Path
) -> None:
    words = ("--offline", "--limit", 2, "--model", "one", "--prompt", "plain", "--workers", 1, "--into", "bert")
    says("mine.yaml", *words, "--bertscore-model", "two", "--bertscore-layer", 1)
    column = load_result(results_below(home / "bert")[0]).columns["bertscore"]
    assert "two (weights " in column.variants["en"]
    assert "layer 1," in column.variants["en"]
    assert column.floor is not None
    (home / "named.yaml").write_text(SUITE.replace("name: mine", "name: named").replace("rouge-l,", "bertscore,"))
    assert "BERTScore needs a model (--bertscore-model)" in says("named.yaml", *words)


def test_what_was_answered_is_not_answered_again(says: Says, home: Path) -> None:
    words = ("mine.yaml", "--offline", "--model", "one", "--prompt", "plain", "--workers", 1, "--into", "again")
    first = says(*words)
    ledgers = {path: path.stat().st_size for path in (home / "cache" / "answers").glob("*.jsonl")}
    assert says(*words) == first
    assert ledgers == {path: path.stat().st_size for path in (home / "cache" / "answers").glob("*.jsonl")}


def test_a_result_of_other_settings_stays_and_other_metrics_join_the_one_that_is_there(says: Says, home: Path) -> None:
    words = ("mine.yaml", "--offline", "--model", "one", "--prompt", "plain", "--workers", 1, "--into", "settings")
    says(*words)
    first = next((home / "settings").glob("*")) / "mine-offline"
    whole = load_result(first)
    says(*words, "--limit", 2)
    says(*words, "decoding.samples=1")
    says(*words, "--limit", 2)
    found = sorted(path.parent.name for path in results_below(home / "settings"))
    assert found == [first.parent.name, f"{first.parent.name}.2", f"{first.parent.name}.3"]
    assert load_result(first).rows == whole.rows
    assert "a second result of mine" in says("show", "settings", "settings", code=3)
    assert "answered different items" in says("compare", first.parent, f"{first.parent}.2", code=3)
    says(*words, "--metric", "words")
    assert list(load_result(first).columns) == ["words", *whole.columns]


def test_answers_of_another_program_are_scored_too(says: Says, home: Path) -> None:
    says("export", "mine.yaml", "--offline", "--to", "q.jsonl")
    lines = [json.loads(line) for line in (home / "q.jsonl").read_text().splitlines()]
    answered = [{**line, "output": f"On {line['instruction']}"} for line in lines[:9]]
    (home / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in answered))
    out = says("mine.yaml", "--offline", "--answers", "a.jsonl", "--workers", 1)
    assert "9 answers to 9 items" in out
    result = load_result(results_below(next((home / "evaluations").glob("a-*")))[0])
    assert [one.reason for one in result.left_out] == ["no line of the file answers it"] * 3
    assert "bits-per-byte" not in result.columns


def test_endpoints_of_one_name_have_answers_of_their_own_and_are_asked_anew_where_it_is_said(
    says: Says, home: Path
) -> None:
    with Endpoint() as one, Endpoint() as two:
        words = ("mine.yaml", "--offline", "decoding.samples=1", "--workers", 1, "--model", "same", "--endpoint")
        says(*words, one.url, "--label", "one")
        says(*words, two.url, "--label", "served-two")
        assert (len(one.bodies), len(two.bodies)) == (12, 12)
        says(*words, two.url, "--label", "served-two")
        assert len(two.bodies) == 12
        says(*words, two.url, "--label", "served-two", "--fresh")
        says(*words, two.url, "--label", "served-two")  # a later run goes on with what was asked last
        assert len(two.bodies) == 24
    assert len(list((home / "evaluations").glob("served-two-*"))) == 2
    assert "--fresh would be ignored" in says("mine.yaml", "--model", "one", "--fresh", code=2)
    assert "--key-env" in says(*words, "http://127.0.0.1:1/v1", "--key-env", "MY KEY", code=2)


def test_a_judges_points_are_shown_kept_and_compared(says: Says, home: Path) -> None:
    with Endpoint() as stub:
        (home / "judge.yaml").write_text(f"backend: {{kind: openai, url: '{stub.url}', model: m}}\n")
        dimensions = load_rubric("longform", Path()).dimensions
        points = {name: 1 + number % 4 for number, name in enumerate(dimensions)}
        stub.always = {"": f"text:{json.dumps(points)}"}
        words = ("mine.yaml", "--offline", "--workers", 1, "--metric", "words", "--judge", "judge.yaml")
        for name in ("one", "two"):
            out = says(*words, "--model", name, "--prompt", "plain", "--label", f"judged-{name}")
            mean = sum(points.values()) / len(points)
            assert re.search(rf"^judge +{mean:.2f} ", out, re.M), out
            assert "not known" not in out
    folders = [next((home / "evaluations").glob(f"judged-{name}-*")) for name in ("one", "two")]
    assert load_result(results_below(folders[0])[0]).columns["judge"].sums[:, 0] == pytest.approx([mean] * 24)
    assert "judge" in says("compare", *folders)


def test_a_matrix_and_a_baseline_list_are_printed(says: Says) -> None:
    assert "flan-t5" in says("table1", "--list").lower()
    assert "names no baseline" in says("table1", "--place", "flan", code=2)
    assert "no adapter is named" in says("matrix", "mine.yaml", "--offline", code=2)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("rgn", "--model", "one"), "nearest: 'rgen'"),
        (("mine.yaml",), "nobody is named to answer"),
        (("mine.yaml", "--model", "one", "--run", "r"), "do not go together"),
        (("mine.yaml", "--model", "one", "--key-env", "K"), "--key-env would be ignored"),
        (("mine.yaml", "--endpoint", "http://x/v1"), "--endpoint needs --model"),
        (("mine.yaml", "--model", "one", "--metric", "metoer"), "meteor"),
        (("mine.yaml", "decoding.top_q=1", "--model", "one"), "nearest: 'top_p'"),
        (("mine.yaml", "--model", "one", "--prompt", "gpt"), "no prompt format"),
        (("mine.yaml", "--model", "one", "--metric", "+bertscore"), "--bertscore-model"),
        (("mine.yaml", "--model", "one", "--bertscore-layer", "3"), "--bertscore-layer would be ignored"),
        (("mine.yaml", "--model", "one", "--bertscore-model", "two", "--bertscore-layer", "9"), "has no layer 9"),
        (("scale", "quickstart", "rgn", "--base", "one"), "nearest: 'rgen'"),
        (("--model", "one"), ""),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_loaded(says: Says, words: tuple[str, ...], wanted: str) -> None:
    said = says(*words, code=2)
    assert wanted in said
    assert "Traceback" not in said


def test_compare_needs_results_and_says_how_to_make_them(says: Says) -> None:
    assert "lft evaluate" in says("compare", "nowhere", "nothing", code=3)


def test_scores_are_kept_beside_the_adapter_and_shown_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = registry_of(tmp_path, "de")
    (tmp_path / "rows.jsonl").write_text('{"topic": "the cat runs", "text": "the dog", "lang": "en"}\n')
    (tmp_path / "mine.yaml").write_text(SUITE.replace("samples: 2", "samples: 1"))
    monkeypatch.setenv("LFT_CACHE", str(tmp_path / "cache"))
    typed = Typed(tmp_path, tmp_path, monkeypatch, capsys)
    words = ("evaluate", "mine.yaml", "--offline", "--adapter", "lft/de", "--workers", 1)
    assert "kept beside" not in typed(*words, "--no-record").out
    assert "scores kept beside lft/de:1.0.0" in typed(*words).out
    typed(*words)
    shown = typed("adapters", "show", "lft/de").out
    assert shown.count("rouge-l ") == 1
    assert "mine v3 offline set" in shown
    assert "all as it should be" in typed("adapters", "fsck").out
    store.scores("lft/de", "1.0.0").unlink()
    none = typed("evaluate", "matrix", "mine.yaml", "--offline", "--adapters", "lang=xx", code=2)
    assert "no adapter of the registry has lang=xx" in none.err
    table = typed("evaluate", "matrix", "mine.yaml", "--offline", "--adapter", "lft/de", "--metric", "rouge-l")
    assert "lft/de" in table.out
    assert "lft/de" in (tmp_path / "evaluations" / "matrix" / "matrix.html").read_text()
    assert "rouge-l " in typed("adapters", "show", "lft/de").out
    path = store.scores("lft/de", "1.0.0")
    path.write_text("[3]")
    said = typed("adapters", "fsck", code=3)
    assert "no scores" in said.out + said.err
