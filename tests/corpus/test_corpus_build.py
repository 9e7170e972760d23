"""A build from end to end: what was done is not done again, and whatever ends it leaves what was done."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from lft.ask.meter import Limits
from lft.cli.main import run
from lft.corpus.build import STEPS, Tools, asked_of, folder_of, reckon, reports_in, root_of, run_build
from lft.corpus.funnel import funnel
from lft.corpus.load import load_build
from lft.corpus.schema import Build
from lft.corpus.screen.run import Models
from lft.corpus.step import read_records
from lft.errors import InputError
from tests.corpus.endpoint import Endpoint
from tests.corpus.models import Rule

PLACES = ("harbour", "orchard", "library", "workshop", "station", "bakery", "museum", "garden", "bridge", "theatre")
TEXT = (
    "The {place} of our town is the place that people think of first when they have visitors to show around. "
    "It was built a long time ago, and although much of it has changed since then, the old {place} keeps its charm. "
    "If you come on a Sunday you will meet families who have walked here for generations, and they will gladly tell "
    "you what they know of it. Bring good shoes and some time, because the way to the {place} is longer than it looks."
)
FILE = """\
name: town
output: {output}
sources: [{{name: town, kind: text, path: {folder}, licence: CC0-1.0}}]
select: {{duplicates: {{near: false}}, contamination: {{suites: []}}}}
instruct:
  backend: {{kind: openai, model: m, url: "http://127.0.0.1:9/v1", temperature: 0.0}}
write: {{validation: 0.2, test: 0.2}}
"""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    folder = tmp_path / "texts"
    folder.mkdir()
    for place in PLACES:
        (folder / f"{place}.txt").write_text(TEXT.format(place=place))
    (folder / "short.txt").write_text("Too short.")
    return build_with(tmp_path)


def build_with(tmp_path: Path, *overrides: str) -> Build:
    path = tmp_path / "town.yaml"
    path.write_text(FILE.format(output=tmp_path / "out", folder=tmp_path / "texts"))
    return load_build(path, overrides)


FURTHER = """\
beyond:
  rewrite: {backend: {kind: transformers, model: r, max_tokens: 400}}
  constraints: {backend: {kind: transformers, model: c}, share: 0.5}
  translate: {backend: {kind: transformers, model: t, max_tokens: 400}, langs: [en]}
