"""Prompt formats: how an example becomes text, and which parts of that text are trained on.

The same object renders training text and the prompt at generation, and travels inside the adapter, so that a model is
never asked in another format than the one it learnt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from lft.data.example import Example, Turn
from lft.data.newlines import NEWLINE, Newlines, Restored, newlines_for, write
from lft.data.pairs import require_pair_settings
from lft.errors import InputError
from lft.literal import protected, special_tokens
from lft.recipe.schema import Data

EOI = "[EOI]"
PROMPT_FILE = "prompt_format.json"  # in an adapter's folder
PromptName = Literal["longform-eoi", "plain", "alpaca", "chat"]

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{context}\n\n### Response:\n"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text that is either trained on or only read."""

    text: str
    supervised: bool


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How instruction and output are written.

    longform-eoi  "{instruction} [EOI]" + output       one space before [EOI], none after (LongForm's model cards)
    plain         "{instruction}\\n\\n" + output       decoder models need a border; T5 gets the bare instruction
    alpaca        Stanford Alpaca's two templates, with and without an input
    chat          the tokenizer's chat template, kept here as text

    Outside chat, instruction and output are stripped of outer white space, so the border is the same in every row.
    ``encoder_decoder`` says that prompt and answer lie on two sides, with no border between them; ``newlines`` how line
    breaks are written for a tokenizer that has none.
    """

    name: PromptName
    eoi: Literal["token", "text"] = "token"
    chat_template: str | None = None
    encoder_decoder: bool = False
    newlines: Newlines = "kept"
    version: int = 1

    @property
    def added_tokens(self) -> tuple[str, ...]:
        """Tokens that the tokenizer must know as one."""
        eoi = (EOI,) if self.name == "longform-eoi" and self.eoi == "token" else ()
        return (*eoi, NEWLINE) if self.newlines == "token" else eoi

    @property
    def restored(self) -> Restored:
        """Turns decoded text into the text that was meant."""
        return Restored(self.newlines)

    @property
    def adds_special_tokens(self) -> bool:
        """Whether the tokenizer adds BOS itself; a chat template writes it into the text."""
        return self.name != "chat"

    def to_json(self) -> str:
        """The format as JSON, as it is saved in an adapter."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> PromptFormat:
        """Read a saved format; a key or a version this code does not know is an error."""
        try:
            fields: dict[str, Any] = json.loads(text)
            found = cls(**fields)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"the saved prompt format cannot be read ({error})", fix="use the lft version that wrote it"
            ) from None
        known = found.name in get_args(PromptName) and found.eoi in ("token", "text")
        if found.version != 1 or not known or found.newlines not in get_args(Newlines):
            raise InputError(
                f"prompt format {found.name!r} version {found.version} "
                f"(eoi {found.eoi!r}, newlines {found.newlines!r}) is unknown",
                fix="upgrade lft to a newer version",
            )
        return found


def recipe_format(data: Data, tokenizer: Any, encoder_decoder: bool) -> PromptFormat:
    """The format that a recipe means for its base.

    Raises:
        RecipeError: a key asks of an encoder-decoder what only decoders can do, or newlines where there is no need.
        InputError: the tokenizer has no chat template, or does not keep the newline marker.
    """
    if encoder_decoder:
        require_pair_settings(data)
    form = prompt_format(data.prompt, data.eoi, tokenizer)
    return replace(form, encoder_decoder=encoder_decoder, newlines=newlines_for(data.newlines, tokenizer))


def prompt_format(name: PromptName, eoi: Literal["token", "text"], tokenizer: Any) -> PromptFormat:
    """The format that a recipe names; chat takes the tokenizer's template with it.

    Raises:
        InputError: the tokenizer has no chat template.
    """
    if name != "chat":
        return PromptFormat(name, eoi if name == "longform-eoi" else "token")
    template = getattr(tokenizer, "chat_template", None)
    if not isinstance(template, str):
        raise InputError(
            "data.prompt is chat, but the base's tokenizer has no chat template",
            fix="use data.prompt: longform-eoi, or a base with a chat template (an -Instruct model)",
        )
    return PromptFormat("chat", chat_template=template)


def prompt_text(form: PromptFormat, turns: Sequence[Turn], tokenizer: Any, context: str = "") -> str:
    """The text before the answer, for turns that end with a user turn.

    What the turns say is protected (``lft.literal``): it never becomes a special token.
    """
    said, material = _protected(turns, tokenizer), protected(context, tokenizer)
    return write(_prompt_text(form, said, tokenizer, material), form.newlines)


def chat_text(form: PromptFormat, turns: Sequence[Turn], tokenizer: Any, *, answer_next: bool) -> str:
    """A conversation as the format writes it, nothing protected: what a server's own template must render.

    Raises:
        InputError: the format has no such conversation.
    """
    if form.name == "chat":
        return _chat_text(form, turns, tokenizer, answer_next=answer_next)
    if not answer_next:
        raise InputError(f"{form.name} writes prompts alone")
    return _prompt_text(form, turns, tokenizer, "")


def _protected(turns: Sequence[Turn], tokenizer: Any) -> tuple[Turn, ...]:
    return tuple(replace(turn, content=protected(turn.content, tokenizer)) for turn in turns)


