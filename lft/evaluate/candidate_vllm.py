"""Candidates that vLLM answers for: a model as it is, or one adapter of plain low-rank changes on its base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lft.adapters.export.opened import Opened
from lft.adapters.export.peft import export_peft
from lft.adapters.export.serving import vllm_rank
from lft.ask.engine import Engine, Lora, open_engine, vllm_version
from lft.base.decode import Asking, stop_ids
from lft.base.device import device_and_dtype
from lft.base.fingerprint import fingerprint
from lft.base.load import load_tokenizer
from lft.base.resolve import BaseRef, named_base, resolve_base
from lft.data.newlines import write
from lft.data.prompts import PROMPT_FILE, PromptFormat, PromptName, stop_id
from lft.errors import RecipeError
from lft.evaluate.candidate import Candidate, asker, digest_of, form_of, require_instruction, room_of
from lft.evaluate.result import Subject


def bare_in_vllm(written: str, prompt: PromptName | None, template: str, label: str, cache: Path,
                 notify: Callable[[str], None]) -> Candidate:  # fmt: skip
    """A model as it is; see ``candidate.bare``.

    Raises:
        RecipeError, InputError: as ``candidate.bare``; or it is an encoder-decoder.
        MachineError: vLLM is not installed, or cannot start here.
    """
    vllm_version()
    require_instruction(template)
    ref = resolve_base(named_base(written), cache, notify)
    tokenizer = load_tokenizer(ref)
    form = form_of(prompt, tokenizer, False)
    return _candidate(ref, tokenizer, form, None, template, (label, (), {}), cache)


def adapter_in_vllm(opened: Opened, label: str, cache: Path) -> Candidate:
    """An adapter or a stack on its base, as one LoRA.

    Raises:
        InputError: it is more than low-rank changes (rows of tokens, whole tensors), or of too high a rank.
        MachineError: vLLM is not installed, or cannot start here.
    """
    from transformers import AutoTokenizer

    vllm_version()
    folder = opened.adapter.folder
    rank = vllm_rank(opened.stacked.delta, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    form = PromptFormat.from_json((folder / PROMPT_FILE).read_text(encoding="utf-8"))
    place = cache / "vllm" / opened.adapter.digest[:24]
    if not place.is_dir():
        export_peft(opened.stacked, place)
    known = {"adapter": opened.adapter.digest}
    lora = Lora(opened.name.rpartition("/")[2] or "adapter", place, rank)
    return _candidate(opened.base, tokenizer, form, lora, "", (label, (opened.name,), known), cache)


def _candidate(
    ref: BaseRef, tokenizer: Any, form: PromptFormat, lora: Lora | None, template: str,
    who: tuple[str, tuple[str, ...], dict[str, Any]], cache: Path,
) -> Candidate:  # fmt: skip
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(ref.folder)
    if getattr(config, "is_encoder_decoder", False):
        raise RecipeError("vLLM runs decoders only", where=ref.written, fix="leave out --engine vllm")
    try:
        endings = GenerationConfig.from_pretrained(ref.folder)
    except OSError:  # a model without generation_config.json
        endings = GenerationConfig.from_model_config(config)
    dtype = str(device_and_dtype("auto").dtype).removeprefix("torch.")
    label, names, known = who
    found = fingerprint(ref.folder, cache)
    known |= {
        "base": found.weights,
        "tokenizer": found.tokenizer,
        "template": template,
        "engine": f"vllm {vllm_version()}",
    }
    subject = Subject(
        label or ref.public.removeprefix("./"), digest_of(known, SimpleNamespace(dtype=dtype), form),
        "adapters" if lora else "model", ref.public, names, "own" if template else form.name,
    )  # fmt: skip
    stop = stop_id(form, tokenizer)
    stops = tuple(stop_ids(SimpleNamespace(generation_config=endings), tokenizer, stop))
    asking = Asking(form.adds_special_tokens, stop, form.restored)
    engine = Engine(subject.identity, open_engine(ref.folder, dtype, lora), tokenizer, asking, stops, lora)
    room = room_of(config)
    return Candidate(subject, engine, asker(form, tokenizer, template), room, lambda text: write(text, form.newlines))
