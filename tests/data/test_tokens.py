"""Tokens and labels: the loss is on the answer and its end, and nothing is lost without being counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.tokens import extend_tokenizer
from lft.data.prompts import PromptFormat, prompt_text
from lft.data.tokens import IGNORE, Encoder, changes
from lft.errors import InputError
from tests.examples import (
    CHATML,
    byte_fallback_tokenizer,
    closing_tokenizer,
    encoded,
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
    written,
)
from tests.tiny import BOS, EOS, tiny_tokenizer

FORMS = [
    PromptFormat("longform-eoi"),
    PromptFormat("longform-eoi", eoi="text"),
    PromptFormat("plain"),
    PromptFormat("alpaca"),
]
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}-{form.eoi}")
TOKENIZER = eoi_tokenizer()
T5_WORDS = ["Hello", "Straße", "élève", "[", "]", "EOI", "!important", ".NET", "12,5", "it's", "(so-called)", "ein"]
CHAT = PromptFormat("chat", chat_template=CHATML)


def chat_tokenizer():
    tokenizer = tiny_tokenizer()
    extend_tokenizer(tokenizer, ["<|im_start|>", "<|im_end|>"])
    return tokenizer


@pytest.fixture(scope="session")
def t5(shared_data, tmp_path_factory):
    tokenizer = t5_tokenizer(shared_data, tmp_path_factory.mktemp("t5"))
    extend_tokenizer(tokenizer, ["[EOI]"])
    return tokenizer


def require_prompt_and_answer(one: Encoder, instruction: str, output: str, end: str = "</s>") -> None:
    """The promise of this room: what precedes the labels is what generation sees, the labels are the output and EOS."""
    (tokens,) = encoded(one, example(instruction, output))
    seen = ids_at_generation(one.tokenizer, one.form, prompt_text(one.form, talk(instruction).turns, one.tokenizer))
    assert prompt_of(tokens) == seen
    assert list(tokens.labels) == [IGNORE] * len(seen) + list(tokens.input_ids[len(seen) :])
    assert one.tokenizer.decode(labels_of(tokens)) == output.strip() + end
    assert tokens.labels[0] == IGNORE
    assert len(tokens) == len(tokens.input_ids) == len(tokens.labels)
    assert tokens.supervised == len(labels_of(tokens))


# --- what is in the loss -------------------------------------------------------------------------------------------


@each_form
@given(instruction=written, output=written)
@settings(deadline=None, max_examples=60)
def test_the_loss_is_on_the_output_and_its_end_only(form, instruction, output):
    require_prompt_and_answer(encoder(form=form, tokenizer=TOKENIZER), instruction, output)


@given(instruction=written, output=written)
@settings(deadline=None, max_examples=60)
def test_the_loss_is_on_the_answer_and_its_stop_token_in_chat(instruction, output):
    one = encoder(form=CHAT, tokenizer=chat_tokenizer())
    (tokens,) = encoded(one, example(instruction, output))
    assert one.tokenizer.decode(labels_of(tokens)) == f"{output}<|im_end|>"
    prompt = prompt_text(CHAT, talk(instruction).turns, one.tokenizer)
    assert prompt_of(tokens) == ids_at_generation(one.tokenizer, CHAT, prompt)
    assert EOS not in tokens.input_ids  # the template's stop token ends the answer; a second end would never be seen


def test_each_answer_of_a_conversation_is_in_the_loss():
    one = encoder(form=CHAT, tokenizer=chat_tokenizer())
    (tokens,) = encoded(one, talk("Why?", "So.", "And?", "Hm.", system="Be brief."))
    assert one.tokenizer.decode(labels_of(tokens)) == "So.<|im_end|>Hm.<|im_end|>"
    assert one.counts.eos_trained == 1


def test_an_empty_answer_within_a_conversation_is_read_and_counted_but_not_trained():
    one = encoder(form=CHAT, tokenizer=chat_tokenizer())
    (tokens,) = encoded(one, talk("Why?", " ", "And?", "Hm."))
    (other,) = encoded(encoder(form=CHAT, tokenizer=chat_tokenizer()), talk("Why?", "So.", "And?", "Hm."))
    assert one.tokenizer.decode(labels_of(tokens)) == "Hm.<|im_end|>"
    assert one.counts.empty_turns == 1
    assert tokens.input_ids.count(labels_of(tokens)[-1]) == other.input_ids.count(labels_of(other)[-1])
    assert "1 empty answers within conversations not trained" in changes(one.counts)


def test_a_template_without_a_stop_token_gets_eos_behind_the_last_answer():
    bare = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    bare += "{% if add_generation_prompt %}assistant: {% endif %}"
    one = encoder(form=PromptFormat("chat", chat_template=bare), tokenizer=tiny_tokenizer())
    (tokens,) = encoded(one, example("Why?", "So."))
    assert one.tokenizer.decode(labels_of(tokens)) == "So.\n</s>"


def test_the_first_token_of_all_is_never_a_label():
    """Nothing stands before it to predict it from, not even under a template that writes no prompt."""
    answers = "{% for m in messages if m.role == 'assistant' %}{{ m.content }}</s>{% endfor %}"
    one = encoder(form=PromptFormat("chat", chat_template=answers), tokenizer=tiny_tokenizer())
    (tokens,) = encoded(one, example("Why?", "So."))
    assert one.tokenizer.decode(tokens.input_ids) == "So.</s>"
    assert tokens.labels == (IGNORE, *tokens.input_ids[1:])


@each_form
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_loss_is_on_the_output_only_for_the_t5_vocabulary(t5, form, data):
    """Sentencepiece: words begin with ▁, line breaks do not exist, and every text is closed with EOS by itself."""
    words = st.lists(st.sampled_from(T5_WORDS), min_size=1, max_size=8).map(" ".join)
    require_prompt_and_answer(encoder(form=form, tokenizer=t5), data.draw(words), data.draw(words))


@each_form
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_loss_is_on_the_output_only_for_a_llama_vocabulary(form, data):
    tokenizer = byte_fallback_tokenizer()
    extend_tokenizer(tokenizer, ["[EOI]"])
    words = st.lists(st.sampled_from(["cat", "a", "你好", "🇺🇦", "שלום", "!", "]"]), min_size=1, max_size=8).map(
        " ".join
    )
    require_prompt_and_answer(encoder(form=form, tokenizer=tokenizer), data.draw(words), data.draw(words))


def test_an_answer_that_would_merge_into_its_prompt_is_tokenised_apart_and_counted():
    form = PromptFormat("longform-eoi", eoi="text")
    tokenizer = merging_tokenizer(("]", "!"))
    merged = tokenizer.convert_tokens_to_ids("]!")
    assert merged in tokenizer("[EOI]!").input_ids  # else this test shows nothing
    one = encoder(form=form, tokenizer=tokenizer)
    require_prompt_and_answer(one, "Why?", "! said she.")
    (tokens, other) = encoded(one, example("Why?", "! said she."), example("Why?", "So."))
    assert merged not in tokens.input_ids
    assert prompt_of(tokens) == prompt_of(other) == tokenizer("Why? [EOI]").input_ids
    assert one.counts.retokenised == 2  # the same row twice; "So." does not merge


def test_the_empty_line_before_a_plain_answer_is_the_one_that_generation_sees():
    """GPT-2's splitting rule gives the second line break to the next word: the prompt alone is tokenised otherwise."""
    tokenizer = merging_tokenizer(("Ċ", "Ċ"))
    prompt, whole = tokenizer("Why?\n\n").input_ids, tokenizer("Why?\n\nSo.").input_ids
    assert whole[: len(prompt)] != prompt  # else this test shows nothing
    one = encoder(form=PromptFormat("plain"), tokenizer=tokenizer)
    require_prompt_and_answer(one, "Why?", "So.")
    assert one.counts.retokenised == 1