def _prompt_text(form: PromptFormat, turns: Sequence[Turn], tokenizer: Any, context: str) -> str:
    if form.name == "chat":
        return _chat_text(form, turns, tokenizer, answer_next=True, context=context)
    instruction = _single_instruction(form, turns)
    if form.name == "alpaca":
        template = ALPACA_WITH_INPUT if context.strip() else ALPACA
        return template.format(instruction=instruction, context=context.strip())
    if context.strip():
        instruction = f"{instruction}\n\n{context.strip()}"
    if form.encoder_decoder:
        return instruction
    return f"{instruction} {EOI}" if form.name == "longform-eoi" else f"{instruction}\n\n"


def render(form: PromptFormat, example: Example, tokenizer: Any) -> tuple[Piece, ...]:
    """An example as pieces of text; EOS is added by the tokeniser, except in chat, whose template writes it.

    What the example says is protected (``lft.literal``), as in ``prompt_text``.

    Raises:
        InputError: the example does not fit the format (several answers outside chat, no answer at the end).
    """
    if not example.turns or example.turns[-1].role != "assistant":
        raise InputError("an example must end with the assistant's answer")
    turns, context = _protected(example.turns, tokenizer), protected(example.context, tokenizer)
    if form.name == "chat":
        pieces = _chat_pieces(form, replace(example, turns=turns, context=context), tokenizer)
        return tuple(Piece(write(piece.text, form.newlines), piece.supervised) for piece in pieces)
    prompt = write(_prompt_text(form, turns[:-1], tokenizer, context), form.newlines)
    return (Piece(prompt, False), Piece(write(turns[-1].content.strip(), form.newlines), True))


def _single_instruction(form: PromptFormat, turns: Sequence[Turn]) -> str:
    system = [turn.content.strip() for turn in turns if turn.role == "system"]
    users = [turn.content.strip() for turn in turns if turn.role == "user"]
    if len(users) != 1 or len(system) + len(users) != len(turns):
        raise InputError(
            f"a conversation of {len(turns) + 1} turns cannot be written as {form.name}",
            fix="use data.prompt: chat, which holds several turns",
        )
    return "\n\n".join([*system, users[0]])


def _chat_text(
    form: PromptFormat, turns: Sequence[Turn], tokenizer: Any, *, answer_next: bool, context: str = ""
) -> str:
    from jinja2 import TemplateError

    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    if context.strip():
        last_user = max(index for index, turn in enumerate(turns) if turn.role == "user")
        messages[last_user]["content"] += f"\n\n{context.strip()}"
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, chat_template=form.chat_template, tokenize=False, add_generation_prompt=answer_next
            )
        )
    except TemplateError as error:  # many templates refuse a system turn, or roles that do not take turns
        raise InputError(
            f"the chat template refuses this conversation ({error})",
            fix="change the turns, or use another data.prompt",
        ) from None


def _chat_pieces(form: PromptFormat, example: Example, tokenizer: Any) -> tuple[Piece, ...]:
    """Each answer and its end-of-turn token is supervised; all else is read only, and so is an empty answer.

    Of an empty answer only the stop token would be trained: a model would learn to say nothing.
    """
    pieces: list[Piece] = []
    written = ""
    for index, turn in enumerate(example.turns):
        if turn.role != "assistant":
            continue
        before = _chat_text(form, example.turns[:index], tokenizer, answer_next=True, context=example.context)
        after = _chat_text(form, example.turns[: index + 1], tokenizer, answer_next=False, context=example.context)
        if not (before.startswith(written) and after.startswith(before)):
            raise InputError(
                "the chat template rewrites earlier turns, so the answer's tokens cannot be told apart",
                fix="use data.prompt: longform-eoi, or a base whose template only appends",
            )
        answer, rest = _split_after_stop(after[len(before) :], turn.content, tokenizer)
        pieces += [Piece(before[len(written) :], False), Piece(answer, bool(turn.content.strip()))]
        written = after[: len(after) - len(rest)]
    return tuple(pieces)


def stop_id(form: PromptFormat, tokenizer: Any) -> int | None:
    """The token that the chat template writes behind an answer, which generation must stop at; None outside chat.

    It need not be EOS: Qwen2.5's base model ends turns with <|im_end|> and texts with <|endoftext|>.
    """
    if form.name != "chat":
        return None
    probe = Example((Turn("user", "Hello"), Turn("assistant", "Hi")))
    written = render(form, probe, tokenizer)[-1].text
    ending = next((token for token in special_tokens(tokenizer) if written.endswith(token)), None)
    return None if ending is None else special_tokens(tokenizer)[ending]


def _split_after_stop(body: str, content: str, tokenizer: Any) -> tuple[str, str]:
    """Cut what the template wrote for an answer behind its first special token: (answer with its stop, rest)."""
    start = max(body.find(content.strip()), 0) + len(content.strip())
    ends = [body.find(token, start) + len(token) for token in special_tokens(tokenizer) if body.find(token, start) >= 0]
    cut = min(ends, default=len(body))
    return body[:cut], body[cut:]
