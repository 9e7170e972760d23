"""`lft adapters export`: an adapter where it is used: merged into its base, as PEFT, GGUF, or for a server."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lft.cli.adapters_common import LockedOption, LockFileOption, amount
from lft.cli.adapters_common import opened as registry
from lft.cli.adapters_merge import BaseOfOption, FilesOption, SettingsArgument, Whose, is_merge, plan_of
from lft.cli.adapters_sign import IdentityOption, IssuerOption, KeyOption, PolicyOption, Wanted, wanted_of
from lft.cli.common import cache_folder, quiet_libraries

if TYPE_CHECKING:
    from lft.adapters.export.edits import Seen
    from lft.adapters.export.merged import Merged
    from lft.adapters.export.ollama import Modelfile, Said
    from lft.adapters.export.opened import Opened, Place
    from lft.adapters.store.layout import Store

FORMS: Final = ("merged", "peft", "gguf", "gguf-lora", "ollama", "vllm", "sglang", "diff")
MERGES: Final = ("merged", "gguf", "ollama", "diff")
_WORST: Final = 3
_WORTH_TELLING: Final = 0.005


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody typed: an adapter or a merge, in which form, and where to; what an adapter must be to be taken."""

    written: str
    settings: list[str]
    to: str
    out: Path
    wanted: Wanted


@dataclass(frozen=True, slots=True, eq=False)
class Writing:
    """How a merged model is written: dtype (None: the base's), files at once, how training saw the base."""

    dtype: str | None
    workers: int
    seen: Seen | None


def export(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="ADAPTER|EXPRESSION|FILE",
            help='a name of the registry, a folder; for models also "0.7*de + 0.3*recipes", or a .yaml with merge:',
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORM", help=", ".join(FORMS))],
    out: Annotated[Path, typer.Option("--out", metavar="PLACE", help="a new folder; for gguf forms a new file")],
    settings: SettingsArgument = None,
    base: Annotated[str | None, typer.Option(help="the base: hub id, folder; else the one it was trained on")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16, bfloat16; else the base's own")] = None,
    base_gguf: Annotated[
        str | None, typer.Option("--from", metavar="GGUF", help="ollama: the base's GGUF, or its name there")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="compress to this rank; the error is printed")] = None,
    merge_base: Annotated[
        str | None, typer.Option(metavar="WHICH", help="of a QLoRA: the base as trained (quantized), or the original")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="files of the model in work at once")] = 2 * (os.cpu_count() or 1),
    allow_mismatch: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="go on where the base differs from this level on: L1 to L4")
    ] = None,
    files_of: FilesOption = None,
    base_of: BaseOfOption = None,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
    policy: PolicyOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    issuer: IssuerOption = None,
) -> None:
    """Write an adapter, with all that it was trained upon, in the form that its user reads.

    A merge that gives full matrices (TIES, DARE ...) is written straight into its base, without being cut to a rank.
    """
    from lft.adapters.fit import level_of
    from lft.base.diff_files import require_new
    from lft.errors import RecipeError
    from lft.files import sweep_drafts

    if to not in FORMS:
        raise RecipeError(f"there is no form {to!r}", where="--to", fix=f"one of {', '.join(FORMS)}")
    _require_meant(to, base_gguf, merge_base)
    quiet_libraries()
    code, allow = _dtype(dtype), level_of(allow_mismatch) if allow_mismatch is not None else None
    wanted = wanted_of(locked, lock_file, policy, key, identity, issuer)
    asked = Asked(adapter, settings or [], to, out, wanted)
    require_new(out)
    sweep_drafts(out.absolute())
    whole = _compressed(_opened(asked, base, allow, Whose(files_of, base_of)), rank)
    merges = to in MERGES and (to != "ollama" or base_gguf is None)
    _write(whole, asked, Writing(code, workers, _seen(whole, merge_base) if merges else None), base_gguf)


