"""Rows and batches: every sequence once, side by side, each with positions of its own."""

from __future__ import annotations

import random
from itertools import chain, islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.data.packing import pack
from lft.data.prepare import encode_stream, prepare
from lft.data.tokens import IGNORE, Counts, Tokens
from lft.errors import InputError
from lft.train import batches
from lft.train.batches import PackedRows, Segment, StreamedRows, collate
from tests.examples import ExampleList, encoder, eoi_tokenizer, example
from tests.tiny import sentences

TOKENIZER = eoi_tokenizer()
CAPACITY = 64
EXAMPLES = ExampleList([example(f"Say {n}.", text) for n, text in enumerate(sentences(30, seed=2))])


def new_encoder(overlong="split"):
    return encoder(CAPACITY, overlong, tokenizer=TOKENIZER)


EXPECTED = [Segment(tokens, number) for number, tokens in new_encoder().encode(EXAMPLES.examples)]


def streamed(seed=0, capacity=CAPACITY, examples=EXAMPLES):
    return StreamedRows(examples, new_encoder(), capacity, seed)


def one_pass(rows, sequences=len(EXPECTED)):
    """Rows until so many sequences have come."""
    taken, found = [], 0
    for row in rows:
        taken.append(row)
        found += len(row)
        if found >= sequences:
            return taken
    return taken


def by_example(segments):
    return sorted(segments, key=lambda segment: (segment.example, segment.tokens.input_ids))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(EXAMPLES, new_encoder(), tmp_path_factory.mktemp("cache"), lambda _: None)


# --- rows of a prepared split --------------------------------------------------------------------------------------


def test_packed_rows_hold_every_sequence_once_with_its_example(prepared):
    rows = PackedRows(prepared, CAPACITY)
    packed = [rows[number] for number in range(len(rows))]
    assert by_example(chain(*packed)) == by_example(EXPECTED)
    assert all(sum(len(segment.tokens) for segment in row) <= CAPACITY for row in packed)
    assert len(rows) == len(pack(prepared.lengths, CAPACITY)) < len(EXPECTED)


def test_without_packing_each_sequence_has_a_row_in_the_order_of_the_data(prepared):
    rows = PackedRows(prepared, None)
    assert [rows[number] for number in range(len(rows))] == [(segment,) for segment in EXPECTED]


def test_a_sequence_longer_than_a_row_is_an_error(prepared):
    with pytest.raises(InputError, match="cannot be packed"):
        PackedRows(prepared, max(prepared.lengths) - 1)


# --- rows of a stream ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [CAPACITY, None], ids=["packed", "unpacked"])
@pytest.mark.parametrize("window", [1, 7, 1000])
def test_a_stream_gives_every_sequence_once_a_pass_and_starts_over(monkeypatch, capacity, window):
    monkeypatch.setattr(batches, "STREAM_WINDOW", window)
    rows = iter(streamed(capacity=capacity))
    for _ in range(3):
        assert by_example(chain(*one_pass(rows))) == by_example(EXPECTED)


def test_streamed_rows_are_never_over_full(monkeypatch):
    monkeypatch.setattr(batches, "STREAM_WINDOW", 10)
    rows = one_pass(streamed())
    assert all(sum(len(segment.tokens) for segment in row) <= CAPACITY for row in rows)
    assert len(rows) < len(EXPECTED)


def test_streamed_rows_are_the_same_for_the_same_seed_and_shuffled_anew_each_pass():
    first, again, other = (list(islice(streamed(seed), 60)) for seed in (5, 5, 6))
    assert first == again != other
    size = len(one_pass(streamed(5)))
    assert first[:size] != first[size : 2 * size]
    assert sorted(map(repr, first[:size])) == sorted(map(repr, first[size : 2 * size]))


def test_the_order_of_a_stream_does_not_depend_on_other_random_numbers():
    random.seed(1)
    torch.manual_seed(1)
    first = list(islice(streamed(), 20))
    random.seed(2)
    torch.manual_seed(2)
    assert list(islice(streamed(), 20)) == first


