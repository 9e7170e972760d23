"""Prompt formats: the text before the answer, the pieces that are trained on, and the form that an adapter carries."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.tokens import extend_tokenizer
from lft.data.example import Example, Turn
from lft.data.prompts import PromptFormat, prompt_format, prompt_text, render
from lft.errors import InputError
from lft.literal import plain, special_tokens
from tests.examples import CHATML, example, ids_at_generation, talk, written
from tests.tiny import CHAT_TEMPLATE, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
EOI_FORM, PLAIN, ALPACA = PromptFormat("longform-eoi"), PromptFormat("plain"), PromptFormat("alpaca")
TINY_CHAT, CHATML_FORM = PromptFormat("chat", chat_template=CHAT_TEMPLATE), PromptFormat("chat", chat_template=CHATML)
TRIMMING = CHATML.replace("m['content']", "m['content'] | trim")


def chatml_tokenizer():
    """ChatML's tokens added as special, but without a role: as Gemma 3 and Phi 3 have theirs."""
    tokenizer = tiny_tokenizer()
    extend_tokenizer(tokenizer, ["<|im_start|>", "<|im_end|>"])
    return tokenizer


def text_of(pieces) -> str:
    return "".join(piece.text for piece in pieces)


def supervised(pieces) -> list[str]:
    return [piece.text for piece in pieces if piece.supervised]


# --- one question, one answer --------------------------------------------------------------------------------------


def test_longform_has_one_space_before_the_marker_and_none_after():
    one = example("Write an essay about meditation.", "Meditation, or dhyana, is old.")
    expected = "Write an essay about meditation. [EOI]Meditation, or dhyana, is old."
    assert text_of(render(EOI_FORM, one, TOKENIZER)) == expected
    assert supervised(render(EOI_FORM, one, TOKENIZER)) == ["Meditation, or dhyana, is old."]


@given(written, written)
@settings(deadline=None)
def test_longform_is_instruction_marker_output_for_any_text(instruction, output):
    prompt, answer = render(EOI_FORM, example(instruction, output), TOKENIZER)
    assert (prompt.text, prompt.supervised) == (f"{instruction.strip()} [EOI]", False)
    assert (answer.text, answer.supervised) == (output.strip(), True)


def test_the_marker_is_one_id_as_a_token_and_several_as_text():
    prompt = prompt_text(EOI_FORM, [Turn("user", "Why?")], TOKENIZER)
    one = tiny_tokenizer()
    (number,) = extend_tokenizer(one, EOI_FORM.added_tokens)
    assert ids_at_generation(one, EOI_FORM, prompt)[-1] == number
    as_text = prompt_format("longform-eoi", "text", TOKENIZER)
    assert as_text.added_tokens == ()
    assert len(ids_at_generation(TOKENIZER, as_text, "[EOI]")) > 1
    assert prompt_text(as_text, [Turn("user", "Why?")], TOKENIZER) == prompt


def test_plain_puts_an_empty_line_between_question_and_answer():
    assert text_of(render(PLAIN, example(" Why? ", " So. "), TOKENIZER)) == "Why?\n\nSo."
    assert PLAIN.added_tokens == ()


def test_alpaca_is_word_for_word_stanfords():
    without = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nName three {colours}.\n\n### Response:\n"
    )
    with_input = (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nName three {colours}.\n\n### Input:\nred {blue}\n\n### Response:\n"
    )
    one = example("Name three {colours}.", "red")
    assert [piece.text for piece in render(ALPACA, one, TOKENIZER)] == [without, "red"]
    assert (
        render(ALPACA, example("Name three {colours}.", "red", context=" red {blue} "), TOKENIZER)[0].text == with_input
    )


def test_an_alpaca_input_of_white_space_is_no_input():
    assert render(ALPACA, example("Why?", "So.", context=" \n"), TOKENIZER) == render(
        ALPACA, example("Why?", "So."), TOKENIZER
    )


@pytest.mark.parametrize("form", [EOI_FORM, PLAIN], ids=lambda form: form.name)
def test_a_context_follows_the_instruction_after_an_empty_line(form):
    with_context = render(form, example("Sum up.", "Short.", context=" A long text. "), TOKENIZER)
    assert with_context == render(form, example("Sum up.\n\nA long text.", "Short."), TOKENIZER)


def test_a_context_in_chat_follows_the_users_words():
    prompt = render(TINY_CHAT, example("Sum up.", "Short.", context=" A text. "), TOKENIZER)[0].text
    assert prompt == "<|user|>Sum up.\n\nA text.<|assistant|>"


@pytest.mark.parametrize("form", [EOI_FORM, PLAIN, ALPACA], ids=lambda form: form.name)
def test_a_system_turn_stands_before_the_instruction(form):
    assert render(form, talk("Why?", "So.", system=" Be brief. "), TOKENIZER) == render(
        form, example("Be brief.\n\nWhy?", "So."), TOKENIZER
    )


@pytest.mark.parametrize("form", [EOI_FORM, PLAIN, ALPACA], ids=lambda form: form.name)
def test_several_turns_outside_chat_are_an_error_that_names_chat(form):
    with pytest.raises(InputError, match=rf"4 turns cannot be written as {form.name}") as caught:
        render(form, talk("a", "b", "c", "d"), TOKENIZER)
    assert "data.prompt: chat" in str(caught.value)


@pytest.mark.parametrize("form", [EOI_FORM, TINY_CHAT], ids=lambda form: form.name)
@pytest.mark.parametrize("turns", [(), (Turn("user", "Why?"),)], ids=["no turns", "no answer"])
def test_an_example_without_an_answer_at_its_end_is_an_error(form, turns):
    with pytest.raises(InputError, match="must end with the assistant's answer"):
        render(form, Example(turns), TOKENIZER)