screen: {judge: {backend: {kind: transformers, model: j}, keep: 1}}
"""


def place_in(prompt: str) -> str:
    return next(place for place in PLACES if f"The {place} of" in prompt)


def instruction(prompt: str) -> str:
    return f"Tell me what visitors should know before they go to the {place_in(prompt)}."


def tools(model: Rule) -> Tools:
    none = Models(*([lambda *_: pytest.fail("no model was asked for")] * 3))
    return Tools(lambda _: model, none, lambda _: None)  # type: ignore[arg-type, return-value]


def rows(build: Build) -> dict[str, str]:
    folder = folder_of(root_of(build), "write")
    return {row["output"]: row["input"] for path in folder.glob("*.jsonl") for row in read_records(path)}


def test_documents_become_a_data_set_with_all_steps_reported(build: Build) -> None:
    reports = run_build(build, tools(Rule(instruction)))
    assert [one.step for one in reports] == list(STEPS)
    found = rows(build)
    assert len(found) == len(PLACES)
    assert all(place_in(text) in asked for text, asked in found.items())
    assert [funnel([one]) for one in reports_in(root_of(build))] == [funnel([one]) for one in reports]
    assert "fewer than 30 words" in funnel(reports)


def test_a_second_run_does_nothing_and_a_changed_setting_only_what_follows_it(build: Build, tmp_path: Path) -> None:
    model = Rule(instruction)
    run_build(build, tools(model))
    asked = len(model.asked)
    before = {step: (folder_of(root_of(build), step) / "step.json").stat().st_mtime_ns for step in STEPS}
    run_build(build, tools(model))
    run_build(build_with(tmp_path, "instruct.backend.concurrency=3"), tools(model))
    assert {step: (folder_of(root_of(build), step) / "step.json").stat().st_mtime_ns for step in STEPS} == before
    run_build(build_with(tmp_path, "screen.max_leak=0.4"), tools(model))
    changed = [
        step for step in STEPS if (folder_of(root_of(build), step) / "step.json").stat().st_mtime_ns != before[step]
    ]
    assert changed == ["screen", "write"]
    assert len(model.asked) == asked


def test_a_file_that_changed_is_read_again_and_only_its_document_asked_for(build: Build, tmp_path: Path) -> None:
    model = Rule(instruction)
    run_build(build, tools(model))
    (tmp_path / "texts" / "museum.txt").write_text(TEXT.format(place="museum") + " It opens at nine.")
    asked = len(model.asked)
    run_build(build, tools(model))
    assert len(model.asked) == asked + 1
    assert any("It opens at nine." in text for text in rows(build))


def test_an_evaluation_file_that_changed_is_looked_for_anew(build: Build, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("Nothing of this stands in any of the texts of the town.")
    wanted = build_with(tmp_path, f"select.contamination.files=[{held_out}]", "select.contamination.similarity=1.0")
    model = Rule(instruction)
    run_build(wanted, tools(model))
    assert len(rows(wanted)) == len(PLACES)
    held_out.write_text("museum of our town is the place that people think of first when")
    run_build(wanted, tools(model))
    assert not any("museum" in text for text in rows(wanted))


def test_a_remote_file_that_changed_is_told_from_the_one_that_was_read(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    name = f"/{tmp_path.name}/a.txt"
    fs.pipe(name, b"one")
    (tmp_path / "town.yaml").write_text(FILE.format(output=tmp_path / "out", folder=f"memory://{tmp_path.name}"))
    build = load_build(tmp_path / "town.yaml")
    first, again = asked_of(build, "read"), asked_of(build, "read")
    fs.pipe(name, b"two")
    assert first == again
    assert asked_of(build, "read") != first


def test_a_step_that_fails_leaves_those_before_it_and_every_answer(build: Build) -> None:
    def broken(prompt: str) -> str:
        if "bridge" in prompt:
            raise InputError("the endpoint is gone")
        return instruction(prompt)

    with pytest.raises(InputError, match="the endpoint is gone"):
        run_build(build, tools(Rule(broken)))
    root = root_of(build)
    assert not folder_of(root, "instruct").exists()
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []
    model = Rule(instruction)
    run_build(build, tools(model))
    assert 0 < len(model.asked) < len(PLACES)


def test_requests_that_failed_are_asked_again_by_the_next_run_and_all_that_follows_is_made_anew(build: Build) -> None:
    down = Rule(lambda prompt: None if "bridge" in prompt else instruction(prompt))
    run_build(build, tools(down))
    assert len(rows(build)) == len(PLACES) - 1
    said: list[str] = []

    def gone(prompt: str) -> str:
        raise InputError("the endpoint is gone")

    before = rows(build)
    run_build(build, replace(tools(Rule(gone)), notify=said.append))
    assert any("cannot be asked again now" in line and "the endpoint is gone" in line for line in said)
    assert rows(build) == before
    up = Rule(instruction)
    run_build(build, tools(up))
    assert len(up.asked) == 1
    assert len(rows(build)) == len(PLACES)
    run_build(build, replace(tools(up), notify=said.append))
    assert len(up.asked) == 1
    assert said[-1].startswith("write: done before")


def test_a_step_whose_folder_was_removed_is_made_anew_with_all_that_follows(build: Build) -> None:
    run_build(build, tools(Rule(instruction)))
    shutil.rmtree(folder_of(root_of(build), "instruct"))
    (root_of(build) / "ledger.jsonl").unlink()
    run_build(build, tools(Rule(lambda prompt: f"{instruction(prompt)[:-1]} today.")), "instruct")
    run_build(build, tools(Rule(lambda _: pytest.fail("asked"))))
    assert all(" today." in asked for asked in rows(build).values())


def test_where_nothing_is_left_the_step_and_the_next_command_are_named(build: Build, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is left after the step select") as caught:
        run_build(build_with(tmp_path, "select.quality.min_words=5000"), tools(Rule(instruction)))
    assert "lft corpus show" in str(caught.value)


def test_a_dry_run_asks_nothing(build: Build) -> None:
    model = Rule(instruction)
    found, others = reckon(build, tools(model))
    assert (found.documents, found.requests, others) == (len(PLACES), len(PLACES), ())
    assert model.asked == []
    assert not (root_of(build) / "ledger.jsonl").exists()


def test_a_dry_run_reckons_with_every_backend_and_with_no_less_than_a_run_asks(build: Build, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text((tmp_path / "town.yaml").read_text() + FURTHER)
    build = load_build(tmp_path / "more.yaml")
    models: dict[str, Rule] = {}

    def rule(prompt: str) -> str:
        if "Translate" in prompt:
            return prompt.partition("\n\n")[2]
        return "Score: 5" if "Judge how good" in prompt else instruction(prompt)

    def opened(key: str) -> Rule:
        model = models.setdefault(key, Rule(rule, key))
        model.limits = Limits(1.0, 2.0)
        return model

    none = [lambda *_: pytest.fail("no such model")] * 2
    kit = Tools(
        lambda asked: opened(asked.key),  # type: ignore[arg-type, return-value]
        Models(*none, lambda _: opened("screen.judge.backend")),  # type: ignore[arg-type, return-value]
        lambda _: None,
    )
    first, others = reckon(build, kit)
    assert [model.asked for model in models.values() if model.asked] == []
    run_build(build, kit)
    asked = {key: len(model.asked) for key, model in models.items()}
    reckoned = {one.key: one.requests for one in others}
    reckoned["instruct.backend"] = first.requests + reckoned.pop("instruct.backend (of translations)")
    assert reckoned.keys() == asked.keys()
    assert all(asked[key] and reckoned[key] >= asked[key] for key in asked), (asked, reckoned)
    for one in others:
        if one.key in asked:
            assert one.tokens_in >= sum(models[one.key].count(prompt) for prompt in models[one.key].asked)
        assert one.money == pytest.approx((one.tokens_in + 2 * one.tokens_out) / 1e6)


def lft(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lft.cli.main", "corpus", *words], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def test_the_command_builds_by_an_endpoint_and_lft_reads_what_it_wrote(build: Build, tmp_path: Path) -> None:
    with Endpoint() as stub:
        done = lft("build", "town.yaml", f"instruct.backend.url={stub.url}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| write | " in done.stdout
    assert "Traceback" not in done.stderr
    shown = lft("show", "out/town", cwd=tmp_path)
    assert "fewer than 30 words" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    from lft.data.sources import open_split
    from lft.recipe.schema import Data

    written = folder_of(root_of(build), "write")
    examples = open_split(Data(train=str(written)), "train", seed=0, notify=lambda _: None, cache=tmp_path / "cache")
    assert examples is not None
    assert len(examples) == sum(1 for _ in read_records(written / "train.jsonl"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("build", "twon.yaml"), 2, "nearest: 'town.yaml'"),
        (("check", "town.yaml", "select.quality.min_word=3"), 2, "nearest: 'min_words'"),
        (("build", "town.yaml", "instruct.backend.key_env=NO_SUCH_KEY"), 2, "NO_SUCH_KEY is not set"),
        (("show", "nowhere"), 3, "no build lies here"),
        (("sample-audit", "--report", "--into", "nowhere"), 3, "no audit lies here"),
        (("longform", "nowhere", "--model", "m"), 3, "none of the paper's sources"),
    ],
)
def test_a_mistake_is_one_message_and_an_exit_code(
    build: Build, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = lft(*words, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("longform", "{}", "--model", "m", "--into", "my build.yaml"),
            "--into: expected a name of at most 96 letters",
        ),
        (("longform", "{}", "--model", "m", "--url", "http://x/v1", "--key-env", "A B"), "--key-env: expected a name"),
        (("longform", "{}", "--model", ""), "--model: expected a text that is not empty, got ''"),
        (("longform", "{}", "--model", "m", "--url", "nowhere"), "--url: kind openai needs url"),
        (("longform", "{}", "--model", "m", "--key-env", "KEY"), "--url: url and key_env are for kind openai only"),
        (("sample-audit", "--port", "99999"), "'--port': Input should be less than or equal to 65535"),
        (("sample-audit", "--port", "-5"), "'--port': Input should be greater than or equal to 0"),
        (("sample-audit", ""), "a data set and its split have names"),
        (("sample-audit", "x.jsonl", "--split", ""), "a data set and its split have names"),
        (("sample-audit", "x.jsonl", "x.jsonl"), "compared with itself"),
    ],
)
def test_what_is_typed_wrong_is_named_by_its_option(
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources" / "enron").mkdir(parents=True)
    (tmp_path / "sources" / "enron" / "1.").write_text("x")
    code = run(["corpus", *(word.format("sources") for word in words)])
    told = capsys.readouterr().err
    assert code == 2, told
    assert said in " ".join(told.split())
    assert not list(tmp_path.glob("*.yaml"))


def test_a_dry_run_prints_what_each_backend_would_cost(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run(["corpus", "build", "town.yaml", "--dry-run", "instruct.backend.price_out=1000.0"])
    told = capsys.readouterr().out
    assert code == 0
    assert "instruct.backend: 10 requests, about" in told
    assert "about 1.28 of money in all" in told


def test_the_papers_mixture_is_built_from_what_is_there(build: Build, tmp_path: Path) -> None:
    mail = tmp_path / "sources" / "enron" / "inbox"
    mail.mkdir(parents=True)
    for number, place in enumerate(PLACES):
        text = f"From: a@b.org\nSubject: A visit to the {place}\n\n{TEXT.format(place=place)}\n"
        (mail / f"{number}.").write_text(text)
    found = lft("longform", "sources", "--model", "m", "--url", "http://127.0.0.1:9/v1", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "Enron" in found.stdout
    assert "10,000" in found.stdout
    assert lft("check", "longform.yaml", cwd=tmp_path).returncode == 0
    again = lft("longform", "sources", "--model", "m", cwd=tmp_path)
    assert (again.returncode, "there already" in again.stderr) == (2, True)


def test_every_build_file_of_the_catalogue_is_right() -> None:
    folder = Path(__file__).parents[2] / "recipes" / "corpus"
    files = sorted(folder.glob("*.yaml"))
    assert files
    assert all(load_build(file).screen.language_match for file in files), "a data set in other languages than it says"
    for path in files:
        assert load_build(path).name == path.stem


@pytest.mark.skipif(not Path("/usr/share/help/de/gnome-help").is_dir(), reason="gnome-user-docs is not installed")
def test_real_help_pages_are_read_in_five_languages(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "recipes" / "corpus" / "gnome-help.yaml"
    build = load_build(path, [f"output={tmp_path}"])
    (read, chosen) = run_build(build, tools(Rule(lambda _: "")), "select")
    assert read.kept > 1000
    files = folder_of(root_of(build), "select").glob("*.jsonl")
    langs = {record["lang"] for file in files for record in read_records(file)}
    assert langs == {"en", "de", "es", "fr", "ru"}
    assert chosen.kept == sum(build.select.quotas.by_lang.values())


def test_an_answer_of_8000_words_stays_whole_and_the_model_sees_its_beginning_and_its_end(
    build: Build, tmp_path: Path
) -> None:
    words = [f"{word}{n}" for n in range(1000) for word in ("stone", "of", "the", "old", "mill", "by", "a", "brook")]
    text = f"The garden of long ago. {' '.join(words)}. So it ends with the last gate."
    (tmp_path / "texts" / "garden.txt").write_text(text)
    model = Rule(instruction)
    run_build(build_with(tmp_path, "select.quality={gopher: false, repetition: false}"), tools(model))
    assert text in rows(build)
    seen = next(prompt for prompt in model.asked if "The garden of long ago" in prompt)
    assert "the last gate" in seen
    assert len(seen.split()) < 2000
