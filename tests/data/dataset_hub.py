"""A hub of data sets on the loopback: what `datasets` asks for, read-only.

``ROOT/<user>/<repo>/<files>`` is a repository with one commit, ``commit_of(user/repo)``. Repositories of the user
`gated` want access. Clients find it through HF_ENDPOINT, which the libraries read when they are imported.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse


def commit_of(repo: str) -> str:
    return hashlib.sha1(repo.encode()).hexdigest()


@contextmanager
def dataset_hub(root: Path) -> Iterator[str]:
    """The address of a hub that serves ``root`` while the block runs."""

    class Handler(_Handler):
        folder = root

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()

    def log_message(self, *_args):
        pass

    def do_GET(self):
        parts = [unquote(part) for part in urlparse(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            self._about(f"{parts[2]}/{parts[3]}", parts[4:])
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            self._file(f"{parts[1]}/{parts[2]}", parts[4], "/".join(parts[5:]))
        else:
            self._reply(404)

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._json([])

    def _about(self, repo: str, rest: list[str]):
        commit = commit_of(repo)
        if not (self.folder / repo).is_dir():
            return self._reply(404, X_Error_Code="RepoNotFound")
        if len(rest) > 1 and rest[1] not in ("main", commit):
            return self._reply(404, X_Error_Code="RevisionNotFound")
        files = sorted(path for path in (self.folder / repo).rglob("*") if path.is_file())
        names = [path.relative_to(self.folder / repo).as_posix() for path in files]
        if rest[:1] == ["tree"]:
            sizes = [path.stat().st_size for path in files]
            oids = [hashlib.sha1(path.read_bytes()).hexdigest() for path in files]
            rows = zip(names, sizes, oids, strict=True)
            return self._json([{"type": "file", "path": n, "size": size, "oid": oid} for n, size, oid in rows])
        facts = {"private": False, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
        return self._json({"id": repo, "sha": commit, "siblings": [{"rfilename": n} for n in names], **facts})

    def _file(self, repo: str, revision: str, name: str):
        commit, path = commit_of(repo), self.folder / repo / name
        if repo.startswith("gated/"):
            return self._reply(401, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
        if revision not in ("main", commit):
            return self._reply(404, X_Error_Code="RevisionNotFound")
        if not path.is_file():
            return self._reply(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        body = path.read_bytes()
        etag = f'"{hashlib.sha1(body).hexdigest()}"'
        return self._reply(200, body, X_Repo_Commit=commit, ETag=etag, Accept_Ranges="bytes")

    def _json(self, value):
        self._reply(200, json.dumps(value).encode(), Content_Type="application/json")

    def _reply(self, status: int, body: bytes = b"", **headers: str):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
