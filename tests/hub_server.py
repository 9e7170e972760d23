"""A hub on the loopback: speaks what the hub library asks for downloads and (``tests.hub_uploads``) for uploads.

``ROOT/<user>/<repo>/<files>`` is a model's repository, ``ROOT/datasets/<user>/<repo>/<files>`` a data set's (its name
here is ``datasets/<user>/<repo>``, in the faults too), ``<repo>@<branch>/`` one of its branches or tags; a commit is a
digest of content, so that a changed file is a new commit; what was once listed stays. Clients find it through
HF_ENDPOINT, which the hub library reads when it is imported: run them in a subprocess with
``server.environment(home)``. Faults are set on the server while it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_of_the_tests"
LFS = (
    ".safetensors",
    ".bin",
    ".model",
    ".gguf",
    ".parquet",
)  # what the real hub keeps in Git LFS


@dataclass
class Faults:
    """What goes wrong, by repository ("user/name"); ``statuses`` and ``waits`` are used up, one a request."""

    gated: set[str] = field(default_factory=set)  # 403 without the token
    private: set[str] = field(default_factory=set)  # 401 without the token, as if it did not exist
    broken: set[str] = field(default_factory=set)  # 500 for every request
    flipped: set[str] = field(default_factory=set)  # a byte of each safetensors file's header is changed
    changed: dict[str, str] = field(default_factory=dict)  # a byte of this file is another one; its size is right
    changed_times: int = 10**6  # how often, then the file comes as it is
    cut: dict[str, int] = field(default_factory=dict)  # every file ends after so many bytes, whatever was announced
    slow: dict[str, float] = field(default_factory=dict)  # seconds between two pieces of 256 bytes
    silent: set[str] = field(default_factory=set)  # files are announced, and then nothing comes
    mute: set[str] = field(default_factory=set)  # a question about the repository is not answered
    statuses: dict[str, list[int]] = field(default_factory=dict)  # answers to the next requests for files and facts
    retry_after: int | None = None  # seconds, beside every 429 and 503
    after_info: dict[str, Callable[[], None]] = field(default_factory=dict)  # done once a listing was answered
    no_metadata: set[str] = field(default_factory=set)  # the listing has names only
    read_only: set[str] = field(default_factory=set)  # 403 for whoever writes
    puts: list[int] = field(default_factory=list)  # answers to the next large files that are sent
    commits: list[int] = field(default_factory=list)  # answers to the next commits
    loses: set[str] = field(default_factory=set)  # what is uploaded is kept with a byte changed


class HubServer:
    """A context manager: a running hub over a folder of repositories. ``requests`` lists "METHOD path -> status"."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults()
        self.requests: list[str] = []
        self.private: set[str] = set()  # repositories that say so of themselves
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
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

    def commit(self, repo: str, branch: str = "main") -> str:
        """The commit of a branch as it is now."""
        return commit_of(self.branch(repo, branch))

    def branch(self, repo: str, branch: str = "main") -> Path:
        """Folder of a branch."""
        return self.root / (repo if branch == "main" else f"{repo}@{branch}")

    def folder(self, repo: str, revision: str | None) -> Path | None:
        """The folder that holds a revision; None where there is none."""
        named = self.branch(repo, revision or "main")
        if named.is_dir():
            return named
        here = [self.branch(repo), *self.root.glob(f"{repo}@*")]
        for folder in here:
            if folder.is_dir() and commit_of(folder) == revision:
                return folder
        old = self.root / ".history" / str(revision)
        return old if old.is_dir() else None

    def remember(self, folder: Path) -> str:
        """Keep a commit for those who saw it, and say its name."""
        commit = commit_of(folder)
        kept = self.root / ".history" / commit
        if folder != kept and not kept.is_dir():
            shutil.copytree(folder, kept)
        return commit

    def asked(self, *words: str) -> list[str]:
        """The requests with all of these words."""
        return [line for line in self.requests if all(word in line for word in words)]


