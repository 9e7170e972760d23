"""`lft generate` and `lft chat`: what cannot be meant is said before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from lft.cli import main

RUN = ["--run", "nowhere"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "in.txt").write_text("Write.\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize("command", [["generate", "Write."], ["chat"]])
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--greedy", "--top-p", "0.3"], "--greedy does not sample, so --top-p would be ignored"),
        (["--greedy", "--temperature", "0.5"], "--greedy does not sample, so --temperature would be ignored"),
    ],
)
def test_sampling_flags_that_would_be_ignored_are_a_mistake(
    command: list[str], flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([*command, *RUN, *flags]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--beams", "3", "--top-p", "0.3"], "--beams 3 does not sample, so --top-p would be ignored"),
        (
            ["--greedy", "--beams", "3", "--top-p", "0.3"],
            "--greedy does not sample, so --beams 3 and --top-p would be ignored",
        ),
    ],
)
def test_beams_go_with_neither_greed_nor_sampling(
    flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["generate", "Write.", *RUN, *flags]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--greedy"], ["--beams", "3"], ["--top-p", "0.3", "--temperature", "0.5"]])
def test_flags_that_go_together_are_no_mistake(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["generate", "Write.", *RUN, *flags]) == 3  # only now the run is looked for
    assert "no run folder" in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_instruction_is_a_mistake(prompt: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["generate", prompt, *RUN]) == 2
    assert "the instruction is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        ("folder", 2, "--output folder is a folder\n  fix: name a file in it: --output folder/out.jsonl"),
        ("in.txt/out.jsonl", 4, "in.txt: a file is where a folder should be\n  fix: choose another place"),
        ("in.txt/deep/out.jsonl", 4, "a file is where a folder should be"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_answered(
    output: str, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["generate", *RUN, "--prompts", "in.txt", "--output", output]) == code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", [["generate", "Write."], ["chat"]])
def test_the_base_that_is_named_is_the_one_that_is_opened(
    command: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lft.errors import InputError
    from lft.evaluate import answer

    def opened(folder: Path, cache: Path, notify: object, find: object, base: str | None) -> None:
        raise InputError(f"{folder.name} on {base}")

    monkeypatch.setattr(answer, "open_answerer", opened)
    assert main.run([*command, "--adapter", "folder", "--base", "elsewhere/llama"]) == 3
    assert "folder on elsewhere/llama" in capsys.readouterr().err
