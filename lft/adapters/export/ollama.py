"""A Modelfile, so that Ollama asks a model in the very format that it was trained in.

The format is found by asking: the trained format renders chats with markers in them, what stands between the markers
becomes a Go template, and the template counts only after it rendered other chats to the same text.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lft.base.gguf import read_gguf
from lft.errors import InputError
from lft.files import write_text

_LOOP: Final = re.compile(r"(.*?)\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)", re.DOTALL)
_ROLES: Final = ("system", "user", "assistant")
_CHATS: Final = 24
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)*(:[\w.-]+)?", re.ASCII)
_MARK: Final = "\ue000{}\ue001"  # private characters: no template treats them in a way of its own


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


Render = Callable[[Sequence[Said], bool], str]
"""A chat as text, as training wrote it; True adds what asks for an answer."""


@dataclass(frozen=True, slots=True)
class Template:
    """A Go template, and whether it holds chats of several turns or one prompt."""

    text: str
    chats: bool


@dataclass(frozen=True, slots=True)
class Modelfile:
    """What `ollama create` reads: paths are relative to the file."""

    base: str
    adapter: str | None
    template: Template
    stops: tuple[str, ...]
    context: int
    top_p: float
    licence: str | None

    def text(self) -> str:
        """The file's content.

        Raises:
            InputError: a text holds Ollama's own quotes.
        """
        lines = [f"FROM {self.base}", *([f"ADAPTER {self.adapter}"] if self.adapter else [])]
        lines.append(f"TEMPLATE {_quoted(self.template.text)}")
        lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in self.stops]
        lines += [f"PARAMETER num_ctx {self.context}", f"PARAMETER top_p {self.top_p}"]
        return "\n".join([*lines, *([f"LICENSE {_quoted(self.licence)}"] if self.licence else [])]) + "\n"


def _quoted(text: str) -> str:
    if '"""' in text:
        raise InputError('a text with """ in it cannot stand in a Modelfile', where="Modelfile")
    return f'"""{text}"""'


def template_of(render: Render, bos: str | None, where: Path) -> Template:
    """The Go template that renders as training did.

    Args:
        render: the format of training.
        bos: text of the token that the server puts before every prompt itself; None where it puts none.
        where: for messages.

    Raises:
        InputError: no template of this kind renders the same text.
    """
    shown = _without(render, bos)
    for candidate in (_chat_template, _prompt_template):
        template = candidate(shown)
        if template is not None and _renders_alike(template, shown):
            return template
    raise InputError(
        "its chat template does more than a Go template of fixed parts can say",
        where=str(where),
        fix="write TEMPLATE by hand, or serve it with vLLM, which reads the chat template itself",
    )


def _without(render: Render, bos: str | None) -> Render:
    return lambda chat, ask: render(chat, ask).removeprefix(bos or "")


def _prompt_template(render: Render) -> Template | None:
    mark = _MARK.format("user")
    rendered = _or_none(render, [Said("user", mark)])
    if rendered is None or rendered.count(mark) != 1 or "{{" in rendered:
        return None
    return Template(rendered.replace(mark, "{{ .Prompt }}"), chats=False)


def _chat_template(render: Render) -> Template | None:
    """Each role's turn is what it adds to a chat; what asks for the answer is what asking adds."""
    mark = {role: _MARK.format(role) for role in _ROLES}
    user = _or_none(render, [Said("user", mark["user"])], ask=False)
    asked = _or_none(render, [Said("user", mark["user"])])
    both = _or_none(render, [Said("user", mark["user"]), Said("assistant", mark["assistant"])], ask=False)
    if not user or not asked or not both or not asked.startswith(user) or not both.startswith(user):
        return None
    turns = {"user": user, "assistant": both.removeprefix(user)}
    below = _or_none(render, [Said("system", mark["system"]), Said("user", mark["user"])], ask=False)
    if below and below.endswith(user):
        turns["system"] = below.removesuffix(user)
    if any(text.count(mark[role]) != 1 or "{{" in text for role, text in turns.items()):
        return None
    parts = [
        f'{{{{ {"if" if number == 0 else "else if"} eq .Role "{role}" }}}}{text.replace(mark[role], "{{ .Content }}")}'
        for number, (role, text) in enumerate(turns.items())
    ]
    said = f"{{{{ range .Messages }}}}{''.join(parts)}{{{{ end }}}}{{{{ end }}}}"
    return Template(said + asked.removeprefix(user), chats=True)