# --- BOS, EOS, pad -------------------------------------------------------------------------------------------------


@each_form
@pytest.mark.parametrize("single", ["<s> $A", "<s> $A </s>", "$A </s>"])
def test_what_the_tokenizer_adds_by_itself_stands_there_once(form, single):
    tokenizer = closing_tokenizer(single)
    one = encoder(form=form, tokenizer=tokenizer)
    (tokens,) = encoded(one, example("Why?", "So."))
    assert tokens.input_ids.count(BOS) == single.count("<s> ")
    assert (tokens.input_ids[0] == BOS) == single.startswith("<s>")
    assert tokens.input_ids.count(EOS) == 1
    assert tokens.input_ids[-1] == tokens.labels[-1] == EOS
    require_prompt_and_answer(one, "Why?", "So.")


def test_chat_leaves_bos_to_the_template():
    with_bos = PromptFormat("chat", chat_template="<s>" + CHATML)
    (tokens,) = encoded(encoder(form=with_bos, tokenizer=closing_tokenizer("<s> $A")), example("Why?", "So."))
    assert tokens.input_ids.count(BOS) == 1


def test_the_end_is_trained_when_the_pad_token_is_the_end():
    tokenizer = eoi_tokenizer(pad=None)
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer.pad_token_id == EOS
    one = encoder(tokenizer=tokenizer)
    (tokens,) = encoded(one, example("Why?", "So."))
    assert labels_of(tokens)[-1] == EOS
    assert one.counts.eos_trained == 1