def _write(whole: Opened, asked: Asked, writing: Writing, base_gguf: str | None) -> None:
    to, out = asked.to, asked.out
    if to == "merged":
        _show_merged(_merged(whole, out, writing), out)
    elif to == "gguf-lora":
        _gguf_lora(whole, out, writing.dtype, out)
        typer.echo(f"use it: llama-cli -m BASE.gguf --lora {out}")
    elif to in ("gguf", "diff"):
        _through_merged(whole, out, writing, to)
    elif to == "ollama":
        _ollama(whole, out, writing, base_gguf)
    else:
        _peft(whole, out, to)


def _require_meant(to: str, base_gguf: str | None, merge_base: str | None) -> None:
    """Raise RecipeError for an option that this form would ignore."""
    from lft.errors import RecipeError

    if base_gguf is not None and to != "ollama":
        raise RecipeError(f"--to {to} takes no base in GGUF", where="--from", fix="leave it out; --base names the base")
    if merge_base is not None and (to not in MERGES or base_gguf is not None):
        raise RecipeError("nothing is merged into a base here", where="--merge-base", fix="leave it out")


def _opened(asked: Asked, base: str | None, allow: int | None, whose: Whose) -> Opened:
    """An adapter by its name, or a merge that somebody wrote instead of one."""
    from lft.adapters.export.opened import open_merge, open_written
    from lft.adapters.store.stacks import place_in
    from lft.adapters.unstack import unstacked
    from lft.errors import RecipeError

    store, written, settings = registry(), asked.written, asked.settings
    if not is_merge(written, settings):
        if whose != Whose(None, None):
            raise RecipeError("--files-of and --base-of choose among the adapters of a merge", fix="leave them out")
        return open_written(written, base, _place(asked, store, [written]), allow)
    if asked.to not in MERGES:
        raise RecipeError(
            f"--to {asked.to} takes an adapter, and this is a merge that was not made one",
            where=written,
            fix='make it one first: lft adapters merge "..." --name you/name, then export that',
        )
    plan = plan_of(written, settings)
    place = _place(asked, store, [term.ref for term in plan.inputs])
    plan = unstacked(plan, place_in(store, place.folder_of, cache_folder()))
    return open_merge(plan, asked.out.stem, base, place, allow, files_of=whose.files, base_of=whose.base)


def _place(asked: Asked, store: Store, refs: Iterable[str]) -> Place:
    """Where adapters are, once the signatures of those that were written are checked: a stack's covers its parts."""
    from lft.adapters.export.opened import Place
    from lft.adapters.store.checkout import finder
    from lft.base.places import or_remembered

    def folder(written: str) -> Path:
        return asked.wanted.folder(written, store)

    for ref in refs:
        asked.wanted.signed(ref, store, typer.echo)
    return Place(folder, or_remembered(finder(store), cache_folder()), cache_folder(), typer.echo)


def _dtype(written: str | None) -> str | None:
    from lft.errors import RecipeError

    known = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    if written is not None and written not in known:
        raise RecipeError(f"there is no dtype {written!r} here", where="--dtype", fix=f"one of {', '.join(known)}")
    return known[written] if written else None


def _compressed(opened: Opened, rank: int | None) -> Opened:
    from lft.adapters.export.peft import compressed
    from lft.errors import RecipeError

    if rank is None:
        return opened
    if opened.certificate is not None:
        raise RecipeError("a merge is cut by its own setting", where="--rank", fix=f"write rank={rank} behind it")
    delta, errors = compressed(opened.stacked.delta, rank)
    if errors:
        worst = max(errors, key=errors.__getitem__)
        typer.echo(f"compressed to rank {rank}: at most {errors[worst]:.2%} of a change left out, in {worst}")
    return replace(opened, stacked=replace(opened.stacked, delta=delta))


def _seen(opened: Opened, written: str | None) -> Seen | None:
    from lft.adapters.export.quantized import seen_by
    from lft.errors import RecipeError

    binding = opened.adapter.binding
    if binding is None or binding.quantize is None:
        if written is not None:
            raise RecipeError("its base was not quantized in training", where="--merge-base", fix="leave it out")
        return None
    if written not in ("trained", "original"):
        raise RecipeError(
            f"it was trained on the base in {binding.quantize}: say what it is to be merged into",
            where="--merge-base",
            fix="trained: the base with the rounding that training saw; original: the better base, whose own rounding "
            "the adapter never saw; either way the report compares the two",
        )
    return seen_by(binding, opened.base.folder, "trained" if written == "trained" else "original")