def commit_of(folder: Path) -> str:
    """The commit of a folder's content."""
    lines = [f"{name} {sha256(folder / name)}" for name in files_of(folder)]
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def files_of(folder: Path) -> list[str]:
    """The files of a repository, as paths relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def repo_of(path: list[str]) -> tuple[str, list[str]]:
    """The repository of a path ("user/name", "datasets/user/name"; "" for none), and the rest of it."""
    parts = path[1:] if path[0] == "api" else ["models", *path] if path[0] != "datasets" else path
    if len(parts) < 3 or parts[0] not in ("models", "datasets"):
        return "", parts
    kind = "datasets/" if parts[0] == "datasets" else ""
    return f"{kind}{parts[1]}/{parts[2].removesuffix('.git')}", parts[3:]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _facts(file: Path) -> dict[str, Any]:
    """What a listing says of a file: of one in LFS, git has a pointer only."""
    size = file.stat().st_size
    if not file.name.endswith(LFS):
        return {"size": size, "id": git_id(file.read_bytes())}
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(file)}\nsize {size}\n".encode()
    return {"size": size, "id": git_id(pointer), "lfs": {"sha256": sha256(file), "size": size}, "pointer": len(pointer)}


def _sibling(name: str, file: Path) -> dict[str, Any]:
    facts = _facts(file)
    said = {"rfilename": name, "size": facts["size"], "blobId": facts["id"]}
    return said | ({"lfs": facts["lfs"] | {"pointerSize": facts["pointer"]}} if "lfs" in facts else {})


def _entry(name: str, file: Path) -> dict[str, Any]:
    facts = _facts(file)
    said = {"type": "file", "path": name, "size": facts["size"], "oid": facts["id"]}
    if "lfs" in facts:
        lfs = {"oid": facts["lfs"]["sha256"], "size": facts["size"], "pointerSize": facts["pointer"]}
        return said | {"lfs": lfs}
    return said


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # the server's own log goes to `requests`
        pass

    def do_GET(self) -> None:
        repo, rest = repo_of(self.parts)
        if self.parts[0] == "api" and repo:
            self._api(repo, rest)
        elif rest[:1] in (["resolve"], ["raw"]) and len(rest) >= 3:
            self._file(repo, rest[1], "/".join(rest[2:]))
        else:
            self.answer(404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        from tests.hub_uploads import posted

        posted(self, self.body())

    def do_PUT(self) -> None:
        from tests.hub_uploads import put

        put(self, self.body())

    def body(self) -> bytes:
        """What was sent, also in pieces of unknown number."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().strip(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    @property
    def parts(self) -> list[str]:
        """The path's parts."""
        return [urllib.parse.unquote(part) for part in urllib.parse.urlparse(self.path).path.strip("/").split("/")]

    @property
    def hub(self) -> HubServer:
        return self.server.hub  # type: ignore[attr-defined,no-any-return]

    @property
    def known(self) -> bool:
        """Whether the client showed the token."""
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def answer(self, status: int, body: bytes = b"", **headers: Any) -> None:
        self.hub.requests.append(f"{self.command} {self.path} -> {status}")
        self.send_response(status)
        if status in (429, 503) and self.hub.faults.retry_after is not None:
            headers["Retry-After"] = self.hub.faults.retry_after
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def say(self, content: Any, status: int = 200) -> None:
        """Answer with JSON."""
        self.answer(status, json.dumps(content).encode(), Content_Type="application/json")

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, message.encode(), X_Error_Code=code, X_Error_Message=message)

    def refused(self, repo: str, revision: str | None, *, file: bool) -> bool:
        """Answer with an error where there is one."""
        faults = self.hub.faults
        if repo in faults.broken:
            self.answer(500, b"internal error")
        elif faults.statuses.get(repo):
            self.answer(faults.statuses[repo].pop(0), b"as the test wants it")
        elif not (self.hub.root / repo).is_dir():
            self.refuse(404, "RepoNotFound", "Repository not found")
        elif repo in faults.private | self.hub.private and not self.known:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
        elif repo in faults.gated and not self.known and file:
            self.refuse(403, "GatedRepo", f"Access to model {repo} is restricted")
        elif self.hub.folder(repo, revision) is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return False
        return True

    def _api(self, repo: str, rest: list[str]) -> None:
        revision = rest[1] if len(rest) > 1 else None
        if repo in self.hub.faults.mute:
            time.sleep(30)
        if self.refused(repo, revision, file=False):
            return
        folder = self.hub.folder(repo, revision)
        assert folder is not None
        if rest[:1] == ["tree"]:
            self.say([_entry(name, folder / name) for name in files_of(folder)])
            return
        siblings = [_sibling(name, folder / name) for name in files_of(folder)]
        if repo in self.hub.faults.no_metadata:
            siblings = [{"rfilename": one["rfilename"]} for one in siblings]
        private = repo in self.hub.private
        commit = self.hub.remember(folder)
        name = repo.removeprefix("datasets/")
        body = {"id": name, "modelId": name, "sha": commit, "private": private, "gated": False}
        self.say(body | {"disabled": False, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings})
        self.hub.faults.after_info.pop(repo, lambda: None)()

    def _file(self, repo: str, revision: str, name: str) -> None:
        if self.refused(repo, revision, file=True):
            return
        folder = self.hub.folder(repo, revision)
        assert folder is not None
        file, commit = folder / name, commit_of(folder)
        if not file.is_file():
            missing = "Entry not found"
            self.answer(
                404, missing.encode(), X_Error_Code="EntryNotFound", X_Error_Message=missing, X_Repo_Commit=commit
            )
            return
        etag = sha256(file) if name.endswith(LFS) else git_id(file.read_bytes())
        headers = {"X_Repo_Commit": commit, "ETag": f'"{etag}"', "Accept_Ranges": "bytes"}
        content = self._content(repo, name, file)
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last) + 1 if last else len(content)
            headers["Content_Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
            self._stream(repo, 206, content, begin, end, headers)
        else:
            self._stream(repo, 200, content, 0, len(content), headers)

    def _content(self, repo: str, name: str, file: Path) -> bytes:
        content, faults = file.read_bytes(), self.hub.faults
        if repo in faults.flipped and name.endswith(".safetensors"):
            content = content[:8] + b"?" + content[9:]
        if faults.changed.get(repo) == name and faults.changed_times > 0:
            if self.command == "GET":
                faults.changed_times -= 1
            content = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        return content

    def _stream(self, repo: str, status: int, content: bytes, begin: int, end: int, headers: dict[str, Any]) -> None:
        """Send a part of a file as this repository's faults have it."""
        faults = self.hub.faults
        if self.command == "HEAD" or not ({repo} & ({*faults.cut, *faults.slow} | faults.silent)):
            self.answer(status, content[begin:end], **headers)
            return
        self.hub.requests.append(f"{self.command} {self.path} -> {status}")
        self.send_response(status)
        for name, value in ({"Content-Length": end - begin} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.close_connection = True
        if repo in faults.silent:
            time.sleep(30)
            return
        for at in range(begin, min(end, faults.cut.get(repo, end)), 256):
            self.wfile.write(content[at : min(at + 256, end, faults.cut.get(repo, end))])
            time.sleep(faults.slow.get(repo, 0.0))
