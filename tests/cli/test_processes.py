"""`lft` as people run it: whole processes, their streams, exit codes and signals."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import pytest

from lft.cli.main import run as run_here
from lft.files import broken_files
from lft.train.events import Report, Saved
from tests.processes import (
    Done,
    lft,
    lft_on_terminal,
    lft_signalled,
    lines_on_screen,
    one_clear_error,
    tiny_place,
)
from tests.tiny import save_tiny
from tests.tiny_gguf import save_tiny_gguf

Here = Callable[..., Done]
WEIGHTS = "adapter_model.safetensors"
PROMPT = "the red cat"
SHORT = ("--greedy", "--max-new-tokens", "8")
SAMPLE = ("train.sample_prompts=[the red cat]", "train.sample_tokens=4")


def at_once(*calls: Callable[[], Done]) -> list[Done]:
    """Several processes, two at a time: most of their seconds go into importing torch."""
    with ThreadPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_place(tmp_path_factory.mktemp("whole") / "a folder, ünd mehr")


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """`lft` in this process, in the folder of the runs: the same code without the seconds of a start."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("LFT_CACHE", str(place / "cache"))

    def call(*arguments: str) -> Done:
        code = run_here(arguments)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@dataclass(frozen=True)
class Run:
    """A run that ended by itself."""

    done: Done
    folder: Path


def only_run(runs: Path) -> Path:
    (folder,) = (runs / "tiny").iterdir()
    return folder


@pytest.fixture(scope="module")
def whole(place: Path) -> Run:
    done = lft(place, "finetune", "tiny.yaml", *SAMPLE)
    assert done.code == 0, done.err
    return Run(done, only_run(place / "runs"))


# --- a run ---------------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_whole_adapter_and_a_silent_stderr(whole: Run) -> None:
    assert whole.done.err == ""
    assert broken_files(whole.folder / "adapter") == []
    assert re.search(r"^step 60/60  loss \d\.\d{3}  lr \S+  [\d,]+ tok/s  eta 0:00  ", whole.done.out, re.MULTILINE)


def test_the_last_line_of_a_run_is_the_command_to_try_it(whole: Run, place: Path) -> None:
    last = whole.done.out.splitlines()[-1]
    assert last == f'try it: lft generate --run {whole.folder.relative_to(place)} "your instruction"'


def test_what_a_run_says_in_a_pipe_holds_no_terminal_codes(whole: Run) -> None:
    told = [line for line in whole.done.out.splitlines() if not line.startswith("  ")]  # samples may hold anything
    assert all(character.isprintable() for line in told for character in line)


@pytest.fixture(scope="module")
def answers(place: Path, whole: Run) -> list[Done]:
    run = str(whole.folder.relative_to(place))
    return at_once(
        lambda: lft(place, "generate", "--run", run, PROMPT, *SHORT),
        lambda: lft(place, "chat", "--run", run, *SHORT, stdin=f"{PROMPT}\n/new\n{PROMPT}\n"),
    )


def test_generate_writes_the_text_and_only_the_text_to_stdout(answers: list[Done]) -> None:
    one = answers[0]
    assert one.code == 0
    assert one.out.strip()
    assert one.err in ("", "(cut at --max-new-tokens 8)\n")


def test_many_prompts_become_json_lines_and_agree_with_one_prompt(
    answers: list[Done], whole: Run, place: Path, here: Here, tmp_path: Path
) -> None:
    one, _ = answers
    (tmp_path / "prompts.txt").write_text(f"{PROMPT}\n\n", encoding="utf-8")
    output = tmp_path / "new folder" / "answers.jsonl"
    files = ("--prompts", str(tmp_path / "prompts.txt"), "--output", str(output))
    many = here("generate", "--adapter", str(whole.folder / "adapter"), *files, *SHORT)
    assert (many.code, many.err) == (0, "")
    assert many.out.splitlines() == ["1 of 1 answered", f"written: {output}"]
    (line,) = output.read_text(encoding="utf-8").splitlines()
    row = json.loads(line)
    assert (row["input"], row["output"]) == (PROMPT, one.out.removesuffix("\n"))


