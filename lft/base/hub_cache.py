"""The hub library's cache of a repository: what a commit lacks there, and putting right what is not whole.

The library keeps the listing of every commit that it fetched as a whole, and can say itself which files are missing.
Of one that another program fetched file by file it has no listing; then the files themselves have to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lft.base.fingerprint import tokenizer_fingerprint
from lft.base.headers import read_headers
from lft.errors import InputError, LftError
from lft.files import write_text


def cached_listing(repo: str, commit: str) -> dict[str, int] | None:
    """Files of a commit with their bytes, as the hub once listed them; None where nobody kept that."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return {one.path: one.size for one in get_cached_repo_tree(repo, revision=commit)}
    except CachedRepoTreeNotFoundError:
        return None


def absent(folder: Path, files: Mapping[str, int]) -> list[str]:
    """Those of the files that are not in a folder, or there with another size (0: the hub did not say which)."""
    found = []
    for name, size in files.items():
        path = folder / name
        if not path.is_file() or (size and path.stat().st_size != size):
            found.append(name)
    return found


def unlisted_faults(folder: Path) -> list[str]:
    """Why a folder is no whole model, found without a listing: configuration, weights by their headers, tokenizer."""
    found = [] if (folder / "config.json").is_file() else ["config.json is missing"]
    for check in (read_headers, tokenizer_fingerprint):
        try:
            check(folder)
        except InputError as error:
            found.append(error.what)
    return found


def forget(path: Path) -> None:
    """Take a damaged file out of the hub library's cache, link and blob; else it would never be fetched again."""
    blob = path.resolve()
    if blob.parent.name == "blobs":
        blob.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def note_revision(snapshot: Path, revision: str | None, commit: str) -> None:
    """Write down what a branch or tag was, as the library does when it asks for one itself; a commit needs no note."""
    if revision != commit:
        with suppress(LftError):  # a cache that may only be read
            write_text(snapshot.parent.parent / "refs" / (revision or "main"), commit)