# --- chat ----------------------------------------------------------------------------------------------------------


def test_chat_takes_the_tokenizers_template_with_it():
    form = prompt_format("chat", "token", TOKENIZER)
    assert form == TINY_CHAT
    assert not form.adds_special_tokens
    with pytest.raises(InputError, match="no chat template"):
        prompt_format("chat", "token", tiny_tokenizer(chat=False))


def test_the_template_in_the_format_counts_not_the_tokenizers():
    other = tiny_tokenizer()
    other.chat_template = "{{ messages[0]['content'] }}"
    assert render(TINY_CHAT, example("Why?", "So."), other) == render(TINY_CHAT, example("Why?", "So."), TOKENIZER)


def test_chat_trains_on_each_answer_and_its_stop_token():
    pieces = render(TINY_CHAT, talk("Why?", "So.", "And?", "Hm.", system="Be brief."), TOKENIZER)
    assert supervised(pieces) == ["So.</s>", "Hm.</s>"]
    assert text_of(pieces) == "<|system|>Be brief.<|user|>Why?<|assistant|>So.</s><|user|>And?<|assistant|>Hm.</s>"


def test_chatml_trains_on_the_stop_token_and_not_on_what_follows_it():
    pieces = render(CHATML_FORM, talk("Why?", "So.", "And?", "Hm."), chatml_tokenizer())
    assert supervised(pieces) == ["So.<|im_end|>", "Hm.<|im_end|>"]
    assert pieces[2].text == "\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    assert not text_of(pieces).endswith("\n")


@given(st.lists(st.tuples(written, written), min_size=1, max_size=3))
@settings(deadline=None)
def test_chat_pieces_are_the_templates_text_up_to_the_last_stop(pairs):
    tokenizer, turns = chatml_tokenizer(), [text for pair in pairs for text in pair]
    pieces = render(CHATML_FORM, talk(*turns), tokenizer)
    messages = [{"role": turn.role, "content": turn.content} for turn in talk(*turns).turns]
    whole = tokenizer.apply_chat_template(messages, chat_template=CHATML, tokenize=False)
    assert plain(text_of(pieces)) == whole.removesuffix("\n")  # the protecting mark itself is doubled in a piece
    assert [plain(text) for text in supervised(pieces)] == [f"{answer}<|im_end|>" for _, answer in pairs]
    assert [piece.supervised for piece in pieces] == [False, True] * len(pairs)


def test_chat_prompts_at_generation_are_those_of_training():
    one = talk("Why?", "So.", "And?", "Hm.", system="Be brief.")
    pieces = render(CHATML_FORM, one, chatml_tokenizer())
    assert prompt_text(CHATML_FORM, one.turns[:-1], chatml_tokenizer()) == text_of(pieces[:-1])


def test_a_template_that_trims_answers_is_split_at_its_stop_too():
    pieces = render(PromptFormat("chat", chat_template=TRIMMING), talk("Why?", " So. \n"), chatml_tokenizer())
    assert supervised(pieces) == ["So.<|im_end|>"]


def test_a_stop_token_inside_the_answer_does_not_end_it():
    pieces = render(CHATML_FORM, talk("What ends a turn?", "<|im_end|> does."), chatml_tokenizer())
    assert list(map(plain, supervised(pieces))) == ["<|im_end|> does.<|im_end|>"]


def test_a_template_that_rewrites_earlier_turns_is_an_error():
    forgetful = "{% for m in messages %}<|{{ m.role }}|>"
    forgetful += "{{ m.content if loop.last or m.role == 'user' else '...' }}</s>{% endfor %}"
    forgetful += "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    form = PromptFormat("chat", chat_template=forgetful)
    assert supervised(render(form, talk("Why?", "So."), TOKENIZER)) == ["So.</s>"]
    with pytest.raises(InputError, match="rewrites earlier turns"):
        render(form, talk("Why?", "So.", "And?", "Hm."), TOKENIZER)


def test_a_template_that_refuses_a_conversation_is_an_error_in_its_own_words():
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    with pytest.raises(InputError, match=r"refuses this conversation \(System role not supported\)"):
        render(PromptFormat("chat", chat_template=strict), talk("Why?", "So.", system="Be brief."), TOKENIZER)


def test_special_tokens_are_those_with_a_role_and_those_added_as_special():
    tokenizer = chatml_tokenizer()
    tokenizer.add_tokens(["plainword"])
    found = special_tokens(tokenizer)
    assert {"<s>", "</s>", "<unk>", "<pad>", "<|im_start|>", "<|im_end|>"} <= set(found)
    assert "plainword" not in found
    assert all(tokenizer.convert_tokens_to_ids(token) == number for token, number in found.items())


# --- what an adapter carries ---------------------------------------------------------------------------------------

forms = st.one_of(
    st.builds(PromptFormat, st.just("longform-eoi"), st.sampled_from(["token", "text"])),
    st.sampled_from([PLAIN, ALPACA]),
    st.builds(lambda template: PromptFormat("chat", chat_template=template), st.text()),
)


@given(forms)
def test_a_format_is_the_same_after_json(form):
    assert PromptFormat.from_json(form.to_json()) == form


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"name": "vicuna"}, {"eoi": "marker"}, {"stop": "###"}, {"name": None}],
    ids=lambda change: next(iter(change)),
)
def test_a_saved_format_of_another_lft_is_refused(change):
    fields = json.loads(EOI_FORM.to_json())
    with pytest.raises(InputError) as caught:
        PromptFormat.from_json(json.dumps(fields | change))
    assert caught.value.fix


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"chat"', "{}", '{"eoi": "token"}'])
def test_a_damaged_format_is_refused(text):
    with pytest.raises(InputError, match="saved prompt format cannot be read"):
        PromptFormat.from_json(text)
