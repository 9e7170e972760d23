"""The options past the paper in their order: translated documents join, texts are rewritten, constraints are added."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from lft.ask.asking import Notify
from lft.ask.ledger import Ledger
from lft.ask.request import Model
from lft.corpus.beyond.constraints import constrain
from lft.corpus.beyond.rewrite import rewrite
from lft.corpus.beyond.translate import Models, by_translation, takes_it
from lft.corpus.document import Document, Pair
from lft.corpus.load import Asked
from lft.corpus.schema import Build
from lft.corpus.step import Counter, Report, read_records

PAIRS: Final = "pairs.jsonl"


def go_beyond(
    build: Build,
    documents: Iterable[Document],
    pairs: Path,
    out: Path,
    model: Callable[[Asked], Model],
    ledger: Ledger,
    notify: Notify,
) -> Report:
    """Write ``out/pairs.jsonl``, sorted by id; without options, the pairs as they came.

    Args:
        build: ``beyond`` says what is asked.
        documents: all that were selected; those of ``beyond.translate`` have no pair yet.
        pairs: file of the others' pairs.
        out: an existing folder.
        model: opens a backend.
        ledger: of all answers.
        notify: told what takes long.

    Raises:
        LftError: a model cannot be had or refuses.
    """
    wanted, counter, figures = build.beyond, Counter(), dict[str, Any]()
    made = [Pair.of(record) for record in read_records(pairs)]
    counter.came = len(made)
    if wanted.translate is not None:
        those = [one for one in documents if takes_it(wanted.translate, one)]
        both = Models(
            model(Asked("beyond.translate.backend", wanted.translate.backend)),
            model(Asked("instruct.backend", build.instruct.backend)),
        )
        found = by_translation(build, wanted.translate, those, both, ledger, notify, counter)
        figures["by translation"] = len(found)
        made = sorted([*made, *found], key=lambda pair: pair.id)
    if wanted.rewrite is not None:
        opened = model(Asked("beyond.rewrite.backend", wanted.rewrite.backend))
        done = rewrite(build, wanted.rewrite, made, opened, ledger, notify)
        made = list(done.pairs)
        figures |= {"rewritten": done.rewritten, "texts that stayed": done.kept}
    if wanted.constraints is not None:
        opened = model(Asked("beyond.constraints.backend", wanted.constraints.backend))
        drawn = constrain(build, wanted.constraints, made, opened, ledger, notify)
        made = list(drawn.pairs)
        figures |= {"with constraints": drawn.constrained, "answers without a usable constraint": drawn.unread}
    with (out / PAIRS).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(pair.record(), ensure_ascii=False) + "\n" for pair in made)
    return counter.report("beyond", figures)
