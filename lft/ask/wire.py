"""The OpenAI-compatible interface as bytes: what is sent, and what an answer means. No network here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from lft.ask.request import Form, Reply, Request, rough_tokens

PATHS: Final[Mapping[Form, str]] = {"chat": "/chat/completions", "completion": "/completions"}
_TRANSIENT: Final = (408, 409, 425, 429)
TokensKey = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """An answer, or none, that is worth another try; ``wait`` is what the endpoint asks for, in seconds."""

    reason: str
    wait: float | None = None
    shared: bool = False  # all workers wait


def body_of(request: Request, model: str, tokens_key: TokensKey = "max_tokens") -> bytes:
    """The JSON of one request, streaming off."""
    asked = request.asked
    said: dict[str, Any] = (
        {"prompt": asked}
        if isinstance(asked, str)
        else {"messages": [{"role": one.role, "content": one.text} for one in asked]}
    )
    chosen = request.sampling
    settings = {"temperature": chosen.temperature, tokens_key: chosen.max_tokens, "seed": request.seed, "stream": False}
    sampled = {"top_p": chosen.top_p} if chosen.temperature else {}
    return json.dumps({"model": model, **said, **settings, **sampled}).encode()


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply, the name by which the endpoint calls the model, and whether it counted the tokens itself."""

    reply: Reply
    model: str
    counted: bool


def answered(raw: bytes, request: Request, seconds: float) -> Answered | Trouble:
    """What the body of a 200 says."""
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return Trouble("an answer that is no JSON")
    try:
        choice = said["choices"][0]
        text = _text(choice["message"]["content"] if "message" in choice else choice["text"])
    except (KeyError, IndexError, TypeError):
        return Trouble(f"JSON that is no answer{_colon(message_of(raw))}")
    counted = _usage(said.get("usage"))
    read, written = counted or (rough_tokens(request.prompt), rough_tokens(text))
    reply = Reply(text, str(choice.get("finish_reason") or ""), read, written, seconds)
    return Answered(reply, str(said.get("model") or ""), counted is not None)


def _usage(said: Any) -> tuple[int, int] | None:
    """Tokens read and written, where the endpoint counts both."""
    counts = said if isinstance(said, dict) else {}
    read, written = counts.get("prompt_tokens"), counts.get("completion_tokens")
    return (read, written) if isinstance(read, int) and isinstance(written, int) else None


def _text(content: Any) -> str:
    """The words; nothing where a model said nothing; lone surrogates cannot be written to a file."""
    parts = content if isinstance(content, list) else [content]
    words = [part["text"] if isinstance(part, dict) else part or "" for part in parts]
    return "".join(words).encode("utf-8", "replace").decode()


def is_transient(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in _TRANSIENT or status >= 500


def message_of(raw: bytes) -> str:
    """What an endpoint says went wrong, on one line of at most 200 characters."""
    text = raw[:4000].decode("utf-8", "replace")
    try:
        said = json.loads(raw)
        error = said.get("error", said) if isinstance(said, dict) else said
        found = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        text = found if isinstance(found, str) else text
    except (ValueError, RecursionError):
        pass
    line = " ".join(text.split())
    return line[:197] + "..." if len(line) > 200 else line


def _colon(text: str) -> str:
    return f": {text}" if text else ""


def shown(url: str) -> str:
    """An address without a name, password or query that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