def _or_none(render: Render, chat: Sequence[Said], ask: bool = True) -> str | None:
    """None where the format has no such chat."""
    try:
        return render(chat, ask)
    except Exception:  # a template may raise whatever it likes for roles that it does not take
        return None


def _renders_alike(template: Template, render: Render) -> bool:
    return all(go_rendered(template, chat) == render(chat, True) for chat in _chats(template))


def _chats(template: Template) -> Iterator[list[Said]]:
    """Chats of all lengths, with the characters that templates trip over; a system turn where the template has one."""
    rng = random.Random(0)
    texts = ["Hello", "two\nlines", "«quotes» \"and\" 'more'", "a <b> & c", "Ünïcödé 漢字", "{% raw %}", "1\n\n2"]
    for number in range(_CHATS):
        turns = 1 if not template.chats else 1 + 2 * (number % 4)
        chat = [Said("user" if turn % 2 == 0 else "assistant", rng.choice(texts)) for turn in range(turns)]
        if template.chats and '"system"' in template.text and number % 3 == 0:
            chat.insert(0, Said("system", rng.choice(texts)))
        yield chat


def go_rendered(template: Template, chat: Sequence[Said]) -> str:
    """A template of ours as Ollama's Go engine renders it: the prompt, or the loop over turns and its branches."""
    if not template.chats:
        return template.text.replace("{{ .Prompt }}", chat[-1].content)
    head, body, tail = _LOOP.fullmatch(template.text).groups()  # type: ignore[union-attr]
    branches = re.split(r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}', body)[1:]
    by_role = dict(zip(branches[::2], branches[1::2], strict=True))
    turns = (by_role.get(said.role, "").replace("{{ .Content }}", said.content) for said in chat)
    return str(head) + "".join(turns) + str(tail)


def base_line(written: str, folder: Path, architecture: str) -> str:
    """What stands behind FROM for a base that an adapter is put on by Ollama.

    Args:
        written: a GGUF file, or a name that Ollama knows; a file that is there is a file.
        folder: where the Modelfile will lie: Ollama reads paths from there, and not from where somebody typed them.
        architecture: the adapter's, in llama.cpp's words.

    Raises:
        InputError: there is no such file, it is no GGUF, or one of another architecture; it is no name either.
    """
    path = Path(os.path.expanduser(written))
    if path.is_file():
        if (found := read_gguf(path).architecture) != architecture:
            raise InputError(
                f"this base is a {found}, the adapter belongs to a {architecture}",
                where=written,
                fix="give the GGUF of the base that it was trained on",
            )
        place = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
        return place if place.startswith("../") else f"./{place}"
    if path.is_dir() or written.endswith(".gguf") or not _NAME.fullmatch(written):
        what = "a folder, and no GGUF file" if path.is_dir() else "no such file, and no name that Ollama could know"
        raise InputError(what, where=f"--from {written}", fix="give the base's .gguf, or its name in `ollama list`")
    return written


def write_modelfile(folder: Path, modelfile: Modelfile) -> Path:
    """The Modelfile of a folder, after what it points to was found there."""
    for place in (modelfile.base, modelfile.adapter):
        if place is not None and place.startswith(("./", "../")) and not (folder / place).exists():
            raise InputError(f"the Modelfile would point to {place}, which is not there", where=str(folder))
    write_text(folder / "Modelfile", modelfile.text())
    return folder / "Modelfile"