def test_a_tokenizer_without_an_end_token_is_an_error():
    tokenizer = eoi_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="no end-of-sequence token"):
        encoded(encoder(tokenizer=tokenizer), example("Why?", "So."))


# --- too long, empty -----------------------------------------------------------------------------------------------

LONG, SHORT = example("Why?", "the red cat runs over the old stone " * 5), example("Why?", "So.")
LENGTH = len(encoded(encoder(tokenizer=TOKENIZER), LONG)[0])


def test_the_first_too_long_example_is_an_error_that_names_it():
    one = encoder(20, "error", tokenizer=TOKENIZER)
    with pytest.raises(InputError) as caught:
        list(one.encode([SHORT, LONG, LONG], first=7))
    assert caught.value.where == "example 8"
    assert f"{LENGTH} tokens, more than data.max_length 20" in caught.value.what
    assert "data.max_length" in (caught.value.fix or "")


def test_a_limit_of_the_very_length_is_not_too_short():
    (tokens,) = encoded(encoder(LENGTH, "error", tokenizer=TOKENIZER), LONG)
    assert len(tokens) == LENGTH
    with pytest.raises(InputError):
        encoded(encoder(LENGTH - 1, "error", tokenizer=TOKENIZER), LONG)


def test_dropped_examples_are_counted():
    one = encoder(20, "drop", tokenizer=TOKENIZER)
    assert [number for number, _ in one.encode([LONG, SHORT, LONG, SHORT], first=3)] == [4, 6]
    counts = one.counts
    assert (counts.examples, counts.kept, counts.overlong, counts.dropped, counts.longest) == (4, 2, 2, 2, LENGTH)
    assert (counts.truncated, counts.split, counts.tokens_cut) == (0, 0, 0)


def test_a_truncated_example_keeps_its_start_and_loses_its_end():
    (whole,) = encoded(encoder(tokenizer=TOKENIZER), LONG)
    one = encoder(20, "truncate", tokenizer=TOKENIZER)
    (cut,) = encoded(one, LONG)
    assert (cut.input_ids, cut.labels) == (whole.input_ids[:20], whole.labels[:20])
    assert EOS not in cut.labels
    assert (one.counts.truncated, one.counts.tokens_cut, one.counts.eos_trained) == (1, LENGTH - 20, 0)


