"""Text of the data stays text: no example and no user can write a special token, in training or in generation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.tokens import extend_tokenizer
from lft.data.prompts import PromptFormat, prompt_text
from lft.data.tokens import changes
from lft.errors import InputError
from lft.literal import MARK, count, encoded, plain, protected, special_tokens
from tests.examples import (
    CHATML,
    byte_fallback_tokenizer,
    closing_tokenizer,
    encoder,
    eoi_tokenizer,
    example,
    ids_at_generation,
    labels_of,
    merging_tokenizer,
    prompt_of,
    t5_tokenizer,
    talk,
    texts,
)
from tests.examples import encoded as tokens_of
from tests.tiny import EOS, tiny_pair_tokenizer, tiny_tokenizer


def _chat():
    tokenizer = tiny_tokenizer()
    extend_tokenizer(tokenizer, ["<|im_start|>", "<|im_end|>", "[EOI]"])
    return tokenizer


def _llama():
    tokenizer = byte_fallback_tokenizer()
    extend_tokenizer(tokenizer, ["[EOI]"])
    return tokenizer


TOKENIZERS = {
    "bytes": eoi_tokenizer(),
    "chat": _chat(),
    "llama": _llama(),
    "merging": merging_tokenizer(("]", "!"), ("/", "s")),
    "bos": closing_tokenizer("<s> $A"),
    "closed": closing_tokenizer("$A </s>"),
}
FORMS = {
    "longform-eoi": PromptFormat("longform-eoi"),
    "plain": PromptFormat("plain"),
    "alpaca": PromptFormat("alpaca"),
    "chat": PromptFormat("chat", chat_template=CHATML),
}
SPELT = ["</s>", "<s>", "<unk>", "<pad>", "[EOI]", "<|im_end|>", "<|im_start|>", "<</s>>", "[EOI", "EOI]", MARK]
nasty = st.lists(st.one_of(st.sampled_from(SPELT), texts), min_size=1, max_size=6).map("".join).filter(str.strip)
each = pytest.mark.parametrize("name", TOKENIZERS)


@each
@given(text=nasty)
@settings(deadline=None, max_examples=60)
def test_protected_text_gives_no_special_token_and_is_whole(name, text):
    tokenizer = TOKENIZERS[name]
    marked = protected(text, tokenizer)
    (ids,) = encoded(tokenizer, [marked], add_special_tokens=False)
    specials = set(special_tokens(tokenizer).values()) - {tokenizer.unk_token_id}
    assert plain(marked) == text
    assert not specials & set(ids)
    if name != "llama":  # its normaliser adds a space, and characters that it lacks are unknown
        assert tokenizer.decode(ids) == text


@each
@given(text=texts)
@settings(deadline=None, max_examples=60)
def test_text_that_spells_no_special_token_gets_the_tokenizers_own_ids(name, text):
    tokenizer = TOKENIZERS[name]
    if any(special in text for special in special_tokens(tokenizer)):
        return
    for add in (True, False):
        assert encoded(tokenizer, [protected(text, tokenizer)], add_special_tokens=add) == [
            tokenizer(text, add_special_tokens=add).input_ids
        ]


@pytest.mark.parametrize("form", FORMS)
@given(instruction=nasty, output=nasty)
@settings(deadline=None, max_examples=60)
def test_no_example_can_write_a_special_token_and_generation_sees_the_same_prompt(form, instruction, output):
    one = encoder(form=FORMS[form], tokenizer=TOKENIZERS["chat"])
    (tokens,) = tokens_of(one, example(instruction, output))
    (clean,) = tokens_of(encoder(form=FORMS[form], tokenizer=TOKENIZERS["chat"]), example("Why?", "So."))
    specials = set(special_tokens(one.tokenizer).values())
    written = [number for number in tokens.input_ids if number in specials]
    assert written == [number for number in clean.input_ids if number in specials]  # the format's own, no more
    assert one.counts.specials == sum(count(protected(text, one.tokenizer)) for text in (instruction, output))
    prompt = prompt_text(FORMS[form], talk(instruction).turns, one.tokenizer)
    assert prompt_of(tokens) == ids_at_generation(one.tokenizer, FORMS[form], prompt)


def test_an_answer_that_spells_the_end_goes_on_behind_it():
    one = encoder(tokenizer=TOKENIZERS["bytes"])
    (tokens,) = tokens_of(one, example("What ends a text?", "The token </s> does. [EOI] does not."))
    assert tokens.input_ids.count(EOS) == 1
    assert one.tokenizer.decode(labels_of(tokens)) == "The token </s> does. [EOI] does not.</s>"
    assert one.counts.specials == 2
    assert "2 special tokens in the texts kept as text" in changes(one.counts)


def test_a_system_turn_and_a_context_are_text_too():
    one = encoder(form=FORMS["chat"], tokenizer=TOKENIZERS["chat"])
    turns = talk("Why?<|im_end|>", "So.", system="<|im_start|>user").turns
    (tokens,) = tokens_of(one, type(talk())(turns, context="<|im_end|>"))
    end = one.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokens.input_ids.count(end) == 3  # system, user, answer
    assert one.counts.specials == 3


@pytest.mark.parametrize("text", ["</s>", "a</s>b", "the </s> cat", "<pad><pad>"])
def test_the_t5_kind_keeps_it_as_text_or_as_unknown(text, shared_data, tmp_path):
    for tokenizer in (tiny_pair_tokenizer(), t5_tokenizer(shared_data, tmp_path)):
        (ids,) = encoded(tokenizer, [protected(text, tokenizer)], add_special_tokens=True)
        assert tokenizer.eos_token_id not in ids[:-1]
        assert tokenizer.pad_token_id not in ids


def test_a_token_added_later_is_protected_from_then_on():
    tokenizer = tiny_tokenizer()
    assert count(protected("a [EOI] b", tokenizer)) == 0
    extend_tokenizer(tokenizer, ["[EOI]"])
    assert count(protected("a [EOI] b", tokenizer)) == 1


def test_a_tokenizer_that_cannot_tell_them_apart_is_an_error(monkeypatch):
    tokenizer = tiny_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    assert encoded(tokenizer, ["the cat"], add_special_tokens=False)
    with pytest.raises(InputError, match="spells a special token"):
        encoded(tokenizer, [protected("the </s>", tokenizer)], add_special_tokens=False)
