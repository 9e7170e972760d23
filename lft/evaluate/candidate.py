"""Who answers: a tuned model, a bare base, an endpoint. Each knows how it is asked, and what it is by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from lft.ask.local import Local
from lft.ask.request import Message, Model
from lft.base.decode import Asking
from lft.base.fingerprint import fingerprint, weights_fingerprint
from lft.base.identity import WEIGHTS, identity
from lft.base.resolve import named_base, resolve_base
from lft.data.example import Turn
from lft.data.newlines import write
from lft.data.prompts import PromptFormat, PromptName, prompt_format, prompt_text, stop_id
from lft.errors import RecipeError
from lft.evaluate.answer import Answerer
from lft.evaluate.item import Item
from lft.evaluate.result import Subject
from lft.literal import protected

INSTRUCTION: Final = "{instruction}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subject, the model that answers for it, and what that is asked for an item.

    ``room`` is how many tokens prompt and answer may have together; None where nobody knows. ``written`` is an answer
    as the prompt format writes it (line breaks).
    """

    subject: Subject
    model: Model
    asked: Callable[[Item], tuple[Message, ...] | str]
    room: int | None = None
    written: Callable[[str], str] = str


def tuned(answerer: Answerer, label: str, kind: Any, adapters: tuple[str, ...], cache: Path, batch: int) -> Candidate:
    """A tuned model in this process, asked in the prompt format saved in its adapter.

    Args:
        answerer: the model.
        label: what people call it.
        kind: "adapters" or "model".
        adapters: names for people of what is active.
        cache: where fingerprints are kept.
        batch: rows at once.
    """
    adapted, form = answerer.adapted, answerer.form
    bound = adapted.binding
    known: dict[str, Any] = {
        **_content(adapted.folder, cache),
        "base": bound.weights,
        "tokenizer": bound.tokenizer,
        "below": [[one.weights, one.weight, one.layers, one.sum, one.rows] for one in bound.below],
        "stack": bound.stack,
        "over": bound.over,
    }
    subject = Subject(label, digest_of(known, adapted.model, form), kind, bound.base, adapters, form.name)
    return _local(subject, adapted.model, adapted.tokenizer, form, batch)


def bare(written: str, prompt: PromptName | None, template: str, label: str, cache: Path, batch: int,
         notify: Callable[[str], None]) -> Candidate:  # fmt: skip
    """A model as it is: hub id, folder, file.gguf or package://.

    Args:
        written: which.
        prompt: the format it is asked in; None: its chat template where it has one, else plain.
        template: its own wording around ``{instruction}`` instead of a format; empty for none.
        label: what people call it; empty takes its name.
        cache: where converted bases and fingerprints are kept.
        batch: rows at once.
        notify: told what takes long.

    Raises:
        RecipeError: the template has no ``{instruction}``, or an encoder-decoder is asked in a decoder's format.
        InputError: the model is missing or unusable, or has no chat template.
    """
    from lft.base.decode import is_paired
    from lft.base.device import device_and_dtype
    from lft.base.load import load_model, load_tokenizer

    require_instruction(template)
    ref = resolve_base(named_base(written), cache, notify)
    placed = device_and_dtype("auto")
    model = load_model(ref, placed.dtype, placed.device, notify=notify).eval()
    tokenizer = load_tokenizer(ref)
    form = form_of(prompt, tokenizer, is_paired(model))
    found = fingerprint(ref.folder, cache)
    known = {"base": found.weights, "tokenizer": found.tokenizer, "template": template}
    subject = Subject(
        label or ref.public.removeprefix("./"),
        digest_of(known, model, form),
        "model",
        ref.public,
        (),
        "own" if template else form.name,
    )
    return _local(subject, model, tokenizer, form, batch, template)


def served_identity(url: str, name: str, form: str, time: int = 1) -> str:
    """What an endpoint is known by; nobody sees its weights, so asking it anew is another ``time``."""
    return hashlib.sha256(json.dumps([url, name, form, *([time] if time > 1 else [])]).encode()).hexdigest()


def served(model: Model, identity_: str, label: str = "") -> Candidate:
    """A model behind an endpoint: one message with the instruction, or the instruction as a text to go on with."""

    def asked(item: Item) -> tuple[Message, ...] | str:
        text = item.asked
        return (Message("user", text),) if model.form == "chat" else f"{text}\n\n"

    return Candidate(Subject(label or model.name, identity_, "endpoint", prompt=model.form), model, asked)


def form_of(prompt: PromptName | None, tokenizer: Any, paired: bool) -> PromptFormat:
    """The format that a model without adapters is asked in. Raises RecipeError for a decoder's of another kind."""
    if paired:
        if prompt not in (None, "plain"):
            raise RecipeError(
                f"an encoder-decoder is asked with the bare instruction, not as {prompt}", fix="leave out --prompt"
            )
        return PromptFormat("plain", encoder_decoder=True)
    chat = isinstance(getattr(tokenizer, "chat_template", None), str)
    return prompt_format(prompt or ("chat" if chat else "plain"), "text", tokenizer)


def _local(
    subject: Subject, model: Any, tokenizer: Any, form: PromptFormat, batch: int, template: str = ""
) -> Candidate:
    asking = Asking(form.adds_special_tokens, stop_id(form, tokenizer), form.restored)
    local = Local(subject.identity, model, tokenizer, batch=batch, ready=asking)
    room = room_of(getattr(model, "config", None))
    return Candidate(subject, local, asker(form, tokenizer, template), room, lambda text: write(text, form.newlines))


def require_instruction(template: str) -> None:
    """Raise RecipeError for a wording (empty for none) that has no ``{instruction}``."""
    if template and INSTRUCTION not in template:
        raise RecipeError("the template does not say where the instruction goes", fix=f"write {INSTRUCTION} in it")


def asker(form: PromptFormat, tokenizer: Any, template: str) -> Callable[[Item], str]:
    """What a model is asked for an item, in its format or (where it is not empty) in a wording of its own."""
    before, _, after = template.partition(INSTRUCTION)

    def asked(item: Item) -> str:
        if template:
            return before + protected(item.asked, tokenizer) + after
        return prompt_text(form, (Turn("user", item.instruction),), tokenizer, item.context)

    return asked


def room_of(config: Any) -> int | None:
    """Positions that a model was made for; those of an encoder-decoder are relative."""
    rows = None if getattr(config, "is_encoder_decoder", False) else getattr(config, "max_position_embeddings", None)
    return rows if isinstance(rows, int) else None


def _content(folder: Path, cache: Path) -> dict[str, str]:
    """What lies in the folder of an adapter, a whole model, or (nothing of its own) a stack."""
    if (folder / WEIGHTS).is_file():
        return {"adapter": identity(folder).digest}
    return {"model": weights_fingerprint(folder, cache)} if (folder / "config.json").is_file() else {}


def digest_of(known: dict[str, Any], model: Any, form: PromptFormat) -> str:
    """All that decides what is said, but for the item and the decoding; half precision says other things than full."""
    all_of_it = known | {"form": asdict(form), "dtype": str(getattr(model, "dtype", ""))}
    return hashlib.sha256(json.dumps(all_of_it, sort_keys=True).encode()).hexdigest()
