"""Tokenise once: the cache serves where nothing that it depends on has changed, and never when it is damaged."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft.data import prepare as room
from lft.data.prepare import Prepared, cache_key, encode_stream, prepare, require_supervision, tokenised
from lft.data.prompts import PromptFormat
from lft.data.tokens import Counts, Encoder
from lft.errors import InputError
from tests.examples import ExampleList, encoded, encoder, eoi_tokenizer, example, talk
from tests.tiny import sentences

TOKENIZER = eoi_tokenizer()
FEW = ExampleList([example(f"Say {n}.", text) for n, text in enumerate(sentences(6))])
LONG = example("Say all.", "the red cat runs over the old stone. " * 9)


def quiet(_: str) -> None: ...


def whole(folder: Path) -> Prepared:
    return prepare(FEW, encoder(tokenizer=TOKENIZER), folder, quiet)


def rows_of(prepared: Prepared):
    return [prepared.tokens(index) for index in range(len(prepared.rows))]


# --- what is prepared ----------------------------------------------------------------------------------------------


def test_rows_are_the_encoders_sequences_with_the_numbers_of_their_examples(tmp_path):
    examples = ExampleList([LONG, example("Say nothing.", ""), *FEW, LONG])
    expected = list(encoder(24, "split", tokenizer=TOKENIZER).encode(examples.examples))
    prepared = prepare(examples, encoder(24, "split", tokenizer=TOKENIZER), tmp_path, quiet)
    assert rows_of(prepared) == [tokens for _, tokens in expected]
    assert list(prepared.rows["example"]) == [number for number, _ in expected]
    assert prepared.lengths == [len(tokens) for _, tokens in expected]
    assert len({number for number, _ in expected}) == len(examples) - 1
    assert prepared.rows.cache_files, "the rows are read into memory, not mapped"


def test_counts_are_the_same_fresh_and_from_the_cache(tmp_path):
    examples = ExampleList([LONG, example("Say nothing.", ""), *FEW])
    one = encoder(24, "split", tokenizer=TOKENIZER)
    list(one.encode(examples.examples))
    fresh, again = (prepare(examples, encoder(24, "split", tokenizer=TOKENIZER), tmp_path, quiet) for _ in range(2))
    assert fresh.counts == again.counts == one.counts
    assert (fresh.cached, again.cached) == (False, True)
    assert rows_of(fresh) == rows_of(again)


@pytest.mark.parametrize("overlong", ["error", "drop"])
def test_one_encoder_for_two_splits_counts_each_by_itself(tmp_path, overlong):
    one = encoder(tokenizer=TOKENIZER, overlong=overlong)
    first, second = prepare(FEW, one, tmp_path, quiet), prepare(ExampleList(FEW.examples[:2]), one, tmp_path, quiet)
    assert (first.counts.examples, second.counts.examples) == (6, 2)


def test_tokenising_is_announced_once(tmp_path):
    said: list[str] = []
    for _ in range(2):
        prepare(FEW, encoder(tokenizer=TOKENIZER), tmp_path, said.append)
    assert said == ["tokenising 6 examples"]


def test_a_stream_is_read_a_shard_at_a_time_and_numbered_on(monkeypatch):
    monkeypatch.setattr(room, "SHARD", 4)
    read: list[int] = []

    def stream():
        for number in range(10):
            read.append(number)
            yield example("Say it.", f"{number}.")

    numbers = encode_stream(stream(), encoder(tokenizer=TOKENIZER))
    assert read == []
    assert [number for number, _ in islice(numbers, 4)] == [0, 1, 2, 3]
    assert read == [0, 1, 2, 3]
    assert [number for number, _ in numbers] == [4, 5, 6, 7, 8, 9]


# --- what is refused -----------------------------------------------------------------------------------------------


def test_all_too_long_examples_are_counted_in_one_error(tmp_path):
    examples = ExampleList([FEW.examples[0], LONG, *FEW.examples[1:], LONG])
    longest = len(encoded(encoder(tokenizer=TOKENIZER), LONG)[0])
    for _ in range(2):  # from the cache as well
        with pytest.raises(InputError) as caught:
            prepare(examples, encoder(longest - 1, "error", tokenizer=TOKENIZER), tmp_path, quiet, "validation")
        assert caught.value.what == (
            f"2 of 8 examples are longer than data.max_length {longest - 1} (the first is example 1; the longest has "
            f"{longest} tokens)"
        )
        assert caught.value.where == "validation"
        assert "drop, truncate or split" in (caught.value.fix or "")
    assert prepare(examples, encoder(longest, "error", tokenizer=TOKENIZER), tmp_path, quiet).counts.kept == 8


@pytest.mark.parametrize(
    ("examples", "overlong", "said"),
    [
        ([], "error", "of 0 examples"),
        ([example("Why?", ""), example("Why?", " ")], "error", "of 2 examples 2 have an empty output and 0"),
        ([LONG, LONG, example("Why?", "")], "drop", "of 3 examples 1 have an empty output and 2 were dropped"),
    ],
    ids=["no examples", "empty outputs", "too long"],
)
def test_nothing_to_train_on_is_an_error(tmp_path, examples, overlong, said):
    with pytest.raises(InputError, match="no token would be trained on") as caught:
        prepare(ExampleList(examples), encoder(10, overlong, tokenizer=TOKENIZER), tmp_path, quiet)
    assert said in caught.value.what
    assert tokenised(ExampleList(examples), encoder(10, overlong, tokenizer=TOKENIZER), tmp_path, quiet).lengths == []


def test_an_end_that_is_never_trained_is_an_error(tmp_path):
    with pytest.raises(InputError, match="end-of-sequence token is never a label"):
        prepare(ExampleList([LONG, LONG]), encoder(20, "truncate", tokenizer=TOKENIZER), tmp_path, quiet)
    prepare(ExampleList([LONG, LONG, FEW.examples[0]]), encoder(60, "truncate", tokenizer=TOKENIZER), tmp_path, quiet)


def test_one_trained_end_is_enough():
    require_supervision(Counts(examples=9, kept=9, supervised=1, eos_trained=1))


def test_an_example_that_does_not_fit_is_named_by_its_number_in_the_split(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "SHARD", 2)
    with pytest.raises(InputError) as caught:
        prepare(ExampleList([*FEW, talk("a", "b", "c", "d")]), encoder(tokenizer=TOKENIZER), tmp_path, quiet)
    assert caught.value.where == "example 6"


# --- the key -------------------------------------------------------------------------------------------------------


def key_of(one: Encoder | None = None, digest: str = "abc") -> str:
    return cache_key(digest, one or encoder(100, "drop", tokenizer=TOKENIZER))


def with_token(text: str):
    tokenizer = eoi_tokenizer()
    tokenizer.add_tokens([text])
    return tokenizer


def with_another_end():
    tokenizer = eoi_tokenizer()
    tokenizer.eos_token = "<s>"
    return tokenizer


CHANGES = {
    "one token more": lambda one: replace(one, tokenizer=with_token("<more>")),
    "another end token": lambda one: replace(one, tokenizer=with_another_end()),
    "another format": lambda one: replace(one, form=PromptFormat("plain")),
    "the marker as text": lambda one: replace(one, form=PromptFormat("longform-eoi", eoi="text")),
    "another chat template": lambda one: replace(one, form=PromptFormat("chat", chat_template="{{ 1 }}")),
    "another length": lambda one: replace(one, max_length=101),
    "another length rule": lambda one: replace(one, overlong="truncate"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_key_changes_with(change):
    one = encoder(100, "drop", tokenizer=TOKENIZER)
    assert key_of(change(one)) != key_of(one)


def test_the_key_changes_with_the_data():
    assert key_of(digest="abd") != key_of()


@pytest.mark.parametrize("module", room.CODE, ids=lambda module: module.__name__)
def test_the_key_changes_with_the_code(tmp_path, monkeypatch, module):
    before, copy = key_of(), tmp_path / "code.py"
    shutil.copy(module.__file__, copy)
    monkeypatch.setattr(module, "__file__", str(copy))
    assert key_of() == before  # the content counts, not the place
    copy.write_text(copy.read_text(encoding="utf-8") + "# a change\n", encoding="utf-8")
    assert key_of() != before


@pytest.mark.parametrize("library", ["tokenizers", "transformers"])
def test_the_key_changes_with_the_library(monkeypatch, library):
    before, versions = key_of(), room.version
    monkeypatch.setattr(room, "version", lambda name: "0.0" if name == library else versions(name))
    assert key_of() != before


def test_the_key_is_the_same_for_the_same_things():
    one = encoder(100, "drop", tokenizer=TOKENIZER)
    used = replace(one, counts=Counts(examples=5), tokenizer=eoi_tokenizer())
    used.tokenizer(["a", "the red cat"], padding=False)
    assert key_of(used) == key_of(one)


# --- damage --------------------------------------------------------------------------------------------------------


def test_the_cache_serves_the_second_time(tmp_path, monkeypatch):
    first = whole(tmp_path)
    monkeypatch.setattr(Encoder, "encode", None)  # tokenising again would fail
    second = whole(tmp_path)
    assert (first.cached, second.cached) == (False, True)
    assert first.key == second.key
    assert rows_of(first) == rows_of(second)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cached")
    prepared = whole(folder)
    # What is read now stays as it is; the file behind a mapped table will be damaged.
    return folder, prepared.key, rows_of(prepared), prepared.counts


def require_made_anew(cached, name: str, place: float, bit: int) -> None:
    folder, key, rows, counts = cached
    path = folder / "tokens" / key / name
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    damaged = path.with_suffix(".damaged")
    damaged.write_bytes(content)
    damaged.replace(path)  # not in place: an earlier result may still map the old file
    again = whole(folder)
    assert not again.cached
    assert (rows_of(again), again.counts) == (rows, counts)
    assert whole(folder).cached


places, bits = st.floats(0, 1, exclude_max=True), st.integers(0, 7)


@given(name=st.sampled_from([room.ROWS, room.REPORT]), place=places, bit=bits)
@settings(deadline=None, max_examples=40)
def test_a_flipped_bit_anywhere_makes_the_cache_anew(cached, name, place, bit):
    require_made_anew(cached, name, place, bit)


def test_a_manifest_with_a_misspelt_key_makes_the_cache_anew(tmp_path):
    prepared = whole(tmp_path)
    path = tmp_path / "tokens" / prepared.key / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"bytes"', '"bytez"'), encoding="utf-8")
    assert not whole(tmp_path).cached


@pytest.mark.parametrize("name", [room.ROWS, room.REPORT, "manifest.json"])
def test_a_missing_or_empty_file_makes_the_cache_anew(tmp_path, name):
    path = tmp_path / "tokens" / whole(tmp_path).key / name
    path.unlink()
    assert not whole(tmp_path).cached
    path.write_bytes(b"")
    assert not whole(tmp_path).cached
    assert whole(tmp_path).cached


class Interrupted(BaseException):
    """As KeyboardInterrupt, which is no Exception."""


class Breaking(ExampleList):
    """Ends with an interruption after its examples are read."""

    def __iter__(self):
        yield from super().__iter__()
        raise Interrupted


def test_an_interrupted_writer_leaves_nothing_half_there(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "SHARD", 2)  # rows are written before the interruption
    with pytest.raises(Interrupted):
        prepare(Breaking(FEW.examples), encoder(tokenizer=TOKENIZER), tmp_path, quiet)
    assert [path.suffix for path in (tmp_path / "tokens").iterdir()] == [".lock"]
    assert not prepare(FEW, encoder(tokenizer=TOKENIZER), tmp_path, quiet).cached


def test_what_a_killed_writer_left_is_never_used_and_goes_away(tmp_path):
    """A killed process cannot tidy up: its draft has another name, and no manifest."""
    key = whole(tmp_path).key
    folder = tmp_path / "tokens" / key
    (folder / "manifest.json").unlink()
    unsealed = shutil.copytree(folder, tmp_path / "unsealed")
    draft = folder.rename(folder.with_name(f".{key}.draft.1"))
    assert not whole(tmp_path).cached
    assert not draft.exists()
    shutil.rmtree(folder)
    unsealed.rename(folder)
    assert not whole(tmp_path).cached
    assert whole(tmp_path).cached


class Slow:
    """``FEW``, but whoever begins to tokenise it waits for leave to go on."""

    digest = FEW.digest

    def __init__(self):
        self.begun, self.leave = threading.Event(), threading.Event()

    def __len__(self):
        return len(FEW)

    def __iter__(self):
        self.begun.set()
        assert self.leave.wait(60)
        return iter(FEW)


def test_of_two_that_want_the_same_tokens_one_makes_them_and_the_other_waits(tmp_path):
    slow, said = Slow(), []

    def told(text):
        said.append(text)
        slow.leave.set()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(prepare, slow, encoder(tokenizer=TOKENIZER), tmp_path, quiet)
        assert slow.begun.wait(60)
        second = prepare(FEW, encoder(tokenizer=TOKENIZER), tmp_path, told)
    assert (first.result().cached, second.cached) == (False, True)
    assert said == ["another process tokenises the same examples; waiting for it"]


def test_examples_may_hold_any_text(tmp_path):
    odd = example("\x00 é \u202e", "👩‍👩‍👧‍👦 \ufffd")
    prepared = prepare(ExampleList([odd]), encoder(tokenizer=TOKENIZER), tmp_path, quiet)
    assert rows_of(prepared) == encoded(encoder(tokenizer=TOKENIZER), odd)
