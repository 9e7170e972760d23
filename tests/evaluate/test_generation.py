"""Answers are made once, say the same however they are batched, and go on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lft.ask.local import Local
from lft.data.prompts import EOI
from lft.errors import InputError, RecipeError
from lft.evaluate.candidate import Candidate, bare
from lft.evaluate.generation import from_file, generated
from lft.evaluate.item import Item
from lft.evaluate.likelihood import likelihoods, others
from lft.evaluate.suite_schema import Decoding
from tests.tiny import save_tiny, save_tiny_pair, sentences

DECODING = Decoding(max_new_tokens=12, top_p=0.9, temperature=1.0, samples=2, seed=7)


def quiet(_: str) -> None:
    """Nobody listens."""


def items(count: int) -> list[Item]:
    texts = sentences(2 * count, high=15)
    return [Item(f"{n:064x}", "en", "s", "", texts[n], "", texts[n + count]) for n in range(count)]


def candidate(folder: Path, *, batch: int = 4, template: str = "", prompt=None) -> Candidate:
    if not (folder / "m").exists():
        save_tiny(folder / "m", chat=False)
    return bare(str(folder / "m"), prompt, template, "tiny", folder / "cache", batch, quiet)


def test_a_second_run_makes_nothing_again_and_says_the_same(tmp_path: Path) -> None:
    said: list[str] = []
    first = generated(candidate(tmp_path), items(5), DECODING, tmp_path / "l", said.append)
    again = generated(candidate(tmp_path, batch=1), items(5), DECODING, tmp_path / "l", said.append)
    assert first == again
    assert len(first.rows) == 10
    assert "10 answers lay there already, 0 were made" in said
    pairs = zip(first.rows[::2], first.rows[1::2], strict=True)
    assert all(one.item == two.item and one.output.text != two.output.text for one, two in pairs)


def test_another_prompt_format_decoding_or_seed_is_asked_anew(tmp_path: Path) -> None:
    one = generated(candidate(tmp_path), items(2), DECODING, tmp_path / "l", quiet)
    for other, decoding in [
        (candidate(tmp_path, template="Q: {instruction}\nA:"), DECODING),
        (candidate(tmp_path, prompt="longform-eoi"), DECODING),
        (candidate(tmp_path), Decoding(max_new_tokens=12, top_p=0.9, temperature=1.0, samples=2, seed=8)),
        (candidate(tmp_path), Decoding(max_new_tokens=12, top_p=0.5, temperature=1.0, samples=2, seed=7)),
    ]:
        said: list[str] = []
        made = generated(other, items(2), decoding, tmp_path / "l", said.append)
        assert not said
        assert made.rows != one.rows


def test_answers_do_not_depend_on_the_other_items(tmp_path: Path) -> None:
    few = generated(candidate(tmp_path), items(7)[:2], DECODING, tmp_path / "a", quiet)
    many = generated(candidate(tmp_path), items(7), DECODING, tmp_path / "b", quiet)
    texts = {(row.item.instruction, row.output.sample): row.output.text for row in many.rows}
    assert all(texts[row.item.instruction, row.output.sample] == row.output.text for row in few.rows)


def test_a_prompt_without_room_is_left_out_with_its_reason(tmp_path: Path) -> None:
    long = Item("f" * 64, "en", "s", "", " ".join(sentences(90)), "", "x")
    made = generated(candidate(tmp_path), [*items(1), long], DECODING, tmp_path / "l", quiet)
    assert {(one.item, one.reason) for one in made.left_out} == {(long.id, "no room for prompt and answer")}
    assert len(made.rows) == 2


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m", chat=False)
    code = (
        "import sys; from pathlib import Path; from tests.evaluate.test_generation import *;"
        "place = Path(sys.argv[1]); "
        "decoding = Decoding(max_new_tokens=200, top_p=0.9, temperature=1.0, samples=1, seed=7);"
        "generated(candidate(place, batch=2), items(12), decoding, place / 'l', quiet)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    while process.poll() is None:
        ledgers = list((tmp_path / "l").glob("*.jsonl"))
        if ledgers and ledgers[0].read_bytes().count(b"\n") >= 3:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    said: list[str] = []
    decoding = Decoding(max_new_tokens=200, top_p=0.9, temperature=1.0, samples=1, seed=7)
    made = generated(candidate(tmp_path, batch=2), items(12), decoding, tmp_path / "l", said.append)
    known = int(next(text for text in said if "lay there already" in text).split()[0])
    assert 3 <= known <= 12
    assert made == generated(candidate(tmp_path, batch=2), items(12), decoding, tmp_path / "fresh", quiet)


def test_an_encoder_decoder_answers_too_and_is_asked_the_bare_instruction(tmp_path: Path) -> None:
    save_tiny_pair(tmp_path / "t")
    found = bare(str(tmp_path / "t"), None, "", "t5", tmp_path / "cache", 4, quiet)
    assert found.asked(items(1)[0]) == items(1)[0].instruction
    assert len(generated(found, items(3), DECODING, tmp_path / "l", quiet).rows) == 6
    with pytest.raises(RecipeError, match="encoder-decoder"):
        bare(str(tmp_path / "t"), "alpaca", "", "t5", tmp_path / "cache", 4, quiet)


def test_each_candidate_is_asked_in_its_own_words(tmp_path: Path) -> None:
    item = Item("0" * 64, "en", "s", "", "Sum it up. </s>", "It rained.", "")
    asked = candidate(tmp_path, template="Human: {instruction}\nAssistant:").asked(item)
    assert str(asked).replace("\ufdd0", "") == "Human: Sum it up. </s>\n\nIt rained.\nAssistant:"
    assert "\ufdd0" in str(asked)  # what a user says never becomes a special token
    assert str(candidate(tmp_path, prompt="longform-eoi").asked(item)).endswith(f"It rained. {EOI}")
    with pytest.raises(RecipeError, match="instruction"):
        candidate(tmp_path, template="no place")


def test_answers_of_a_file_are_paired_and_what_is_unpaired_is_counted(tmp_path: Path) -> None:
    asked = items(4)
    lines = [
        {"input": asked[2].instruction, "output": "two", "tokens": 3, "finished": False},
        {"id": asked[0].id, "output": "zero"},
        {"input": "another question", "output": "lost"},
        {"input": asked[1].instruction, "output": 5},
    ]
    path = tmp_path / "o.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{not JSON\n")
    said: list[str] = []
    made = from_file(path, asked, said.append)
    assert [(row.item.id, row.output.text, row.output.finish) for row in made.rows] == [
        (asked[0].id, "zero", "unknown"),
        (asked[2].id, "two", "length"),
    ]
    assert [(one.item, one.reason) for one in made.left_out] == [
        (asked[1].id, "its line of the file has no text"),
        (asked[3].id, "no line of the file answers it"),
    ]
    assert said == [
        f"{path}: 1 lines are no JSON objects, and are left out",
        f"{path}: 1 lines answer no item of this suite, and are left out",
    ]
    path.write_text(json.dumps(lines[2]))
    with pytest.raises(InputError, match="none of its 1 lines"):
        from_file(path, asked, said.append)


def test_likelihoods_add_up_to_the_models_own_loss(tmp_path: Path) -> None:
    import torch

    found, asked = candidate(tmp_path), items(3)
    assert isinstance(found.model, Local)
    model, tokenizer = found.model.model, found.model.tokenizer
    for item, one in zip(asked, likelihoods(found, [(item, item.reference) for item in asked]), strict=True):
        prompt = tokenizer(str(found.asked(item)))["input_ids"]
        answer = tokenizer(item.reference, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + answer])
        labels = torch.tensor([[-100] * len(prompt) + answer])
        assert one is not None
        assert one.nats / one.tokens == pytest.approx(float(model(input_ids=ids, labels=labels).loss), rel=1e-5)
        assert one.bytes == len(item.reference.encode())
    assert list(likelihoods(found, [(asked[0], "  ")])) == [None]
    assert [one and one.id for one in others(asked)] == [asked[1].id, asked[2].id, asked[0].id]
    assert others(asked[:1]) == [None]
