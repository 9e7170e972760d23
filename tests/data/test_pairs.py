"""An encoder-decoder's example: two sides, each bounded by itself and closed, and nothing lost in silence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.tokens import extend_tokenizer
from lft.data.audit import audit
from lft.data.pairs import Pair
from lft.data.prepare import cache_key, prepare
from lft.data.preview import sides_of, token_views
from lft.data.prompts import PromptFormat, prompt_text
from lft.data.tokens import IGNORE, Encoder
from lft.errors import InputError
from tests.examples import ExampleList, encoded, example, talk
from tests.tiny import sentences, tiny_pair_model, tiny_pair_tokenizer

FORM = PromptFormat("plain", encoder_decoder=True, newlines="token")
TOKENIZER = tiny_pair_tokenizer()
extend_tokenizer(TOKENIZER, FORM.added_tokens)
EOS = TOKENIZER.eos_token_id
phrases = st.lists(st.sampled_from(sentences(30, low=1, high=5)), min_size=1, max_size=3).map("\n".join)


def encoder(max_length: int = 512, overlong="error") -> Encoder:
    return Encoder(TOKENIZER, FORM, max_length, overlong)


@given(phrases, phrases)
@settings(deadline=None)
def test_each_side_is_its_text_and_its_end(instruction, output):
    (pair,) = encoded(encoder(), example(instruction, output))
    assert isinstance(pair, Pair)
    assert list(pair.input_ids) == TOKENIZER(instruction)["input_ids"]
    assert list(pair.labels) == TOKENIZER(output)["input_ids"]
    assert pair.input_ids[-1] == pair.labels[-1] == EOS
    assert (len(pair), pair.supervised) == (len(pair.input_ids) + len(pair.labels), len(pair.labels))


@given(phrases)
@settings(deadline=None, max_examples=20)
def test_the_encoder_reads_at_generation_what_it_read_in_training(instruction):
    from lft.base.decode import Decoding, generate

    (pair,) = encoded(encoder(), example(instruction, "a cat"))
    model, seen = tiny_pair_model("t5"), []
    plain = model.encoder.forward
    model.encoder.forward = lambda *a, **kw: seen.append(kw["input_ids"][0].tolist()) or plain(*a, **kw)
    generate(model, TOKENIZER, [prompt_text(FORM, talk(instruction).turns, TOKENIZER)], Decoding(1, greedy=True))
    assert seen[0] == list(pair.input_ids)


def test_an_empty_output_is_left_out_and_counted():
    one = encoder()
    assert encoded(one, example("the cat", "  "), example("a", "b")) != []
    assert (one.counts.examples, one.counts.kept, one.counts.empty) == (2, 1, 1)


LONG = "the red cat runs over the big tree"


@pytest.mark.parametrize(
    ("one", "inputs", "outputs"),
    [(example(LONG, "a cat"), 1, 0), (example("a cat", LONG), 0, 1), (example(LONG, LONG), 1, 1)],
    ids=["input", "output", "both"],
)
def test_each_side_is_bounded_by_itself_and_counted(one, inputs, outputs):
    for overlong in ("drop", "truncate"):
        encoding = encoder(5, overlong)
        parts = encoded(encoding, one)
        counts = encoding.counts
        assert (counts.overlong, counts.inputs_overlong, counts.outputs_overlong) == (1, inputs, outputs)
        assert counts.longest == len(TOKENIZER(LONG)["input_ids"])
        assert all(part.extent <= 5 for part in parts)
        assert (counts.dropped, counts.truncated) == ((1, 0) if overlong == "drop" else (0, 1))
    with pytest.raises(InputError, match=r"more than data\.max_length 5"):
        encoded(encoder(5), one)
    assert encoded(encoder(9), one)  # each side alone fits, both together would not


def test_a_cut_input_keeps_its_end_and_a_cut_output_does_not_learn_one():
    encoding = encoder(5, "truncate")
    (pair,) = encoded(encoding, example(LONG, LONG))
    whole = TOKENIZER(LONG)["input_ids"]
    assert pair.input_ids == (*whole[:4], EOS)
    assert pair.labels == tuple(whole[:5])
    assert encoding.counts.tokens_cut == 2 * (len(whole) - 5)
    assert encoding.counts.eos_trained == 0


def test_pairs_come_back_from_the_cache(tmp_path):
    examples = ExampleList([example("the cat\nruns", "over\nthe tree"), example("a", "b c d")])
    first = prepare(examples, encoder(), tmp_path, lambda _: None)
    again = prepare(examples, encoder(), tmp_path, lambda _: None)
    assert again.cached
    assert [again.tokens(i) for i in (0, 1)] == [first.tokens(i) for i in (0, 1)] == encoded(encoder(), *examples)
    assert again.lengths == [len(pair) for pair in encoded(encoder(), *examples)]


def test_the_cache_tells_the_ways_of_writing_apart():
    forms = [
        PromptFormat("plain"),
        FORM,
        PromptFormat("plain", encoder_decoder=True, newlines="marker"),
        PromptFormat("plain", newlines="token"),
    ]
    assert len({cache_key("data", Encoder(TOKENIZER, form, 64, "error")) for form in forms}) == 4


def test_too_long_a_set_is_refused_with_both_sides_named(tmp_path):
    examples = ExampleList([example(LONG, "a"), example("a", LONG), example("a", "b")])
    with pytest.raises(InputError, match=r"2 of 3 examples .* 1 by their input, 1 by their output") as caught:
        prepare(examples, encoder(5), tmp_path, lambda _: None)
    assert "split" not in str(caught.value.fix)


def test_the_preview_shows_both_sides():
    (pair,) = encoded(encoder(), example("the cat", "runs\nover"))
    shown = {
        side: ["".join(view.text for view in token_views(tokens, TOKENIZER)), tokens.supervised]
        for side, tokens in sides_of(pair)
    }
    assert shown == {"encoder": ["the cat</s>", 0], "decoder": ["runs\n over</s>", len(pair.labels)]}
    assert all(label != IGNORE for label in pair.labels)


def test_the_audit_covers_both_sides(tmp_path):
    examples = ExampleList([example(LONG, LONG), example("a", LONG), example("the  cat", "b")])
    found = audit(examples, None, encoder(12), tmp_path, lambda _: None)
    assert found.train.counts.kept == 3
    assert sum(entry.count for entry in found.train.histogram) == 3
    assert found.train.counts.spaces_lost == 1
