"""One document near the middle of each cluster, as the paper chose half of its C4 texts.

Clustering maps the vectors' file into memory and reads batches from it. Memory: 8 bytes for each document of the source
at hand, and 4 bytes a dimension for each centre and each document of a batch (4,096 documents or twice the clusters; up
to 10,000 documents of a source are one batch).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_BATCH: Final = 4096  # documents of a step of k-means
_WHOLE: Final = 10_000  # up to so many documents k-means looks at all of them in each step
_PASSES: Final = 5  # of mini-batch k-means over the documents


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
