"""The page where people judge, served to this machine only: one file, no request to anybody else.

http://127.0.0.1:PORT/TOKEN/   GET the page · GET state?rater=NAME · POST rate

The token is the password: without it every path is 404, also for other users of the machine and for pages in the
browser that guess the port. ``Host`` must be this machine's (a name that is made to point here is refused).
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from lft.corpus.audit.ratings import ANSWERS, QUESTIONS, Rating, Ratings
from lft.corpus.audit.sample import Item, load_items, order_of
from lft.errors import InputError, LftError, MachineError

_LIMIT: Final = 64 * 1024  # bytes of one rating
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class AuditServer:
    """Serves an audit's folder until it is closed."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Bind to 127.0.0.1; port 0 takes a free one.

        Raises:
            InputError: no audit lies in the folder.
            MachineError: the port is taken.
        """
        self.items = load_items(folder)
        self.ratings = Ratings(folder)
        self.token = secrets.token_urlsafe(16)
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, self))
        except OSError as error:
            raise MachineError(
                f"port {port} cannot be used ({error.strerror})", fix="leave out --port: a free one is taken"
            ) from None
        self._server.daemon_threads = True
        # A browser that is closed in the middle of an answer is nobody's mistake.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def serve(self) -> None:
        """Answer until ``close`` is called from another thread, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def state(self, rater: str) -> dict[str, Any]:
        """A rater's own order of the items, and what the rater has said so far."""
        order = sorted((item.id for item in self.items), key=lambda id: order_of(id, rater))
        said = {item: one.record() for (item, who), one in self.ratings.last().items() if who == rater}
        return {"order": order, "ratings": said}

    def rate(self, record: Any) -> None:
        """Save one rating. Raises InputError for anything else, MachineError for a full disk."""
        if not isinstance(record, dict):
            raise InputError("a rating is a JSON object")
        rating = Rating.of(record)
        if rating.item not in {item.id for item in self.items}:
            raise InputError("no such item")
        self.ratings.add(rating)


def page(items: Sequence[Item]) -> str:
    """The whole page. The data set's name is left out: who judges should not know it."""
    shown = [
        {key: value for key, value in asdict(item).items() if key in ("id", "instruction", "answer")} for item in items
    ]
    data = {"items": shown, "questions": dict(QUESTIONS), "answers": {str(k): v for k, v in ANSWERS.items()}}
    # "<" would let a text end the script that it stands in.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    template = files("lft.corpus.audit").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{{data}}", text)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server_version, sys_version = "lft", ""

    def __init__(self, audit: AuditServer, *rest: Any) -> None:
        self._audit = audit
        super().__init__(*rest)

    def do_GET(self) -> None:
        """The page, or a rater's state."""
        match self._path():
            case "":
                self._send(HTTPStatus.OK, page(self._audit.items), "text/html; charset=utf-8")
            case "state":
                rater = parse_qs(urlsplit(self.path).query).get("rater", [""])[0].strip()
                self._json(HTTPStatus.OK, self._audit.state(rater))
            case _:
                self._json(HTTPStatus.NOT_FOUND, {"error": "nothing is here"})

    def do_POST(self) -> None:
        """A rating."""
        length = self.headers.get("Content-Length") or ""
        size = int(length) if length.isdigit() else 0
        if self._path() != "rate" or not 0 < size <= _LIMIT:
            self._json(HTTPStatus.NOT_FOUND, {"error": "nothing is here"})
            return
        try:
            self._audit.rate(json.loads(self.rfile.read(size)))
        except ValueError:
            self._json(HTTPStatus.BAD_REQUEST, {"error": "this is no JSON"})
        except LftError as error:
            status = HTTPStatus.INSUFFICIENT_STORAGE if isinstance(error, MachineError) else HTTPStatus.BAD_REQUEST
            self._json(status, {"error": error.what})
        else:
            self._json(HTTPStatus.OK, {})

    def _path(self) -> str | None:
        """What is asked for behind the token; None for everything else."""
        known = {f"127.0.0.1:{self._audit.port}", f"localhost:{self._audit.port}"}
        _, _, asked = urlsplit(self.path).path.partition("/")
        token, slash, rest = asked.partition("/")
        right = hmac.compare_digest(token.encode(), self._audit.token.encode())
        return rest if right and slash and self.headers.get("Host") in known else None

    def _json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content, ensure_ascii=False), "application/json")

    def _send(self, status: HTTPStatus, text: str, kind: str) -> None:
        body = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the address in it holds the token."""