def test_chat_answers_each_line_of_stdin_and_ends_with_it(answers: list[Done]) -> None:
    one, chat = answers
    assert chat.code == 0
    assert chat.out == 2 * (one.out + "\n")
    assert len(chat.err.splitlines()) == 1  # that this format holds one turn
    assert "each message is answered by itself" in chat.err


@pytest.mark.slow
def test_ctrl_d_ends_a_chat_on_a_line_of_its_own(place: Path, whole: Run) -> None:
    pressed: list[str] = []

    def typed(shown: str) -> str | None:
        keys = [f"{PROMPT}\n", "\x04"]
        if shown.count("> ") <= len(pressed) or len(pressed) == len(keys):
            return None
        pressed.append(keys[len(pressed)])
        return pressed[-1]

    done = lft_on_terminal(place, "chat", "--run", str(whole.folder), *SHORT, typed=typed)
    assert done.code == 0
    assert len(pressed) == 2
    assert "Traceback" not in done.out
    assert lines_on_screen(done.out)[-2:] == ["> ", ""]


def test_preview_shows_what_is_in_the_loss(here: Here) -> None:
    preview = here("data", "preview", "tiny.yaml", "--rows", "2")
    assert (preview.code, preview.err) == (0, "")
    assert preview.out.count("[EOI][[") == preview.out.count("</s>]]") == 2
    assert "20 rows in all" in preview.out


