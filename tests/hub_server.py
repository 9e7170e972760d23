"""A hub on the loopback: speaks what `snapshot_download`, `model_info` and single-file downloads ask for, read-only.

``ROOT/<user>/<repo>/<files>`` is a repository; its commit is a digest of its content, so that a changed file is a new
commit. Clients find it through HF_ENDPOINT, which the hub library reads when it is imported: run them in a subprocess
with ``server.environment(home)``. Faults are set on the server while it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_of_the_tests"


@dataclass
class Faults:
    """What goes wrong, by repository ("user/name")."""

    gated: set[str] = field(default_factory=set)  # 403 without the token
    private: set[str] = field(default_factory=set)  # 401 without the token, as if it did not exist
    broken: set[str] = field(default_factory=set)  # 500 for every request
    flipped: set[str] = field(default_factory=set)  # a byte of each safetensors file's header is changed


class HubServer:
    """A context manager: a running hub over a folder of repositories. ``requests`` lists "METHOD path -> status"."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults()
        self.requests: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.hub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go out of reach."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()

    def environment(self, home: Path, *, token: str | None = None, offline: bool = False) -> dict[str, str]:
        """Environment of a client: this hub, a cache of its own, nothing of the user's."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        own = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        own |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
        return kept | own | ({"HF_HUB_OFFLINE": "1"} if offline else {})

    def commit(self, repo: str) -> str:
        """The commit of a repository as it is now."""
        folder = self.root / repo
        lines = [f"{name} {_sha256(folder / name)}" for name in files_of(folder)]
        return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def files_of(folder: Path) -> list[str]:
    """The files of a repository, as paths relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _git_id(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # the server's own log goes to `requests`
        pass

    def do_GET(self) -> None:
        path = [urllib.parse.unquote(part) for part in urllib.parse.urlparse(self.path).path.strip("/").split("/")]
        if path[:2] == ["api", "models"] and len(path) >= 4:
            self._api(f"{path[2]}/{path[3]}", path[4:])
        elif len(path) >= 5 and path[2] in ("resolve", "raw"):
            self._file(f"{path[0]}/{path[1]}", path[3], "/".join(path[4:]))
        else:
            self._send(404)

    do_HEAD = do_GET

    @property
    def _hub(self) -> HubServer:
        return self.server.hub  # type: ignore[attr-defined,no-any-return]

    def _send(self, status: int, body: bytes = b"", **headers: Any) -> None:
        self._hub.requests.append(f"{self.command} {self.path} -> {status}")
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, message.encode(), X_Error_Code=code, X_Error_Message=message)

    def _refused(self, repo: str, revision: str | None, *, file: bool) -> bool:
        """Answer with an error where there is one."""
        faults = self._hub.faults
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo in faults.broken:
            self._send(500, b"internal error")
        elif not (self._hub.root / repo).is_dir():
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif repo in faults.private and not known:
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
        elif repo in faults.gated and not known and file:
            self._refuse(403, "GatedRepo", f"Access to model {repo} is restricted")
        elif revision not in (None, "main", self._hub.commit(repo)):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return False
        return True

    def _api(self, repo: str, rest: list[str]) -> None:
        revision = rest[1] if len(rest) > 1 else None
        if self._refused(repo, revision, file=False):
            return
        folder = self._hub.root / repo
        if rest[:1] == ["tree"]:
            body: Any = [
                {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": _git_id(folder / name)}
                for name in files_of(folder)
            ]
        else:
            siblings = [
                {"rfilename": name, "size": (folder / name).stat().st_size, "blobId": _git_id(folder / name)}
                for name in files_of(folder)
            ]
            body = {"id": repo, "modelId": repo, "sha": self._hub.commit(repo), "private": False, "gated": False}
            body |= {"disabled": False, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}
        self._send(200, json.dumps(body).encode(), Content_Type="application/json")

    def _file(self, repo: str, revision: str, name: str) -> None:
        if self._refused(repo, revision, file=True):
            return
        file, commit = self._hub.root / repo / name, self._hub.commit(repo)
        if not file.is_file():
            missing = "Entry not found"
            self._send(
                404, missing.encode(), X_Error_Code="EntryNotFound", X_Error_Message=missing, X_Repo_Commit=commit
            )
            return
        content = file.read_bytes()
        if repo in self._hub.faults.flipped and name.endswith(".safetensors"):
            content = content[:8] + b"?" + content[9:]
        headers = {"X_Repo_Commit": commit, "ETag": f'"{_sha256(file)}"', "Accept_Ranges": "bytes"}
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last) + 1 if last else len(content)
            span = f"bytes {begin}-{end - 1}/{len(content)}"
            self._send(206, content[begin:end], Content_Range=span, **headers)
            return
        self._send(200, content, **headers)