def _merged(opened: Opened, out: Path, writing: Writing) -> Merged:
    from lft.adapters.export.merged import export_merged

    files = opened.adapter.files
    has_tokenizer = files is not None and (files.of("tokenizer") or files.of("template"))
    folder = opened.adapter.folder
    return export_merged(
        opened.base.folder,
        opened.stacked.delta,
        out,
        dense=opened.dense,
        tokenizer=folder if has_tokenizer else None,
        rows=opened.rows,
        dtype=writing.dtype,
        seen=writing.seen,
        workers=writing.workers,
        beside=_beside(opened, writing),
    )


def _through_merged(opened: Opened, out: Path, writing: Writing, to: str) -> None:
    """Forms that are made of the merged model, which is written beside them and removed again."""
    from lft.adapters.export.gguf_model import export_gguf
    from lft.base.diff import make_diff
    from lft.base.resolve import resolve_base
    from lft.files import work_folder
    from lft.recipe.schema import Base

    with work_folder(out.absolute()) as draft:
        model = draft / "model"
        _show_merged(_merged(opened, model, writing), None)
        if to == "gguf":
            made = export_gguf(model, out, opened.name)
            typer.echo(f"model: {made.file} ({amount(made.size)}, {made.tensors} tensors, {made.architecture})")
            return
        tuned = resolve_base(Base(model=str(model)), cache_folder(), typer.echo)
        found = make_diff(opened.base, tuned, out, cache_folder(), typer.echo)
    typer.echo(f"difference: {out} ({amount(found.stored_bytes)}, {found.changed} tensors); see lft base diff apply")


def _beside(opened: Opened, writing: Writing) -> dict[str, str]:
    """Card and prompt format go along: a merged model is asked as its adapter was; of a merge also its certificate."""
    from lft.adapters.certificate import CERTIFICATE_FILE
    from lft.adapters.export.model_card import CARD_FILE, facts_of, model_card
    from lft.data.prompts import PROMPT_FILE

    merged_into = "" if writing.seen is None else "trained" if writing.seen.used else "original"
    found = {CARD_FILE: model_card(facts_of(opened, registry(), merged_into))}
    file = opened.adapter.folder / PROMPT_FILE
    if file.is_file():
        found[PROMPT_FILE] = file.read_text(encoding="utf-8")
    if opened.certificate is not None:
        found[CERTIFICATE_FILE] = opened.certificate.text
    return found


def _show_merged(merged: Merged, where: Path | None) -> None:
    """What became of the merge; ``where`` it lies in the end, None where it is only on the way to something."""
    typer.echo(
        f"merged{f': {where}' if where else ''} "
        f"({amount(merged.size)}, {merged.changed} of {merged.tensors} tensors changed)"
    )
    typer.echo(f"rounding to the file's precision lost {merged.lost:.2%} of the change")
    if merged.lost >= _WORTH_TELLING:
        for found in sorted(merged.retained, key=lambda found: -found.share)[:_WORST]:
            typer.echo(f"  {found.share:.2%} of it in {found.tensor}")
    if merged.untied:
        typer.echo("embedding and head are two tensors now: only one of them changed (tie_word_embeddings: false)")
    _show_quantized(merged)
    typer.echo("read back: bytes, headers, sums and tokenizer agree")


def _show_quantized(merged: Merged) -> None:
    """How much quantizing the base had changed it, against what the adapter changes."""
    ratios = {one.tensor: one.quantized / one.change for one in merged.retained if one.quantized and one.change}
    if not ratios:
        return
    ordered = sorted(ratios, key=ratios.__getitem__)
    typer.echo(
        f"quantizing changed the base {ratios[ordered[len(ordered) // 2]]:.2f} times as much as the adapter does"
    )
    typer.echo(f"(median; from {ratios[ordered[0]]:.2f} to {ratios[ordered[-1]]:.2f}); most in")
    for name in reversed(ordered[-_WORST:]):
        typer.echo(f"  {name}  {ratios[name]:.2f}")


