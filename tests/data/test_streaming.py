"""Streams of several files, and splits that are held in memory."""

from __future__ import annotations

import json

import pytest

from lft.data.sources import open_split
from lft.data.streaming import held_split, stream_split
from lft.errors import InputError
from lft.recipe.schema import Data, Split


def quiet(_: str) -> None: ...


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def data_of(folder, validation=None):
    return Data(train=str(folder), split=Split(validation=validation))


LONGFORM = {"input": "question", "output": "answer"}
ALPACA = {"instruction": "do", "input": "a case", "output": "done"}


@pytest.mark.parametrize(("first", "second"), [(LONGFORM, ALPACA), (ALPACA, LONGFORM)])
def test_a_file_of_another_format_is_an_error_when_the_stream_reaches_it(tmp_path, first, second):
    """Alpaca's `input` is a context, LongForm's is the question: read as the other, a row is a wrong example."""
    write(tmp_path / "d" / "train" / "0.jsonl", first, first)
    write(tmp_path / "d" / "train" / "1.jsonl", second)
    stream = iter(stream_split(data_of(tmp_path / "d"), "train", seed=1, notify=quiet))
    assert [next(stream).output for _ in range(2)] == [first["output"]] * 2
    with pytest.raises(InputError) as lazy:
        next(stream)
    with pytest.raises(InputError) as eager:
        open_split(data_of(tmp_path / "d"), "train", seed=1, notify=quiet, cache=tmp_path / "cache")
    assert str(lazy.value) == str(eager.value)


def test_the_format_is_that_of_the_first_file_that_has_the_split(tmp_path):
    write(tmp_path / "d" / "rows-0.jsonl", {**ALPACA, "split": "validation"})
    write(tmp_path / "d" / "rows-1.jsonl", {**LONGFORM, "split": "train"})
    data = data_of(tmp_path / "d", "validation")
    for part, instruction in (("train", "question"), ("validation", "do")):
        opened = open_split(data, part, seed=1, notify=quiet, cache=tmp_path / "cache")
        stream = stream_split(data, part, seed=1, notify=quiet)
        assert [example.turns[0].content for example in stream] == [instruction]
        assert list(stream) == list(opened)
        assert stream.verdicts == opened.verdicts


def test_a_held_split_has_the_examples_and_a_digest_of_their_content(tmp_path):
    write(tmp_path / "d" / "validation.jsonl", LONGFORM, {**LONGFORM, "output": "one 1"})
    data = data_of(tmp_path / "d", "validation")
    held = held_split(data, "validation", notify=quiet)
    opened = open_split(data, "validation", seed=1, notify=quiet, cache=tmp_path / "cache")
    assert list(held) == list(held) == list(opened)
    assert (len(held), held.verdicts) == (len(opened), opened.verdicts)
    assert held.digest == held_split(data, "validation", notify=quiet).digest
    write(tmp_path / "d" / "validation.jsonl", LONGFORM, {**LONGFORM, "output": "two 2"})  # of the same size
    assert held_split(data, "validation", notify=quiet).digest != held.digest
    assert held_split(data_of(tmp_path / "d"), "validation", notify=quiet) is None
