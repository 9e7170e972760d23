"""An adapter's files from the hub: listed at one commit, fetched into the hub library's cache, and checked here.

    listing(ref) ──▶ Listing: commit, and of each file that an adapter may have its size and digest
    download(listing) ──▶ folder of that commit; every file is what the listing says, byte for byte

The hub library compares sizes only. A file in Git LFS has a sha256 in the listing, a small one the SHA-1 that git gives
its content; both are computed here, whether the file was just fetched or lay in the cache.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.adapters.configuration import CONFIG_FILE
from lft.adapters.folder import KNOWN
from lft.adapters.signature import LARGEST, SIGNATURE_FILE
from lft.base.attach import WEIGHTS
from lft.base.binding import BINDING_FILE
from lft.base.files import Notify, need_room
from lft.base.hub_cache import forget, note_revision
from lft.errors import InputError
from lft.hub.access import COMMIT, HubRef, hub_library, sign_of_life
from lft.hub.commit import content_digest
from lft.hub.waits import repo_listing

RECORD: Final = "lft-manifest.json"  # the registry's manifest of a version that lft pushed
PARENTS: Final = "lft-parents.json"  # where on the hub the adapters are that it was made from
RUN_FILES: Final = ("recipe.yaml", "lock.json")  # of the run that made it, beside that record
_MOST: Final[Mapping[str, int]] = {
    **{name: most for name, (_, most) in KNOWN.items()},
    RECORD: 16 << 20,
    PARENTS: 1_000_000,
    **dict.fromkeys(RUN_FILES, 4_000_000),
    SIGNATURE_FILE: LARGEST,
}
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA1: Final = re.compile(r"[0-9a-f]{40}")
_EVERY: Final = 10.0  # seconds between two words about a download
_TIMES: Final = 2  # a file that arrives damaged is fetched once more


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of a repository: bytes, and the digest that its content must have (sha256, or the SHA-1 of a git blob)."""

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at a commit: the files that an adapter may have, and the names of all others."""

    ref: HubRef
    commit: str
    files: Mapping[str, Remote]
    others: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the adapter's files."""
        return sum(one.size for one in self.files.values())


def listing(ref: HubRef, notify: Notify) -> Listing:
    """Ask the hub which commit a revision is now, and what that commit holds.

    Raises:
        InputError: the hub does not know it, does not let us in, or it holds no adapter that may be read.
    """
    with hub_library(ref, "pull"):
        info = repo_listing(ref.repo, ref.revision, notify)
    return _listed(ref, info)


def _listed(ref: HubRef, info: Any) -> Listing:
    siblings = {str(one.rfilename): one for one in info.siblings or ()}
    if not COMMIT.fullmatch(str(info.sha)):
        raise InputError("the hub does not say which commit this is", where=str(ref), fix="check HF_ENDPOINT")
    _require_adapter(ref, siblings)
    files = {name: _remote(ref, siblings[name]) for name in sorted(siblings) if name in _MOST}
    if RECORD not in files:
        files = {name: one for name, one in files.items() if name not in RUN_FILES}
    return Listing(ref, info.sha, files, tuple(sorted(name for name in siblings if name not in files)))


def _remote(ref: HubRef, sibling: Any) -> Remote:
    """A file's size and digest; InputError where the hub does not give them, or the file is too large to be that."""
    name = str(sibling.rfilename)
    lfs = sibling.lfs
    digest = str(lfs["sha256"] if lfs else sibling.blob_id)
    size = (lfs["size"] if lfs else None) or sibling.size
    if not isinstance(size, int) or not (_SHA256 if lfs else _SHA1).fullmatch(digest):
        raise InputError(
            f"the hub does not say what {name} is, so nobody could tell a damaged one",
            where=str(ref),
            fix="pull it from huggingface.co, or from a mirror that serves files' metadata",
        )
    if size > _MOST[name]:
        raise InputError(f"{name} has {size:,} bytes; {_MOST[name]:,} are allowed", where=str(ref))
    return Remote(size, digest)


def _require_adapter(ref: HubRef, names: Iterable[str]) -> None:
    found = set(names)
    if (CONFIG_FILE in found and WEIGHTS in found) or is_stack(found):
        return
    if CONFIG_FILE in found:
        pickled = sorted(name for name in found if name.endswith(_PICKLES) and not name.startswith("training_args"))
        what = (
            f"this adapter has its weights only as {pickled[0]}, a pickle, which can run code when it is opened and is "
            "never fetched"
            if pickled
            else f"this adapter has no {WEIGHTS}"
        )
        raise InputError(what, where=str(ref), fix="choose a revision or a copy of it with safetensors")
    inside = sorted({name.rpartition("/")[0] for name in found if name.endswith(f"/{CONFIG_FILE}")})
    if inside:
        raise InputError(
            f"its adapters are in folders ({', '.join(inside[:5])}), and only one at the top is pulled",
            where=str(ref),
            fix=f"hf download {ref.repo} --include '{inside[0]}/*' --local-dir FOLDER, then lft adapters add it",
        )
    if "config.json" in found:
        raise InputError(
            "this repository holds a whole model, not an adapter", where=str(ref), fix="give it as base.model"
        )
    raise InputError(f"this repository holds no adapter: it has no {CONFIG_FILE}", where=str(ref), fix="check the name")