def test_audit_reports_both_splits_in_80_columns(here: Here) -> None:
    audit = here("data", "audit", "tiny.yaml")
    assert (audit.code, audit.err) == (0, "")
    assert {"train", "validation", "nothing amiss"} <= set(audit.out.splitlines())
    assert max(map(len, audit.out.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("typed", ["data preview", "data audit", "finetune --dry-run"])
def test_a_process_says_what_the_command_says_and_nothing_more(typed: str, place: Path, here: Here) -> None:
    words = (*typed.split(), "tiny.yaml")
    here(*words)  # once, so that both find the tokens in the cache
    assert lft(place, *words) == here(*words)


# --- signals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_leaves_a_checkpoint_and_the_resumed_run_ends_in_the_same_adapter(
    kind: int, code: int, whole: Run, place: Path
) -> None:
    cut = lft_signalled(place, kind, "step 1/", "finetune", "tiny.yaml", *SAMPLE, f"output.runs=cut-{code}")
    assert (cut.code, cut.err) == (code, "")
    said, command = cut.out.splitlines()[-2:]
    step = re.fullmatch(r"interrupted after step (\d+); go on with:", said)
    assert step, cut.out
    folder = place / command.removeprefix("  lft finetune --resume ")
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"step-{step[1]}"]
    assert int(step[1]) < 20
    assert not (folder / "adapter").exists()
    resumed = lft(place, *command.split()[1:])
    assert (resumed.code, resumed.err) == (0, "")
    assert f"going on from step {step[1]}" in resumed.out
    assert (folder / "adapter" / WEIGHTS).read_bytes() == (whole.folder / "adapter" / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_ctrl_c_pressed_twice_is_130_whichever_step_it_meets(place: Path) -> None:
    pressed = 0

    def typed(shown: str) -> str | None:
        nonlocal pressed
        due = ("step 21/" in shown, "finishing this step" in shown, False)[pressed]
        pressed += due
        return "\x03" if due else None

    done = lft_on_terminal(place, "finetune", "tiny.yaml", "train.save_every=5", "output.runs=twice", typed=typed)
    assert (done.code, pressed) == (130, 2)
    assert "Traceback" not in done.out
    told = re.compile(r"The last checkpoint is step \d+; go on with:|interrupted after step \d+; go on with:")
    assert any(told.match(line) for line in lines_on_screen(done.out))


@pytest.mark.parametrize("saved", [True, False])
def test_what_ends_a_run_at_once_says_what_was_saved_last(
    saved: bool, whole: Run, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lft.train import run

    def ended(inputs: object, report: Report, *_: object, **__: object) -> None:
        if saved:
            report(Saved("checkpoint", whole.folder / "checkpoints" / "step-40"))
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "finetune", ended)
    done = here("finetune", "tiny.yaml")
    assert (done.code, done.err) == (130, "error: interrupted\n")
    go_on = f"The last checkpoint is step 60; go on with: lft finetune --resume {quote(str(whole.folder))}"
    assert done.out.splitlines()[-1] == (go_on if saved else "No checkpoint was saved yet: start the run again")


# --- a terminal ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diverged(place: Path) -> list[str]:
    """What a terminal shows of a run whose loss stops being a number after its first steps."""
    wild = ["train.learning_rate=1e30", "train.max_grad_norm=1e30", "train.warmup_ratio=0", "train.save_every=1"]
    done = lft_on_terminal(place, "finetune", "tiny.yaml", "train.schedule=constant", *wild, "output.runs=wild")
    assert done.code == 5, done.out
    return lines_on_screen(done.out)


def test_an_error_on_a_terminal_begins_on_a_line_of_its_own(diverged: list[str]) -> None:
    errors = [line for line in diverged if "error:" in line]
    assert len(errors) == 1
    assert errors[0].startswith("error: wild/tiny/")
    assert not any("Traceback" in line for line in diverged)


def test_the_line_of_progress_never_runs_into_another(diverged: list[str]) -> None:
    progress = [line for line in diverged if line.startswith("step ")]
    assert progress
    assert all(re.fullmatch(r"step \d+/60  loss \S+  lr \S+  \S+ tok/s  eta \S+  \S+ GiB", line) for line in progress)
    assert any(line.startswith("saved checkpoint: wild/tiny/") for line in diverged)


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of things that cannot be used."""
    folder = tiny_place(tmp_path_factory.mktemp("wrong"))
    (folder / "broken.yaml").write_text("name: [x\n  b: {\n", encoding="utf-8")
    (folder / "binary.yaml").write_bytes(b"name: \x00\xff\xfe")
    (folder / "columns.jsonl").write_text('{"question": "a", "answer": "b"}\n', encoding="utf-8")
    (folder / "empty.jsonl").write_text("", encoding="utf-8")
    (folder / "cut.jsonl").write_text('{"input": "a", "output": "b"}\n{"input": "a', encoding="utf-8")
    weights = (folder / "llama" / "model.safetensors").read_bytes()
    for name, content in (("cut", weights[:-1000]), ("noise", b"\xff" * 4000), ("nothing", b"")):
        shutil.copytree(folder / "llama", folder / name)
        (folder / name / "model.safetensors").write_bytes(content)
    whole = save_tiny_gguf(folder / "whole.gguf").read_bytes()
    (folder / "cut.gguf").write_bytes(whole[:-1000])
    (folder / "noise.gguf").write_bytes(b"\xff" * 4000)
    save_tiny(folder / "plain", "llama", chat=False)
    return folder


@dataclass(frozen=True)
class Mistake:
    """A command line, its exit code, and what its message must hold."""

    typed: tuple[str, ...]
    code: int
    said: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.typed[-2:])


def tune(override: str, *said: str) -> Mistake:
    return Mistake(("finetune", "tiny.yaml", override), 3, said)


MISTAKES = [
    Mistake(("finetune",), 2, ("give a recipe",)),
    Mistake(("finetune", "none.yaml"), 2, ("none.yaml", "no such file")),
    Mistake(("finetune", "broken.yaml"), 2, ("broken.yaml:2:4", "not valid YAML")),
    Mistake(("finetune", "binary.yaml"), 2, ("binary.yaml:1:", "not UTF-8")),
    Mistake(("finetune", "tiny.yaml", "train.epoch=1"), 2, ("epoch", "epochs")),
    Mistake(("finetune", "tiny.yaml", "--resme", "x"), 2, ("--resme", "fix: lft finetune --help")),
    Mistake(("finetune", "--resume", "runs/tiny/none"), 3, ("runs/tiny/none: ", "no run folder", "fix: ")),
    Mistake(("finetune", "--resume", "llama"), 3, ("llama: ", "no run folder", "fix: ")),
    Mistake(("finetune", "tiny.yaml", "--resume", "runs/tiny/none"), 2, ("give a recipe, or --resume",)),
    Mistake(("generate", "--run", "runs/tiny/none", "x"), 3, ("runs/tiny/none: ", "no run folder", "fix: ")),
    Mistake(("generate", "--adapter", "none", "x"), 3, ("none: ", "no such adapter", "fix: ")),
    Mistake(("generate", "--adapter", "llama", "x"), 3, ("llama",)),
    Mistake(("generate", "--adapter", "llama"), 2, ("give one instruction, or --prompts",)),
    Mistake(("generate", "--adapter", "llama", "--prompts", "none.txt"), 2, ("--output",)),
    Mistake(("generate", "--adapter", "x", "--prompts", "none.txt", "--output", "o.jsonl"), 3, ("none.txt",)),
    Mistake(("generate", "x"), 2, ("--run", "--adapter")),
    Mistake(("chat", "--run", "runs/tiny/none"), 3, ("runs/tiny/none: ", "no run folder")),
    Mistake(("data", "audit", "none.yaml"), 2, ("none.yaml", "no such file")),
    Mistake(("data", "preview", "tiny.yaml", "--start", "300"), 2, ("there are 20 rows",)),
    tune("data.train=none.jsonl", "none.jsonl", "no such file", "fix: "),
    tune("data.train=columns.jsonl", "columns.jsonl", "question, answer", "fix: rename the columns"),
    tune("data.train=empty.jsonl", "empty.jsonl: it holds no rows", "fix: "),
    tune("data.train=cut.jsonl", "cut.jsonl:2", "broken JSON", "fix: "),
    tune("base.model=./none", "none: no such file or folder", "fix: "),
    tune("base.model=./cut", "cut/model.safetensors", "truncated", "fix: fetch the file again"),
    tune("base.model=./noise", "noise/model.safetensors", "fix: "),
    tune("base.model=./nothing", "nothing/model.safetensors", "fix: "),
    tune("base.model=./cut.gguf", "cut.gguf", "truncated", "fix: fetch the file again"),
    tune("base.model=./noise.gguf", "noise.gguf", "does not begin with the letters GGUF", "fix: "),
    tune("base.model=package://no_such_package", "no_such_package is not installed", "fix: run `pip install"),
    tune("base.model=no/where", "no/where: offline mode is on", "fix: "),
    tune("data.train=no/where", "no/where: ", "fix: "),
]
QUICK = ("data.train=none.jsonl", "broken.yaml", "runs/tiny/none")  # one that has imported torch, two that have not


def left_behind(folder: Path) -> list[str]:
    """Runs, drafts and reports of faults: what a command line that was refused must not leave. They are removed."""
    kinds = ("runs", "**/.*", "lft-fault-*", "o.jsonl")
    found = [path for kind in kinds for path in folder.glob(kind) if path.suffix != ".lock"]
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path.name for path in found]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_one_message_with_its_exit_code(
    mistake: Mistake, wrong: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(wrong)
    monkeypatch.setenv("LFT_CACHE", str(wrong / "cache"))
    assert run_here(mistake.typed) == mistake.code
    message = one_clear_error(capsys.readouterr().err)
    assert all(part in message for part in mistake.said), message
    assert left_behind(wrong) == []


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(one, id=str(one), marks=() if one.typed[-1] in QUICK else pytest.mark.slow) for one in MISTAKES],
)
def test_a_mistake_is_the_same_message_from_a_process(mistake: Mistake, wrong: Path) -> None:
    done = lft(wrong, *mistake.typed)
    assert done.code == mistake.code
    message = one_clear_error(done.err)
    assert all(part in message for part in mistake.said), message
    assert left_behind(wrong) == []


def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("key", ["base.model", "data.train"])
def test_a_hub_that_does_not_answer_is_one_message(key: str, wrong: Path) -> None:
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}", "HF_HUB_OFFLINE": None, "HF_DATASETS_OFFLINE": None}
    done = lft(wrong, "finetune", "tiny.yaml", f"{key}=some/where", **env)
    assert done.code == 3
    message = one_clear_error(done.err)
    assert message.startswith("error: some/where: the hub ")
    assert "  fix: " in message
    assert left_behind(wrong) == []


# --- runs that cannot go on ----------------------------------------------------------------------------------------


@pytest.fixture
def cut_run(whole: Run, tmp_path: Path) -> Path:
    """A copy of the run as it stood after its second checkpoint."""
    folder = tmp_path / "cut"
    shutil.copytree(whole.folder, folder)
    shutil.rmtree(folder / "adapter")
    shutil.rmtree(folder / "checkpoints" / "step-60")
    return folder


def test_an_unfinished_run_cannot_generate_and_says_so(here: Here, cut_run: Path) -> None:
    done = here("generate", "--run", str(cut_run), "x")
    assert done.code == 3
    message = one_clear_error(done.err)
    assert "this run has no finished adapter" in message
    assert "lft finetune --resume" in message


def test_resuming_without_a_whole_checkpoint_names_why(here: Here, cut_run: Path) -> None:
    for checkpoint in (cut_run / "checkpoints").iterdir():
        (checkpoint / "optimizer.pt").write_bytes(b"")
    done = here("finetune", "--resume", str(cut_run))
    assert done.code == 3
    message = one_clear_error(done.err)
    assert "no checkpoint to go on from: step 40 skipped: optimizer.pt is damaged" in message


def test_resuming_with_other_data_is_refused(here: Here, cut_run: Path, place: Path) -> None:
    data = place / "data.jsonl"
    before = data.read_text(encoding="utf-8")
    data.write_text(before + '{"input": "one", "output": "more", "split": "train"}\n', encoding="utf-8")
    try:
        done = here("finetune", "--resume", str(cut_run))
    finally:
        data.write_text(before, encoding="utf-8")
    assert done.code == 3
    assert re.search(r"cannot go on bit for bit: data\b.* changed since it began", one_clear_error(done.err))
    assert not (cut_run / "adapter").exists()


def test_a_run_that_is_done_can_be_resumed_and_stays_the_same(here: Here, whole: Run, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(whole.folder, folder)
    done = here("finetune", "--resume", str(folder))
    assert (done.code, done.err) == (0, "")
    assert (folder / "adapter" / WEIGHTS).read_bytes() == (whole.folder / "adapter" / WEIGHTS).read_bytes()


def test_an_adapter_whose_base_was_changed_is_refused(here: Here, whole: Run, place: Path, tmp_path: Path) -> None:
    shutil.copytree(whole.folder / "adapter", tmp_path / "adapter")
    save_tiny(tmp_path / "llama", "llama", seed=1)
    weights, kept = place / "llama" / "model.safetensors", tmp_path / "kept"
    shutil.copyfile(weights, kept)
    shutil.copyfile(tmp_path / "llama" / "model.safetensors", weights)
    try:
        done = here("generate", "--adapter", str(tmp_path / "adapter"), "x")
    finally:
        shutil.copyfile(kept, weights)
    assert done.code == 3
    assert str(tmp_path / "adapter") in one_clear_error(done.err)
