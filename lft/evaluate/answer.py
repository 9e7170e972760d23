"""Answers from a tuned model, asked in the format it was trained in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lft.adapters.load import Adapted, load_adapted
from lft.base.decode import Answer, Decoding, OnText, generate
from lft.data.example import Turn
from lft.data.prompts import PROMPT_FILE, PromptFormat, prompt_text, stop_id
from lft.errors import InputError
from lft.files import disk_errors, write_text


@dataclass(frozen=True, slots=True)
class Answerer:
    """A tuned model and the prompt format saved in its adapter."""

    adapted: Adapted
    form: PromptFormat

    @property
    def holds_history(self) -> bool:
        """Whether the format can hold several turns."""
        return self.form.name == "chat"

    def answer(self, prompts: Sequence[str], decoding: Decoding, on_text: OnText | None = None) -> list[Answer]:
        """Answers to instructions, as one batch."""
        return self.reply([(Turn("user", prompt),) for prompt in prompts], decoding, on_text)

    def reply(
        self, conversations: Sequence[tuple[Turn, ...]], decoding: Decoding, on_text: OnText | None = None
    ) -> list[Answer]:
        """Answers to conversations that end with a user turn, as one batch."""
        model, tokenizer = self.adapted.model, self.adapted.tokenizer
        texts = [prompt_text(self.form, turns, tokenizer) for turns in conversations]
        special, stop = self.form.adds_special_tokens, stop_id(self.form, tokenizer)
        return generate(model, tokenizer, texts, decoding, special=special, stop=stop, on_text=on_text)


def open_answerer(folder: Path, cache: Path, notify: Callable[[str], None]) -> Answerer:
    """The model of a run's folder or of an adapter's folder.

    Raises:
        InputError: there is no finished adapter, or it does not belong to its base any more.
    """
    run = folder / "adapter"
    if (folder / "recipe.yaml").is_file() and not run.is_dir():
        raise InputError("this run has no finished adapter", where=str(folder), fix="finish it: lft finetune --resume")
    adapted = load_adapted(run if run.is_dir() else folder, cache, notify)
    form = PromptFormat.from_json((adapted.folder / PROMPT_FILE).read_text(encoding="utf-8"))
    return Answerer(adapted, form)


def read_prompts(path: Path) -> list[str]:
    """Instructions from a file: one a line, or JSON lines with `input`, `instruction` or `prompt`.

    Raises:
        InputError: the file is missing, empty, or a line has no instruction.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the prompts cannot be read ({error})", where=str(path)) from None
    json_lines = path.suffix in (".jsonl", ".json")
    prompts = [
        _instruction(line, f"{path}:{number}") if json_lines else line
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not prompts:
        raise InputError("there is no prompt in this file", where=str(path))
    return prompts


def _instruction(line: str, where: str) -> str:
    try:
        row = json.loads(line)
        return next(str(row[key]) for key in ("input", "instruction", "prompt") if row.get(key))
    except (ValueError, AttributeError, StopIteration):
        raise InputError(
            "no JSON object with an instruction", where=where, fix='write {"input": "..."} on each line'
        ) from None


def answer_file(
    answerer: Answerer, prompts: Sequence[str], output: Path, decoding: Decoding, batch: int
) -> Iterator[int]:
    """Answer every prompt into JSON lines, written whole at the end; yields how many are done.

    Prompts of like length share a batch; the rows come out in the order they went in.
    """
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        made = answerer.answer([prompts[index] for index in chosen], decoding)
        answers |= dict(zip(chosen, made, strict=True))
        yield len(answers)
    rows = (
        {"input": prompt, "output": answers[i].text, "tokens": answers[i].tokens, "finished": answers[i].finished}
        for i, prompt in enumerate(prompts)
    )
    write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
