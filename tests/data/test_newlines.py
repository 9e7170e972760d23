"""Line breaks come back from a vocabulary that has none, and what else such a tokenizer loses is counted."""

from __future__ import annotations

import re

import pytest
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.base.tokens import extend_tokenizer
from lft.data.newlines import Restored, loses_newlines, lost, newlines_for, read, write
from lft.data.prompts import PromptFormat, prompt_text, recipe_format
from lft.errors import InputError, RecipeError
from lft.recipe.schema import Data
from tests.examples import byte_fallback_tokenizer, encoded, encoder, example, t5_tokenizer, talk, texts
from tests.tiny import WORDS, tiny_pair_tokenizer, tiny_tokenizer

MARKED = tiny_pair_tokenizer()
TOKEN = tiny_pair_tokenizer()
extend_tokenizer(TOKEN, ["\n"])
TOKENIZERS = {"marker": MARKED, "token": TOKEN}
# Whatever could be taken for a marker, or run into one.
nasty = st.text(st.sampled_from("\n []NL-a"), max_size=30) | st.lists(
    st.sampled_from(["\n", " ", "[NL]", "[-NL]", "[--NL]", "[NL", "NL]", "[", "-", "the", "cat."]), max_size=12
).map("".join)
paragraphs = st.lists(
    st.lists(st.sampled_from([*WORDS, "[NL]", "[-NL]", "a.", "b,"]), max_size=4).map(" ".join), min_size=1, max_size=5
).map("\n".join)
ways = pytest.mark.parametrize("way", ["marker", "token"])


def through(tokenizer, text: str, way) -> str:
    ids = tokenizer(write(text, way), add_special_tokens=False)["input_ids"]
    return read(tokenizer.decode(ids, skip_special_tokens=True), way)


@given(texts | nasty)
@case("[NL] [-NL]\n[--NL] \n \n")
@case(" [NL] ")
@settings(deadline=None)
def test_the_marker_is_undone_for_any_text(text):
    assert read(write(text, "marker"), "marker") == text
    assert "\n" not in write(text, "marker")


@given(texts | nasty)
def test_a_tokenizer_with_line_breaks_gets_the_text_as_it_is(text):
    assert write(text, "kept") == read(text, "kept") == text


@ways
@given(text=paragraphs)
@settings(deadline=None)
def test_paragraphs_come_back_from_a_vocabulary_without_line_breaks(way, text):
    assert through(TOKENIZERS[way], text, way) == text.strip(" ")


@ways
@given(text=nasty.filter(lambda text: bool(text.strip())))
@settings(deadline=None)
def test_all_but_runs_of_spaces_comes_back(way, text):
    def without_loose_spaces(text: str) -> str:
        return re.sub(r" *\n *", "\n", re.sub(" +", " ", text)).strip(" ")

    assert without_loose_spaces(through(TOKENIZERS[way], text, way)) == without_loose_spaces(text)


@ways
@given(text=paragraphs | nasty)
@settings(deadline=None)
def test_what_a_stream_has_told_is_never_taken_back(way, text):
    """A stream grows by characters; whatever is told of it is the beginning of the whole answer."""
    decoded = write(text, "marker") if way == "marker" else text.replace("\n", "\n ")
    restored, whole = Restored(way), read(decoded, way)
    told = ""
    for stop in range(len(decoded) + 1):
        new = restored.settled(decoded[:stop])
        assert whole.startswith(new)
        assert new.startswith(told) or told.startswith(new)
        told = max(told, new, key=len)
    assert whole.startswith(told)


@ways
def test_paragraphs_come_back_from_the_real_t5_vocabulary(shared_data, tmp_path, way):
    tokenizer = t5_tokenizer(shared_data, tmp_path)
    assert loses_newlines(tokenizer)
    if way == "token":
        extend_tokenizer(tokenizer, ["\n"])
    text = "To whom it may concern,\n\n1. Boil water.\n2. Add pasta [NL] and salt.\n\nYours,\nA. Cook"
    assert through(tokenizer, text, way) == text


def test_the_newline_token_outlives_saving_and_is_no_special_token(tmp_path):
    from transformers import AutoTokenizer

    TOKEN.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    ids = again("the cat\n\nruns")["input_ids"]
    assert ids == TOKEN("the cat\n\nruns")["input_ids"]
    assert read(again.decode(ids, skip_special_tokens=True), "token") == "the cat\n\nruns"


