"""Uploads to the hub of the tests: repositories made, large files by Git LFS, one commit of lines of JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from tests.hub_server import LFS, commit_of, git_id, repo_of, sha256


def posted(http: Any, body: bytes) -> None:
    """Answer a POST."""
    path = http.parts
    repo, rest = repo_of(path)
    if rest[:1] == ["paths-info"]:  # asked for what a listing says as well
        http.say([])
        return
    said = json.loads(body) if body and "ndjson" not in http.headers.get("Content-Type", "") else {}
    if path == ["api", "repos", "create"]:
        _create(http, said)
    elif path == ["api", "validate-yaml"]:
        _validate(http, said)
    elif path[0] == "api" and len(rest) == 2:
        if _may_write(http, repo):
            {"branch": _branch, "preupload": _preupload, "commit": _commit}[rest[0]](http, repo, rest[1], said or body)
    elif rest == ["info", "lfs", "objects", "batch"]:
        if _may_write(http, repo):
            _batch(http, said)
    elif path[0] == "lfs-verify":
        http.answer(200 if _object(http, said["oid"]).is_file() else 404)
    else:
        http.answer(404)


def put(http: Any, body: bytes) -> None:
    """Take an object of LFS; one whose content is not what its name says is refused, as S3 does."""
    oid = http.parts[-1]
    if http.hub.faults.puts:
        http.answer(http.hub.faults.puts.pop(0))
    elif hashlib.sha256(body).hexdigest() != oid:
        http.answer(400, b"checksum")
    else:
        _object(http, oid).parent.mkdir(exist_ok=True)
        _object(http, oid).write_bytes(body)
        http.answer(200)


def _object(http: Any, oid: str) -> Path:
    return Path(http.hub.root / ".lfs" / oid)


def _may_write(http: Any, repo: str) -> bool:
    """Whether the client may; answered where it may not."""
    if not http.known:
        http.refuse(401, "", "Invalid credentials in Authorization header")
    elif repo in http.hub.faults.read_only:
        http.refuse(403, "", "you do not have write access")
    elif not http.refused(repo, None, file=False):
        return True
    return False


def _create(http: Any, said: dict[str, Any]) -> None:
    kind = "datasets/" if said.get("type") == "dataset" else ""
    repo = f"{kind}{said['organization']}/{said['name']}"
    folder, url = http.hub.root / repo, {"url": f"{http.hub.endpoint}/{repo}"}
    if not http.known:
        http.refuse(401, "", "Invalid username or password.")
    elif repo in http.hub.faults.read_only:
        http.refuse(403, "", "you do not have the right to make this")
    elif folder.is_dir():
        http.say({**url, "error": "You already created this model repo"}, 409)
    else:
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        if said.get("visibility") == "private" or said.get("private"):
            http.hub.private.add(repo)
        http.say(url)


def _validate(http: Any, said: dict[str, Any]) -> None:
    """Front matter must be there and be YAML, as on the real hub."""
    from ruamel.yaml import YAML, YAMLError

    _, _, rest = said["content"].partition("---\n")
    try:
        fine = isinstance(YAML(typ="safe", pure=True).load(rest.partition("---\n")[0]), dict)
    except YAMLError:
        fine = False
    http.say({"errors": [] if fine else [{"message": "no YAML"}], "warnings": []}, 200 if fine else 400)


def _branch(http: Any, repo: str, name: str, said: Any) -> None:
    folder = http.hub.branch(repo, name)
    if folder.is_dir():
        http.say({"error": "it exists"}, 409)
        return
    shutil.copytree(http.hub.branch(repo), folder)
    http.say({})


def _preupload(http: Any, repo: str, revision: str, said: Any) -> None:
    folder = http.hub.folder(repo, revision)
    if folder is None:
        http.refuse(404, "RevisionNotFound", "no such branch")
        return
    http.say({"files": [_mode(folder, one["path"]) for one in said["files"]]})


def _mode(folder: Path, name: str) -> dict[str, Any]:
    large, file = name.endswith(LFS), folder / name
    oid = (sha256(file) if large else git_id(file.read_bytes())) if file.is_file() else None
    return {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}


def _batch(http: Any, said: dict[str, Any]) -> None:
    """Where to put which object; those that are there need not be sent."""
    found = []
    for one in said["objects"]:
        answer = {"oid": one["oid"], "size": one["size"]}
        if not _object(http, one["oid"]).is_file():
            upload = {"href": f"{http.hub.endpoint}/lfs/{one['oid']}"}
            answer["actions"] = {"upload": upload, "verify": {"href": f"{http.hub.endpoint}/lfs-verify"}}
        found.append(answer)
    http.say({"transfer": "basic", "objects": found})


def _commit(http: Any, repo: str, revision: str, body: Any) -> None:
    if http.hub.faults.commits:
        http.answer(http.hub.faults.commits.pop(0))
        return
    folder = http.hub.folder(repo, revision)
    lines = [json.loads(line) for line in body.splitlines()]
    parent = lines[0]["value"].get("parentCommit")
    if folder is None or parent not in (None, commit_of(folder)):
        http.say({"error": "the branch moved"}, 412)
        return
    http.hub.remember(folder)
    for line in lines[1:]:
        _apply(http, folder, line["key"], line["value"])
    if repo in http.hub.faults.loses:
        largest = max(folder.iterdir(), key=lambda file: (file.name.endswith(LFS), file.stat().st_size))
        largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    commit = http.hub.remember(folder)
    http.say({"commitUrl": f"{http.hub.endpoint}/{repo}/commit/{commit}", "commitOid": commit, "success": True})


def _apply(http: Any, folder: Path, kind: str, value: dict[str, Any]) -> None:
    file = folder / value["path"]
    if kind == "file":
        file.write_bytes(base64.b64decode(value["content"]))
    elif kind == "lfsFile":
        shutil.copyfile(_object(http, value["oid"]), file)
    else:
        file.unlink()