def is_stack(names: Iterable[str]) -> bool:
    """Whether files of these names are a stack that lft pushed: no tensors, only its record of adapters elsewhere."""
    found = set(names)
    return {BINDING_FILE, RECORD} <= found and not {CONFIG_FILE, WEIGHTS} & found


def download(listing: Listing, notify: Notify) -> Path:
    """The folder of a commit in the hub library's cache, with every listed file fetched and checked.

    Raises:
        InputError: the hub fails, or what it sends is not what it says it has. What was damaged is gone again.
        MachineError: the disk is full.
    """
    from huggingface_hub import constants

    ref = HubRef(listing.ref.repo, listing.commit)
    for attempt in range(_TIMES):
        need_room(Path(constants.HF_HUB_CACHE), 0 if attempt else listing.size, f"downloading {ref.repo}")
        if not attempt:
            notify(f"pulling {ref.repo} at {listing.commit[:12]} ({listing.size / 1e6:.1f} MB)")
        with hub_library(ref, "pull"), sign_of_life(notify, "pulling"):
            folder = _snapshot(ref, listing.files, notify)
        odd = [name for name, one in listing.files.items() if not _is(folder / name, one)]
        if not odd:
            note_revision(folder, listing.ref.revision, listing.commit)
            return folder
        for name in odd:
            forget(folder / name)
    raise InputError(
        f"{', '.join(odd)} came damaged, twice: not what the hub's own listing says",
        where=str(listing.ref),
        fix="pull it again later; if that does not help, tell its owner",
    )


def cached(ref: HubRef) -> tuple[str, Path] | None:
    """Commit and folder of an adapter that the hub library has whole; no request is made.

    The names of the library's blobs are the digests of the listing, so its files can be checked without the hub.

    Raises:
        InputError: one of them is damaged.
    """
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError

    try:
        get_cached_repo_tree(ref.repo, revision=ref.revision)  # without it nobody knows whether a file is missing
        said = snapshot_download(
            ref.repo, revision=ref.revision, allow_patterns=list(_MOST), ignore_patterns=["*/*"], local_files_only=True
        )
    except (CachedRepoTreeNotFoundError, LocalEntryNotFoundError):  # also where it is there in part
        return None
    folder = Path(said)
    if not all((folder / name).is_file() for name in (CONFIG_FILE, WEIGHTS)) and not is_stack(fetched_names(folder)):
        return None
    for name in _MOST:
        path = folder / name
        if path.is_file() and not _is_its_blob(path):
            raise InputError(
                f"{name} is damaged in the hub library's cache, or not a link to a blob that could be checked",
                where=str(folder),
                fix=f"pull {ref} again with the hub in reach",
            )
    return folder.name, folder


def fetched_names(folder: Path) -> tuple[str, ...]:
    """Names of the files in a snapshot that an adapter may have; another program may have fetched more."""
    return tuple(name for name in _MOST if (folder / name).is_file())


def _snapshot(ref: HubRef, names: Iterable[str], notify: Notify) -> Path:
    from huggingface_hub import snapshot_download

    kind = _counter(notify)
    wanted = list(names)
    return Path(snapshot_download(ref.repo, revision=ref.revision, allow_patterns=wanted, tqdm_class=kind))


def _is(path: Path, wanted: Remote) -> bool:
    """Whether a file has this size and content."""
    try:
        return path.stat().st_size == wanted.size and content_digest(path, wanted.digest) == wanted.digest
    except OSError:
        return False


def _is_its_blob(path: Path) -> bool:
    name = path.resolve().name
    return bool(_SHA256.fullmatch(name) or _SHA1.fullmatch(name)) and content_digest(path, name) == name


def _counter(notify: Notify) -> type:
    """A progress bar as the hub library wants it, that says how far it is in lines and draws nothing."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Counter(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
        """Counts bytes of all files together; the library makes one for that, and others that are not shown."""

        said = time.monotonic()
        lock = threading.Lock()

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": False, "mininterval": 3600, "delay": 0})

        def display(self, *_: Any, **__: Any) -> None:
            """Nothing is drawn."""

        def update(self, n: float | None = 1) -> bool | None:
            """Some bytes more."""
            self.n += n or 0
            now = time.monotonic()
            with Counter.lock:
                late = self.unit == "B" and bool(self.total) and now - Counter.said >= _EVERY
                if late:
                    Counter.said = now
            if late:
                notify(f"{self.n / 1e6:.1f} of {self.total / 1e6:.1f} MB")
            return None

        def refresh(self, *_: Any, **__: Any) -> None:
            """Nothing is drawn."""

        def close(self) -> None:
            """Nothing was drawn."""

    return Counter