def test_a_stream_is_read_a_window_at_a_time(monkeypatch):
    monkeypatch.setattr(batches, "STREAM_WINDOW", 4)
    monkeypatch.setattr("lft.data.prepare.SHARD", 2)
    read = []

    class Watched:
        def __iter__(self):
            for number, one in enumerate(EXAMPLES):
                read.append(number)
                yield one

    next(iter(streamed(examples=Watched())))
    assert len(read) <= 6


@pytest.mark.parametrize("examples", [[], [example("Why?", "")]], ids=["no examples", "empty outputs"])
def test_a_stream_with_nothing_to_train_on_is_an_error_not_an_end(examples):
    with pytest.raises(InputError, match="no token would be trained on"):
        list(streamed(examples=ExampleList(examples)))


def test_a_stream_that_never_trains_an_end_is_an_error_after_one_pass():
    long = ExampleList([example("Go on.", "the red cat runs over the stone " * 20)] * 3)
    rows = StreamedRows(long, new_encoder("truncate"), CAPACITY, 0)
    with pytest.raises(InputError, match="end-of-sequence token is never a label"):
        list(rows)


def test_a_stream_that_cannot_start_over_ends():
    once = iter(EXAMPLES.examples)
    assert by_example(chain(*streamed(examples=once))) == by_example(EXPECTED)


def test_a_too_long_example_stops_a_stream_under_overlong_error():
    rows = StreamedRows(EXAMPLES, encoder(20, "error", tokenizer=TOKENIZER), 20, 0)
    with pytest.raises(InputError) as caught:
        next(iter(rows))
    lengths = [len(tokens) for _, tokens in encode_stream(EXAMPLES, encoder(tokenizer=TOKENIZER))]
    first = next(number for number, length in enumerate(lengths) if length > 20)
    assert caught.value.where == f"example {first}"


# --- batches -------------------------------------------------------------------------------------------------------


@st.composite
def rows_of_segments(draw):
    """Up to four rows of up to four sequences, as an encoder makes them: the first token is no label."""
    ids = st.integers(0, 383)

    def segment(number):
        first, rest = draw(ids), draw(st.lists(st.tuples(ids, st.booleans()), max_size=6))
        labels = [token if trained else IGNORE for token, trained in rest]
        return Segment(Tokens((first, *(token for token, _ in rest)), (IGNORE, *labels)), number)

    return [
        tuple(segment(draw(st.integers(0, 10**6))) for _ in range(draw(st.integers(1, 4))))
        for _ in range(draw(st.integers(1, 4)))
    ]


@given(rows_of_segments())
@settings(deadline=None)
def test_a_batch_is_all_sequences_side_by_side_without_padding(rows):
    batch = collate([{"row": row} for row in rows])
    segments, lengths = list(chain(*rows)), batch["segment_lengths"]
    assert {tuple(batch[name].shape) for name in ("input_ids", "labels", "position_ids")} == {(1, sum(lengths))}
    assert all(batch[name].dtype == torch.long for name in ("input_ids", "labels", "position_ids"))
    parts = {name: batch[name][0].split(lengths) for name in ("input_ids", "labels", "position_ids")}
    assert len(segments) == len(lengths)
    for place, segment in enumerate(segments):
        assert parts["input_ids"][place].tolist() == list(segment.tokens.input_ids)
        assert parts["labels"][place].tolist() == list(segment.tokens.labels)
        assert parts["position_ids"][place].tolist() == list(range(lengths[place]))
        assert parts["labels"][place][0] == IGNORE
    assert batch["examples"] == tuple(segment.example for segment in segments)


def test_no_sequence_of_a_batch_is_predicted_from_the_one_before_it(prepared):
    """The loss shifts by one: a label at a sequence's first token would be predicted by its neighbour's last."""
    rows = PackedRows(prepared, CAPACITY)
    batch = collate([{"row": rows[number]} for number in range(len(rows))])
    starts = [0, *torch.tensor(batch["segment_lengths"]).cumsum(0).tolist()[:-1]]
    assert (batch["position_ids"][0] == 0).nonzero().flatten().tolist() == starts
    assert (batch["labels"][0, starts] == IGNORE).all()
    assert prepared.counts != Counts()
    assert int((batch["labels"] != IGNORE).sum()) == prepared.counts.supervised
    assert batch["input_ids"].shape == (1, prepared.counts.tokens)
