"""The audit: exact numbers on sets made by hand, and a report where training would refuse."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.data.audit import BINS, audit
from lft.data.prepare import prepare
from lft.data.tokens import Counts
from lft.errors import InputError
from tests.examples import ExampleList, encoded, encoder, eoi_tokenizer, example, talk, texts, written
from tests.tiny import sentences

TOKENIZER = eoi_tokenizer()
TEXTS = sentences(8, seed=3, low=20, high=24)
LONG = "the red cat runs over the old stone. " * 20
LIMIT = 120


def quiet(_: str) -> None: ...


def nearly(text: str) -> str:
    """The same text but for its last word."""
    return text.rsplit(" ", 1)[0] + " otherwise."


TRAIN = ExampleList(
    [
        example("Tell 0.", TEXTS[0], lang="en"),
        example("Tell 1.", TEXTS[1], lang="en"),
        example("Tell 1.", TEXTS[1].upper(), lang="de"),  # input and output twice, but for case
        example("Tell 2.", f" {TEXTS[1]}\n", lang="en"),  # output a third time, but for white space
        example("Tell 3.", TEXTS[2]),
        example("Tell 4.", "", lang="en"),
        example("Tell 5.", " "),
        example("Tell 6.", LONG, lang="en"),
        example("Tell 7.", LONG + "And on.", lang="en"),
        example("Tell 0.", TEXTS[3], lang="en", context="A case."),  # the context tells it from the first
    ],
    verdicts=("a.jsonl: longform", "b.jsonl: alpaca"),
)
VALIDATION = ExampleList(
    [
        example("Ask 0.", TEXTS[4]),
        example("Ask 1.", TEXTS[0]),  # in train word for word
        example("Ask 2.", nearly(TEXTS[2])),  # nearly
        example("Ask 3.", ""),  # empty outputs are not copies
        example("Ask 4.", LONG),  # in train, though both are dropped as too long
    ]
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return audit(TRAIN, VALIDATION, encoder(LIMIT, tokenizer=TOKENIZER), tmp_path_factory.mktemp("a"), quiet)


# --- numbers -------------------------------------------------------------------------------------------------------


def test_counts_are_exact(found):
    kept = encoded(encoder(LIMIT, "drop", tokenizer=TOKENIZER), *TRAIN)
    longest = len(encoded(encoder(tokenizer=TOKENIZER), TRAIN.examples[8])[0])
    assert found.train.counts == Counts(
        examples=10,
        kept=6,
        tokens=sum(map(len, kept)),
        supervised=sum(tokens.supervised for tokens in kept),
        eos_trained=6,
        overlong=2,
        dropped=2,
        empty=2,
        longest=longest,
        first_overlong=7,
    )
    assert (found.validation.counts.examples, found.validation.counts.kept, found.validation.counts.dropped) == (
        5,
        3,
        1,
    )


def test_lengths_are_those_of_the_sequences_kept(found):
    lengths = [len(tokens) for tokens in encoded(encoder(LIMIT, "drop", tokenizer=TOKENIZER), *TRAIN)]
    assert found.train.median == int(np.median(lengths))
    assert found.train.p95 == int(np.percentile(lengths, 95))
    for entry in found.train.histogram:
        assert entry.count == sum(entry.low <= length < entry.high for length in lengths)
    assert sum(entry.count for entry in found.train.histogram) == 6


def test_duplicates_languages_and_verdicts_are_told(found):
    assert found.train.duplicate_outputs == 2
    assert found.train.duplicate_inputs == 1
    assert found.train.languages == (("en", 7), ("unmarked", 2), ("de", 1))
    assert found.train.verdicts == ("a.jsonl: longform", "b.jsonl: alpaca")
    assert (found.validation.duplicate_outputs, found.validation.duplicate_inputs) == (0, 0)
    assert (found.train.part, found.validation.part) == ("train", "validation")


def test_shared_outputs_are_found_word_for_word_and_nearly(found):
    assert [(pair.left_index, pair.right_index, pair.exact) for pair in found.shared] == [
        (0, 1, True),
        (4, 2, False),
        (7, 4, True),
    ]


def test_problems_are_a_line_each(found):
    longest = found.train.counts.longest
    other = found.validation.counts.longest
    assert found.problems == (
        f"train: 2 examples are longer than data.max_length {LIMIT} (first example 7, longest {longest}); "
        "training refuses them under data.overlong: error",
        "train: 2 examples have an empty output and are left out",
        "train: 2 outputs stand there more than once",
        f"validation: 1 examples are longer than data.max_length {LIMIT} (first example 4, longest {other}); "
        "training refuses them under data.overlong: error",
        "validation: 1 examples have an empty output and are left out",
        "validation is not held out: 2 of its outputs stand in train word for word, 1 nearly",
    )


def test_a_good_set_has_no_problems(tmp_path):
    train = ExampleList([example(f"Tell {n}.", text) for n, text in enumerate(TEXTS[:5])])
    validation = ExampleList([example(f"Ask {n}.", text) for n, text in enumerate(TEXTS[5:])])
    found = audit(train, validation, encoder(tokenizer=TOKENIZER), tmp_path, quiet)
    assert found.problems == ()
    assert found.shared == ()


def test_sequences_without_a_trained_end_are_a_problem(tmp_path):
    train = ExampleList([example("Tell.", TEXTS[0]), example("Go on.", LONG)])
    found = audit(train, None, encoder(LIMIT, "truncate", tokenizer=TOKENIZER), tmp_path, quiet)
    assert found.problems == ("train: 1 sequences do not end with a trained end token",)
    assert found.validation is None
    assert (found.train.counts.truncated, found.train.counts.kept) == (1, 2)


def test_too_long_examples_are_no_problem_where_the_recipe_drops_them(tmp_path):
    train = ExampleList([example("Tell.", TEXTS[0]), example("Go on.", LONG)])
    found = audit(train, None, encoder(LIMIT, "drop", tokenizer=TOKENIZER), tmp_path, quiet)
    assert found.problems == ()
    assert found.train.counts.dropped == 1


# --- never a refusal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("examples", "limit", "problem"),
    [
        ([example("Go on.", LONG)], 20, "train: 1 examples are longer than"),
        ([example("Go on.", LONG)], 20, "train: no token is left to train on"),
        ([example("Go on.", "")], 20, "train: no token is left to train on"),
        ([], 20, "train: no token is left to train on"),
    ],
)
def test_a_set_with_nothing_to_train_on_is_reported(tmp_path, examples, limit, problem):
    found = audit(ExampleList(examples), None, encoder(limit, "error", tokenizer=TOKENIZER), tmp_path, quiet)
    assert any(line.startswith(problem) for line in found.problems)
    assert (found.train.histogram, found.train.median, found.train.p95) == ((), 0, 0)


@given(st.lists(st.tuples(written, texts), max_size=6), st.integers(2, 60))
@settings(deadline=None, max_examples=25)
def test_an_audit_under_overlong_error_never_raises(tmp_path_factory, pairs, limit):
    train = ExampleList([example(*pair) for pair in pairs])
    one = encoder(limit, "error", tokenizer=TOKENIZER)
    found = audit(train, train, one, tmp_path_factory.mktemp("any"), quiet)
    counts = found.train.counts
    assert counts.examples == len(pairs) == counts.kept + counts.empty + counts.overlong
    assert sum(entry.count for entry in found.train.histogram) == counts.kept
    assert len(found.train.histogram) <= BINS
    edges = [(entry.low, entry.high) for entry in found.train.histogram]
    assert all(before[1] == after[0] for before, after in pairwise(edges))
    assert one.counts == Counts()


def test_an_example_that_does_not_fit_the_format_is_an_error_all_the_same(tmp_path):
    with pytest.raises(InputError, match="cannot be written as longform-eoi"):
        audit(ExampleList([talk("a", "b", "c", "d")]), None, encoder(tokenizer=TOKENIZER), tmp_path, quiet)


def test_training_finds_the_tokens_of_the_audit(tmp_path):
    one, train = encoder(LIMIT, tokenizer=TOKENIZER), ExampleList(TRAIN.examples[:7])
    audit(train, None, one, tmp_path, quiet)
    assert prepare(train, replace(one, counts=Counts()), tmp_path, quiet).cached


def test_each_example_is_read_once_by_the_audit_and_once_by_the_tokenizer(tmp_path):
    class Watched(ExampleList):
        def __iter__(self):
            passes.append(self.digest)
            return super().__iter__()

    passes = []
    train, validation = Watched(TRAIN.examples), Watched(VALIDATION.examples)
    first = audit(train, validation, encoder(LIMIT, tokenizer=TOKENIZER), tmp_path, quiet)
    assert sorted(passes) == sorted([train.digest, validation.digest] * 2)
    passes.clear()
    assert audit(train, validation, encoder(LIMIT, tokenizer=TOKENIZER), tmp_path, quiet) == first
    assert sorted(passes) == sorted([train.digest, validation.digest]), "tokens come from the cache"
