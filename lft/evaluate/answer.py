"""Answers from a tuned model, asked in the format it was trained in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lft.adapters.load import Adapted, load_adapted, load_tuned
from lft.base.attach import Find, nowhere
from lft.base.decode import Answer, Asking, Decoding, OnText, generate
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

    def answer(self, prompts: Sequence[Prompt], decoding: Decoding, on_text: OnText | None = None) -> list[Answer]:
        """Answers to instructions, as one batch."""
        texts = [
            prompt_text(self.form, (Turn("user", one.instruction),), self.adapted.tokenizer, one.context)
            for one in prompts
        ]
        return self._continued(texts, decoding, on_text)

    def reply(
        self, conversations: Sequence[tuple[Turn, ...]], decoding: Decoding, on_text: OnText | None = None
    ) -> list[Answer]:
        """Answers to conversations that end with a user turn, as one batch."""
        texts = [prompt_text(self.form, turns, self.adapted.tokenizer) for turns in conversations]
        return self._continued(texts, decoding, on_text)

    def _continued(self, texts: list[str], decoding: Decoding, on_text: OnText | None) -> list[Answer]:
        model, tokenizer = self.adapted.model, self.adapted.tokenizer
        asking = Asking(self.form.adds_special_tokens, stop_id(self.form, tokenizer), self.form.restored)
        return generate(model, tokenizer, texts, decoding, asking, on_text=on_text)


def open_answerer(
    folder: Path, cache: Path, notify: Callable[[str], None], find: Find = nowhere, base: str | None = None
) -> Answerer:
    """The model of a run's folder, of an adapter's folder, or of a fully tuned model's folder.

    Args:
        folder: one of these.
        cache: where converted bases and fingerprints are kept.
        notify: told what takes long.
        find: asked for an adapter below it that is not where it was (a registry).
        base: where the adapter's base is, if not where it was.

    Raises:
        InputError: there is no finished adapter or model, or it does not belong to its base any more.
    """
    made = next((part for part in (folder / "adapter", folder / "model") if part.is_dir()), None)
    if (folder / "recipe.yaml").is_file() and made is None:
        raise InputError(
            "this run has no finished adapter or model",
            where=str(folder),
            fix=f"finish it: lft finetune --resume {folder}",
        )
    tuned = made or folder
    whole = (tuned / "config.json").is_file()
    adapted = load_tuned(tuned, notify) if whole else load_adapted(tuned, cache, notify, find=find, base=base)
    form = PromptFormat.from_json((adapted.folder / PROMPT_FILE).read_text(encoding="utf-8"))
    return Answerer(adapted, form)


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instruction and, where there is one, the material it talks about (Alpaca's ``input``)."""

    instruction: str
    context: str = ""


def read_prompts(path: Path) -> list[Prompt]:
    """Instructions from a file: one a line, or JSON lines with `input`, `prompt` or `instruction` (then `input` is
    its context).

    Raises:
        InputError: the file is missing, empty, or a line has no instruction.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # splitlines would cut at U+2028 inside a text
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the prompts cannot be read ({error})", where=str(path)) from None
    json_lines = path.suffix in (".jsonl", ".json")
    prompts = [
        _prompt(line, f"{path}:{number}") if json_lines else Prompt(line.rstrip("\r"))
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not prompts:
        raise InputError("there is no prompt in this file", where=str(path))
    return prompts


def _prompt(line: str, where: str) -> Prompt:
    try:
        row = json.loads(line)
        key = next(key for key in ("instruction", "input", "prompt") if row.get(key) and str(row[key]).strip())
        context = (row.get("input") or "") if key == "instruction" else ""
        if isinstance(row[key], str) and isinstance(context, str):
            return Prompt(row[key], context)
    except (ValueError, AttributeError, StopIteration):
        pass
    raise InputError("no JSON object with an instruction", where=where, fix='write {"input": "..."} on each line')


def answer_file(
    answerer: Answerer, prompts: Sequence[Prompt], output: Path, decoding: Decoding, batch: int
) -> Iterator[int]:
    """Answer every prompt into JSON lines, written whole at the end; yields how many are done.

    Prompts of like length share a batch; the rows come out in the order they went in.
    """
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].instruction + prompts[index].context))
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        made = answerer.answer([prompts[index] for index in chosen], decoding)
        answers |= dict(zip(chosen, made, strict=True))
        yield len(answers)
    rows = (_row(prompt, answers[index]) for index, prompt in enumerate(prompts))
    write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _row(prompt: Prompt, answer: Answer) -> dict[str, str | int | bool]:
    asked = {"instruction": prompt.instruction, "input": prompt.context} if prompt.context else {}
    asked = asked or {"input": prompt.instruction}
    return {**asked, "output": answer.text, "tokens": answer.tokens, "finished": answer.finished}
