"""How many of what: a stratified draw that does not depend on the order of the documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lft.corpus.schema import Quotas
from lft.corpus.select.rows import LENGTHS, Rows

_UNLIMITED: Final = np.iinfo(np.int64).max


def drawn(rows: Rows, wanted: Quotas, sources: Sequence[str]) -> list[str | None]:
    """For each row why there was no place for it, or None where it is taken.

    Documents come to the draw in an order that is even over the strata (source, language, length): of a stratum's n
    documents the k-th by lot comes at (k - 1/2) / n. Each is taken while its source, its language, its length and the
    total have places left. So shares of strata stay as they were except where a quota says otherwise, and no document
    that is refused could be taken beside the others.
    """
    quotas = _columns(rows, wanted, sources)
    if not quotas:
        return [None] * len(rows)
    refused: list[str | None] = [None] * len(rows)
    columns = [(codes.tolist(), left.tolist(), names) for codes, left, names in quotas]
    for row in _even_order(rows).tolist():
        full = next((names[codes[row]] for codes, left, names in columns if left[codes[row]] == 0), None)
        if full is not None:
            refused[row] = f"the quota of {full} is full"
            continue
        for codes, left, _ in columns:
            left[codes[row]] -= 1
    return refused


def has_quotas(wanted: Quotas) -> bool:
    """Whether a build limits anything."""
    return wanted.total is not None or bool(wanted.by_source or wanted.by_lang or wanted.by_length)


def _columns(
    rows: Rows, wanted: Quotas, sources: Sequence[str]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], list[str]]]:
    """For each kind of quota: each row's class, the places of each class, and what each class is called."""
    found = []
    if wanted.by_source:
        left = [wanted.by_source.get(name, _UNLIMITED) for name in sources] + [_UNLIMITED]
        names = [f"source {name}" for name in sources] + [""]
        found.append((rows["source"].astype(np.int64), np.array(left), names))
    if wanted.by_lang:
        known, codes = np.unique(rows["lang"], return_inverse=True)
        langs = [lang.decode() for lang in known.tolist()]
        left = [wanted.by_lang.get(lang, _UNLIMITED) for lang in langs]
        found.append((codes.astype(np.int64), np.array(left), [f"language {lang}" for lang in langs]))
    if wanted.by_length:
        left = [wanted.by_length.get(name, _UNLIMITED) for name in LENGTHS]
        found.append((rows["length"].astype(np.int64), np.array(left), [f"length {name}" for name in LENGTHS]))
    if wanted.total is not None:
        found.append((np.zeros(len(rows), np.int64), np.array([wanted.total]), ["the whole"]))
    return found


def _even_order(rows: Rows) -> NDArray[np.intp]:
    """Rows in the order of the draw; see ``drawn``."""
    order = np.lexsort((rows["draw"], rows["length"], rows["lang"], rows["source"]))
    stratum = rows[["source", "lang", "length"]][order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = stratum[1:] != stratum[:-1]
    starts = np.flatnonzero(first)
    sizes = np.diff(starts, append=len(rows))
    place = np.arange(len(rows)) - np.repeat(starts, sizes)
    position = np.empty(len(rows))
    position[order] = (place + 0.5) / np.repeat(sizes, sizes)
    return np.lexsort((rows["draw"], position))
