"""The preview shows the very text: every character once, with the token that completes it, and what is in the loss."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.tokens import extend_tokenizer
from lft.data.preview import token_views
from lft.data.tokens import IGNORE, Tokens
from tests.examples import (
    byte_fallback_tokenizer,
    encoded,
    encoder,
    eoi_tokenizer,
    example,
    t5_tokenizer,
    texts,
    written,
)
from tests.tiny import EOS, sentences

TOKENIZER = eoi_tokenizer()
LLAMA = byte_fallback_tokenizer()
extend_tokenizer(LLAMA, ["[EOI]"])
T5_WORDS = ["Hello", "world", "▁", "élève", "Straße", ".", ",", "(", "1234", "<unk>", "你好", "</s>"]


def unlabelled(ids) -> Tokens:
    return Tokens(tuple(ids), (IGNORE,) * len(ids))


def shown(tokens: Tokens, tokenizer) -> list[str]:
    return [view.text for view in token_views(tokens, tokenizer)]


class Counting:
    """A tokenizer that counts the ids that it is given to decode."""

    def __init__(self, tokenizer):
        self.tokenizer, self.decoded = tokenizer, 0

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def decode(self, ids, **kw):
        self.decoded += len(ids)
        return self.tokenizer.decode(ids, **kw)


@pytest.fixture(scope="session")
def t5(shared_data, tmp_path_factory):
    return t5_tokenizer(shared_data, tmp_path_factory.mktemp("t5"))


@pytest.mark.parametrize("tokenizer", [TOKENIZER, LLAMA], ids=["bytes", "llama"])
@given(instruction=written, output=written)
@settings(deadline=None)
def test_the_texts_together_are_the_sequence_and_the_flags_are_its_labels(tokenizer, instruction, output):
    (tokens,) = encoded(encoder(tokenizer=tokenizer), example(instruction, output))
    views = list(token_views(tokens, tokenizer))
    assert "".join(view.text for view in views) == tokenizer.decode(tokens.input_ids)
    assert [view.id for view in views] == list(tokens.input_ids)
    assert [view.supervised for view in views] == [label != IGNORE for label in tokens.labels]


@given(texts, st.integers(0, 40), st.integers(0, 40))
@settings(deadline=None)
def test_a_window_cut_within_a_character_loses_nothing(text, start, stop):
    ids = TOKENIZER(text).input_ids[start : max(start, stop)]
    assert "".join(shown(unlabelled(ids), TOKENIZER)) == TOKENIZER.decode(ids)


@given(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=60))
@settings(deadline=None)
def test_any_ids_at_all_are_shown_whole(ids):
    assert "".join(shown(unlabelled(ids), TOKENIZER)) == TOKENIZER.decode(ids)


@given(st.lists(st.sampled_from(T5_WORDS), max_size=20))
@settings(deadline=None)
def test_words_keep_their_spaces_in_the_t5_vocabulary(t5, words):
    ids = t5(" ".join(words)).input_ids
    assert "".join(shown(unlabelled(ids), t5)) == t5.decode(ids)


def test_each_word_stands_beside_its_token():
    ids = TOKENIZER(" the red cat").input_ids
    assert shown(unlabelled(ids), TOKENIZER) == [TOKENIZER.decode([token]) for token in ids]
    words = LLAMA("cat a cat").input_ids
    assert shown(unlabelled(words), LLAMA) == ["cat", " a", " cat"]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, LLAMA], ids=["bytes", "llama"])
def test_a_character_of_several_tokens_is_shown_with_its_last(tokenizer):
    text = "a🇺🇦é你" * 9
    views = shown(unlabelled(tokenizer(text).input_ids), tokenizer)
    assert "".join(views) == text
    assert not any("\ufffd" in view for view in views)
    assert max(map(len, views)) == 1


def test_special_tokens_are_marked_and_shown_in_their_place():
    (tokens,) = encoded(encoder(tokenizer=TOKENIZER), example("Why?", "So."))
    special = [(view.text, view.supervised) for view in token_views(tokens, TOKENIZER) if view.special]
    assert special == [("[EOI]", False), ("</s>", True)]
    assert tokens.input_ids[-1] == EOS


def test_an_empty_sequence_has_no_views():
    assert shown(unlabelled([]), TOKENIZER) == []


LONG_TEXTS = {
    "words": " ".join(sentences(200)),
    "emoji": "🇺🇦👩‍👩‍👧‍👦" * 200,
    "replacement characters": "\ufffd" * 2000,
}


@pytest.mark.parametrize("tokenizer", [TOKENIZER, LLAMA], ids=["bytes", "llama"])
@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_the_work_is_linear_in_the_length(tokenizer, text):
    ids = tokenizer(text).input_ids
    counting = Counting(tokenizer)
    assert "".join(shown(unlabelled(ids), counting)) == tokenizer.decode(ids)
    assert counting.decoded < 12 * len(ids)


def test_the_work_is_linear_for_bytes_that_are_no_characters():
    ids = TOKENIZER("é").input_ids[-1:] * 3000
    counting = Counting(TOKENIZER)
    assert "".join(shown(unlabelled(ids), counting)) == TOKENIZER.decode(ids)
    assert counting.decoded < 12 * len(ids)