def _peft(opened: Opened, out: Path, to: str) -> None:
    from lft.adapters.export.peft import export_peft
    from lft.adapters.export.serving import sglang_line, vllm_line

    lines = {"vllm": vllm_line, "sglang": sglang_line}
    # Before anything is written: what a server refuses is no export for it.
    line = lines[to](_served(opened), out.absolute(), opened.base.written, opened.stacked.delta) if to in lines else ""
    typer.echo(f"adapter: {export_peft(opened.stacked, out)} ({amount(sum(p.stat().st_size for p in out.iterdir()))})")
    if line:
        typer.echo(f"serve it:\n  {line}")


def _served(opened: Opened) -> str:
    return opened.name.rpartition("/")[2]


def _ollama(opened: Opened, out: Path, writing: Writing, base_gguf: str | None) -> None:
    """With the base's GGUF the adapter alone, else the whole merged model; and the Modelfile that says how to ask."""
    from lft.adapters.export.gguf_names import architecture
    from lft.adapters.export.ollama import base_line, write_modelfile
    from lft.files import new_folder

    below = base_line(base_gguf, out, architecture(opened.base.folder).name) if base_gguf is not None else ""
    with new_folder(out) as draft:
        if not below:
            _show_merged(_merged(opened, draft / "model", writing), out / "model")
            written = _modelfile(opened, "./model", None)
        else:
            _gguf_lora(opened, draft / "adapter.gguf", writing.dtype, out / "adapter.gguf")
            written = _modelfile(opened, below, "./adapter.gguf")
        write_modelfile(draft, written)
    typer.echo(f"use it:\n  cd {out} && ollama create {_served(opened)} -f Modelfile && ollama run {_served(opened)}")


def _modelfile(opened: Opened, base: str, adapter: str | None) -> Modelfile:
    """In the format that the adapter was trained in."""
    from transformers import AutoTokenizer

    from lft.adapters.export.ollama import Modelfile, template_of
    from lft.base.load import load_config
    from lft.data.example import Turn
    from lft.data.prompts import PROMPT_FILE, PromptFormat, chat_text, stop_id
    from lft.errors import InputError

    folder = opened.adapter.folder
    if not (folder / PROMPT_FILE).is_file():
        raise InputError(
            "it does not say in which format it was trained",
            where=str(folder),
            fix="export it as gguf-lora, and write the Modelfile by hand",
        )
    form = PromptFormat.from_json((folder / PROMPT_FILE).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def render(chat: Sequence[Said], ask: bool) -> str:
        return chat_text(form, [Turn(said.role, said.content) for said in chat], tokenizer, answer_next=ask)

    adds_bos = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    template = template_of(render, tokenizer.bos_token if adds_bos else None, folder)
    if form.name == "chat" and not template.chats:
        typer.echo("the Modelfile's template holds one prompt: what this chat template does with turns it cannot say")
    stops = (tokenizer.eos_token_id, stop_id(form, tokenizer))
    return Modelfile(
        base=base,
        adapter=adapter,
        template=template,
        stops=tuple(dict.fromkeys(tokenizer.convert_ids_to_tokens(number) for number in stops if number is not None)),
        context=int(getattr(load_config(opened.base), "max_position_embeddings", 0) or 4096),
        top_p=0.9,
        licence=None,
    )


def _gguf_lora(opened: Opened, out: Path, dtype: str | None, where: Path) -> None:
    """Write the adapter; ``where`` it lies in the end."""
    from lft.adapters.export.gguf_lora import export_gguf_lora

    made = export_gguf_lora(
        opened.base.folder,
        opened.stacked.delta,
        out,
        name=opened.name,
        base_name=opened.base.written,
        dtype=dtype or "F32",
    )
    typer.echo(
        f"adapter: {where} ({amount(made.size)}, {made.pairs} tensors of rank {made.rank}, {made.architecture})\n"
        "read back: every factor agrees"
    )