# --- what a recipe asks for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), byte_fallback_tokenizer()], ids=["bytes", "llama"])
def test_a_tokenizer_with_line_breaks_needs_nothing(tokenizer):
    assert newlines_for("auto", tokenizer) == "kept"
    for way in ("token", "marker"):
        with pytest.raises(RecipeError, match="line breaks of its own"):
            newlines_for(way, tokenizer)


@pytest.mark.parametrize(("wanted", "meant"), [("auto", "token"), ("token", "token"), ("marker", "marker")])
def test_a_tokenizer_without_them_gets_a_token_or_a_marker(wanted, meant):
    assert newlines_for(wanted, tiny_pair_tokenizer()) == meant


def test_a_marker_that_the_tokenizer_does_not_keep_is_refused():
    from transformers import T5Tokenizer

    poor = T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁b", -1.0)], extra_ids=0)
    with pytest.raises(InputError, match=r"does not keep the text \[NL\]"):
        newlines_for("marker", poor)


def data(**settings) -> Data:
    return Data.model_validate({"train": "x", "prompt": "plain", "packing": False, **settings})


def test_the_way_is_stored_with_the_prompt_format():
    form = recipe_format(data(newlines="marker"), tiny_pair_tokenizer(), encoder_decoder=True)
    assert form == PromptFormat("plain", encoder_decoder=True, newlines="marker")
    assert PromptFormat.from_json(form.to_json()) == form
    assert PromptFormat.from_json('{"name": "plain"}').newlines == "kept"  # as saved before there was a choice
    with pytest.raises(InputError, match="newlines 'other'"):
        PromptFormat.from_json('{"name": "plain", "newlines": "other"}')


def test_the_prompt_is_the_bare_instruction():
    form = recipe_format(data(), tiny_pair_tokenizer(), encoder_decoder=True)
    assert prompt_text(form, talk(" the red\ncat ").turns, TOKEN, context=" a tree ") == "the red\ncat\n\na tree"
    marker = PromptFormat("plain", encoder_decoder=True, newlines="marker")
    assert prompt_text(marker, talk("the red\ncat").turns, MARKED) == "the red [NL] cat"


@pytest.mark.parametrize(
    ("key", "value"), [("packing", True), ("prompt", "longform-eoi"), ("prompt", "chat"), ("overlong", "split")]
)
def test_what_only_decoders_can_do_is_refused_by_its_key(key, value):
    with pytest.raises(RecipeError, match="is for decoders") as caught:
        recipe_format(data(**{key: value}), tiny_pair_tokenizer(), encoder_decoder=True)
    assert caught.value.where == f"data.{key}"
    assert f"data.{key}: " in str(caught.value.fix)


# --- what is lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spaces", "unknown"),
    [("the cat", 0, 0), ("the  cat", 1, 0), ("the\t\n  cat", 3, 0), ("the 你好 cat", 0, 1), ("the  ☃ cat", 1, 1)],
)
def test_lost_spaces_and_unknown_characters_are_counted(text, spaces, unknown):
    ids = TOKEN(text, add_special_tokens=False)["input_ids"]
    found = lost([text], [ids], TOKEN, "token")
    assert (found.spaces, found.unknown, found.respelt) == (spaces, unknown, 0)


def test_characters_that_the_real_t5_writes_differently_are_counted(shared_data, tmp_path):
    tokenizer = t5_tokenizer(shared_data, tmp_path)
    extend_tokenizer(tokenizer, ["\n"])
    pairs = ["Wait … what", "a plain line\nand another", "x ~ y"]
    found = lost(pairs, tokenizer(pairs, add_special_tokens=False)["input_ids"], tokenizer, "token")
    assert (found.respelt, found.unknown) == (1, 1)


def test_the_losses_are_told_with_the_counts():
    from lft.data.tokens import changes

    one = encoder(form=PromptFormat("plain", encoder_decoder=True, newlines="token"), tokenizer=TOKEN)
    encoded(one, example("the  red cat", "runs\tover"), example("a 你 b", "sings"))
    assert changes(one.counts) == [
        "2 spaces or tabs that the tokenizer does not keep",
        "1 stretches of characters unknown to the tokenizer",
    ]
