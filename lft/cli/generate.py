"""`lft generate` and `lft chat`: text from a tuned model."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft.cli.adapters_common import LockedOption, LockFileOption
from lft.cli.adapters_sign import IdentityOption, IssuerOption, KeyOption, PolicyOption, Wanted, wanted_of
from lft.cli.common import ProgressLine, cache_folder, quiet_libraries, registry_folder

if TYPE_CHECKING:
    from lft.adapters.stacking import Kind, Piece
    from lft.adapters.store.layout import Store
    from lft.base.decode import Decoding
    from lft.data.example import Turn
    from lft.evaluate.answer import Answerer, Prompt

RunOption = Annotated[Path | None, typer.Option(help="a run folder: its adapter is used")]
AdapterOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ADAPTER",
        help="an adapter's folder, or its name in the registry; several are active together: '0.7*a + 0.3*b', "
        "or the option again",
    ),
]
BaseOption = Annotated[
    str | None, typer.Option(help="the adapter's base (folder or hub id), where it is not found by itself")
]
TokensOption = Annotated[int, typer.Option(min=1, help="longest answer, in tokens")]
TopPOption = Annotated[float, typer.Option(min=0.0, max=1.0, help="nucleus sampling")]
TemperatureOption = Annotated[float, typer.Option(min=0.01, help="sampling temperature")]
GreedyOption = Annotated[bool, typer.Option("--greedy", help="take the likeliest token; no sampling")]
SeedOption = Annotated[int, typer.Option(min=0, help="seed of sampling")]
PenaltyOption = Annotated[float, typer.Option(min=1.0, help="repetition penalty; 1 is none")]


def generate(
    prompt: Annotated[str | None, typer.Argument(help="the instruction")] = None,
    run: RunOption = None,
    adapter: AdapterOption = None,
    base: BaseOption = None,
    max_new_tokens: TokensOption = 512,
    top_p: TopPOption = 0.9,
    temperature: TemperatureOption = 1.0,
    greedy: GreedyOption = False,
    beams: Annotated[int, typer.Option(min=1, help="beam search with so many beams; no sampling")] = 1,
    seed: SeedOption = 42,
    repetition_penalty: PenaltyOption = 1.0,
    stream: Annotated[bool, typer.Option(help="show words as they come")] = True,
    prompts: Annotated[Path | None, typer.Option(help="a file: one instruction a line, or JSON lines")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON lines for --prompts")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="prompts answered together")] = 8,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
    policy: PolicyOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    issuer: IssuerOption = None,
) -> None:
    """Write text with a base model and an adapter, in the prompt format saved in the adapter."""
    from lft.errors import RecipeError

    if (prompt is None) == (prompts is None):
        raise RecipeError("give one instruction, or --prompts with a file", fix='lft generate --run RUN "Write ..."')
    if (prompts is None) != (output is None):
        raise RecipeError("--prompts and --output go together", fix="--prompts in.txt --output out.jsonl")
    who = who_of(run, adapter, base, wanted_of(locked, lock_file, policy, key, identity, issuer))
    if prompt is not None and not prompt.strip():
        raise RecipeError("the instruction is empty", fix='lft generate --run RUN "Write ..."')
    if output is not None:
        _require_file_place(output)
    decoding = _decoding(max_new_tokens, top_p, temperature, greedy, beams, seed, repetition_penalty)
    quiet_libraries()
    from lft.evaluate.answer import read_prompts

    asked = read_prompts(prompts) if prompts else None
    answerer = open_who(who)
    if asked is not None and output is not None:
        _answer_file(answerer, asked, output, decoding, batch_size)
    else:
        _answer_one(answerer, str(prompt), decoding, stream and beams == 1)


def chat(
    run: RunOption = None,
    adapter: AdapterOption = None,
    base: BaseOption = None,
    max_new_tokens: TokensOption = 512,
    top_p: TopPOption = 0.9,
    temperature: TemperatureOption = 1.0,
    greedy: GreedyOption = False,
    seed: SeedOption = 42,
    repetition_penalty: PenaltyOption = 1.0,
    locked: LockedOption = False,
    lock_file: LockFileOption = None,
    policy: PolicyOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    issuer: IssuerOption = None,
) -> None:
    """Talk to a base model with an adapter; an empty line or Ctrl-D ends it, /new forgets what was said."""
    who = who_of(run, adapter, base, wanted_of(locked, lock_file, policy, key, identity, issuer))
    decoding = _decoding(max_new_tokens, top_p, temperature, greedy, 1, seed, repetition_penalty)
    quiet_libraries()
    from lft.data.example import Turn

    answerer = open_who(who)
    if not answerer.holds_history:
        typer.echo(f"the format {answerer.form.name} holds one turn: each message is answered by itself", err=True)
    history: tuple[Turn, ...] = ()
    while (text := _typed()) is not None:
        if text == "/new":
            history = ()
            continue
        history = (*(history if answerer.holds_history else ()), Turn("user", text))
        history = (*history, Turn("assistant", _spoken(answerer, history, decoding)))


def _decoding(
    max_new_tokens: int, top_p: float, temperature: float, greedy: bool, beams: int, seed: int, penalty: float
) -> Decoding:
    """The sampling settings; flags that would be ignored are an error."""
    from lft.base.decode import Decoding
    from lft.errors import RecipeError

    usual, chosen = Decoding(), Decoding(max_new_tokens, top_p, temperature, greedy, beams, seed, penalty)
    named = {"--greedy": greedy, f"--beams {beams}": beams > 1}
    fixed = [flag for flag, given in named.items() if given]
    sampling = {"--top-p": top_p != usual.top_p, "--temperature": temperature != usual.temperature}
    odd = [*fixed[1:], *(flag for flag, given in sampling.items() if fixed and given)]
    if odd:
        raise RecipeError(
            f"{fixed[0]} does not sample, so {' and '.join(odd)} would be ignored",
            fix=f"leave out {fixed[0]} or {' and '.join(odd)}",
        )
    return chosen


def _require_file_place(output: Path) -> None:
    """Before anything is answered: a file can stand at this path."""
    from lft.errors import RecipeError
    from lft.files import require_folder_place

    if output.is_dir():
        raise RecipeError(f"--output {output} is a folder", fix=f"name a file in it: --output {output / 'out.jsonl'}")
    require_folder_place(output.parent)


@dataclass(frozen=True, slots=True)
class Who:
    """What is to answer: a run, or adapters as they were written, on the base that was named (None: their own); each
    adapter is ``wanted`` in a certain state."""

    run: Path | None
    adapters: tuple[str, ...]
    base: str | None
    wanted: Wanted


def who_of(run: Path | None, adapter: list[str] | None, base: str | None, wanted: Wanted) -> Who:
    """What was asked for; raises RecipeError where options do not go together."""
    from lft.errors import RecipeError

    if (run is None) == (not adapter):
        raise RecipeError(
            "give --run with a run folder or --adapter with an adapter's folder or name", fix="lft generate --help"
        )
    if run is not None and wanted.policy.word != "none":
        raise RecipeError(
            "a run is not signed", where="--policy", fix="add it to the registry, sign it, and ask that name"
        )
    if run is not None and wanted.lock is not None:
        raise RecipeError(
            "a run is not locked", where="--locked", fix="add it to the registry, lock its name, and ask that"
        )
    return Who(run, tuple(adapter or ()), base, wanted)


def open_who(who: Who) -> Answerer:
    """What is to answer, loaded: a run, an adapter, or several as a stack that nobody keeps."""
    from lft.adapters.stacking import together
    from lft.adapters.store.checkout import finder
    from lft.adapters.store.layout import open_store
    from lft.evaluate.answer import open_answerer
    from lft.train.folder import RunFolder

    run = who.run
    if run is not None and not run.is_dir():
        RunFolder.open(run)
    store = open_store(registry_folder())
    kind, pieces = together(who.adapters)
    if len(pieces) > 1 or kind == "stack":
        return _open_together(kind, pieces, store, who)
    folder = run or folder_of(pieces[0].ref, store, who)
    return open_answerer(folder, cache_folder(), _say, finder(store), who.base)


def folder_of(written: str, store: Store, who: Who) -> Path:
    """The folder of an adapter, in the state in which it is wanted."""
    from lft.adapters.store.checkout import means_folder

    path = Path(os.path.expanduser(written))
    if not who.wanted and means_folder(written, store) and path.is_dir():
        return path  # it may be a run, or hold a whole model
    return who.wanted.signed(written, store, _say)


def _open_together(kind: Kind, pieces: Sequence[Piece], store: Store, who: Who) -> Answerer:
    """Several adapters as a stack that nobody keeps."""
    import tempfile

    from lft.adapters.stacking import averaged, in_place, parts_of, write_stack
    from lft.adapters.store.checkout import finder
    from lft.adapters.store.stacks import place_in
    from lft.evaluate.answer import open_answerer
    from lft.files import new_folder

    place = place_in(store, lambda text: who.wanted.signed(text, store, _say), cache_folder())
    parts = in_place(parts_of(pieces, kind, "mean", place))
    if odd := averaged(parts):
        _say(f"the weights do not sum to 1: the rows of {', '.join(odd)} are the mean of the adapters' own")
    with tempfile.TemporaryDirectory(prefix="lft-stack-") as home:
        with new_folder(Path(home) / "stack") as draft:
            upper = parts[-1].ref if kind == "chain" else None
            write_stack(parts, kind, draft, files_of=upper, base_of=upper)
        return open_answerer(Path(home) / "stack", cache_folder(), _say, finder(store), who.base)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _answer_one(answerer: Answerer, prompt: str, decoding: Decoding, stream: bool) -> None:
    from lft.evaluate.answer import Prompt

    if stream:
        with _ended_line():
            answer = answerer.answer([Prompt(prompt)], decoding, _write)[0]
    else:
        answer = answerer.answer([Prompt(prompt)], decoding)[0]
        typer.echo(answer.text)
    if not answer.finished:
        typer.echo(f"(cut at --max-new-tokens {decoding.max_new_tokens})", err=True)


def _answer_file(answerer: Answerer, prompts: list[Prompt], output: Path, decoding: Decoding, batch: int) -> None:
    from lft.evaluate.answer import answer_file

    with ProgressLine() as line:
        for done in answer_file(answerer, prompts, output, decoding, batch):
            line.update(f"{done} of {len(prompts)} answered", last=done == len(prompts))
        line.line(f"written: {output}")


def _typed() -> str | None:
    """A line from the user; None at the end."""
    person = sys.stdin.isatty()
    try:
        text = input("> " if person else "").strip()
    except EOFError:
        if person:
            typer.echo()  # Ctrl-D leaves the cursor behind the prompt
        return None
    return text or None


def _spoken(answerer: Answerer, history: tuple[Turn, ...], decoding: Decoding) -> str:
    with _ended_line():
        answer = answerer.reply([history], decoding, _write)[0]
    typer.echo()
    return answer.text


@contextmanager
def _ended_line() -> Iterator[None]:
    """However the words stop coming, what is said next begins on a line of its own."""
    try:
        yield
    finally:
        typer.echo()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