def test_a_prompt_without_room_for_its_answer_is_dropped_and_counted():
    one = encoder(4, "truncate", tokenizer=TOKENIZER)
    asked = example("the red cat runs over the old stone", "So.")
    assert encoded(one, asked) == []
    whole = encoded(encoder(tokenizer=TOKENIZER), asked)[0]
    counts = one.counts
    assert (counts.dropped, counts.truncated, counts.kept, counts.tokens_cut) == (1, 0, 0, len(whole))


def test_a_split_example_keeps_all_its_tokens_and_loses_only_each_windows_first_label():
    (whole,) = encoded(encoder(tokenizer=TOKENIZER), LONG)
    one = encoder(16, "split", tokenizer=TOKENIZER)
    windows = encoded(one, LONG)
    assert sum((window.input_ids for window in windows), ()) == whole.input_ids
    labels = list(whole.labels)
    labels[::16] = [IGNORE] * len(labels[::16])
    assert sum((window.labels for window in windows), ()) == tuple(labels)
    assert [len(window) for window in windows[:-1]] == [16] * (len(windows) - 1)
    assert (one.counts.split, one.counts.tokens_cut, one.counts.kept) == (1, 0, len(windows))
    assert one.counts.starts_masked == whole.supervised - sum(window.supervised for window in windows) > 0


@given(
    st.lists(st.tuples(written, texts), min_size=1, max_size=6),
    st.integers(2, 60),
    st.sampled_from(["drop", "truncate", "split"]),
)
@settings(deadline=None)
def test_every_token_and_every_example_is_accounted_for(pairs, limit, overlong):
    examples = [example(*pair) for pair in pairs]
    whole = encoded(encoder(10**6, tokenizer=TOKENIZER), *examples)
    too_long = [tokens for tokens in whole if len(tokens) > limit]
    one = encoder(limit, overlong, tokenizer=TOKENIZER)
    kept, counts = encoded(one, *examples), one.counts
    assert counts.examples == len(examples)
    assert counts.empty == sum(not output.strip() for _, output in pairs) == len(examples) - len(whole)
    assert counts.overlong == len(too_long) == counts.dropped + counts.truncated + counts.split
    assert counts.longest == max(map(len, whole), default=0)
    assert counts.kept == len(kept)
    assert counts.tokens == sum(map(len, kept))
    assert counts.supervised == sum(tokens.supervised for tokens in kept)
    assert counts.eos_trained == sum(tokens.labels[-1] == EOS for tokens in kept)
    trained = sum(tokens.supervised for tokens in whole)
    assert overlong != "split" or counts.supervised + counts.starts_masked == trained
    lost = sum(map(len, too_long)) if overlong == "drop" else counts.tokens_cut
    assert sum(map(len, whole)) == counts.tokens + lost
    assert all(len(tokens) <= limit and tokens.supervised and tokens.labels[0] == IGNORE for tokens in kept)


@pytest.mark.parametrize("form", [*FORMS, CHAT], ids=lambda form: f"{form.name}-{form.eoi}")
@pytest.mark.parametrize("output", ["", " \n\t", "\u3000"], ids=repr)
def test_an_empty_output_is_left_out_and_counted(form, output):
    one = encoder(form=form, tokenizer=chat_tokenizer())
    assert [number for number, _ in one.encode([example("Why?", output), SHORT])] == [1]
    assert (one.counts.examples, one.counts.empty, one.counts.kept) == (2, 1, 1)


def test_an_example_that_does_not_fit_the_format_is_named():
    with pytest.raises(InputError) as caught:
        list(encoder(tokenizer=TOKENIZER).encode([SHORT, talk("a", "b", "c", "d")], first=40))
    assert caught.value.where == "example 41"


@given(st.lists(st.tuples(written, texts), max_size=5), st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_the_size_of_a_shard_changes_nothing(pairs, size):
    examples = [example(*pair) for pair in pairs]
    at_once, one = encoder(tokenizer=TOKENIZER), encoder(tokenizer=TOKENIZER)
    together = list(at_once.encode(examples))
    apart = [
        row for start in range(0, len(examples), size) for row in one.encode(examples[start : start + size], start)
    ]
    assert together == apart
    assert at_once.counts == one.counts
