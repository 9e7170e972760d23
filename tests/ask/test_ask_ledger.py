"""The ledger loses no line that it said it has, whatever is cut, and one process writes it."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.ask.ledger import Entry, entry_of, open_ledger
from lft.ask.request import Failure, Message, Reply, Request, Sampling, from_json
from lft.errors import MachineError


def request(n: int = 0, **changed: object) -> Request:
    fields: dict[str, object] = {
        "id": f"d{n}",
        "document": "0" * 64,
        "asked": "Write.",
        "sampling": Sampling(),
        "seed": n,
    }
    return Request(**{**fields, **changed})  # type: ignore[arg-type]


def entries(count: int, text: str = "a line\n“of” Ünïcode\u2028 and more") -> list[Entry]:
    return [entry_of(request(n), "m", Reply(f"{n} {text}", "stop", 10, 5, 0.1)) for n in range(count)]


def test_answers_are_there_after_closing_and_opening(tmp_path: Path) -> None:
    lines = entries(5, "x" * 10_000)
    with open_ledger(tmp_path / "l") as ledger:
        ledger.add(lines[:3])
        ledger.add(lines[3:])
        assert ledger.get(lines[4].key) == lines[4]
    with open_ledger(tmp_path / "l") as ledger:
        assert [ledger.get(one.key) for one in lines] == lines
        assert ledger.get("0" * 64) is None
        assert ledger.spent("m").tokens == 75
        assert ledger.spent("another").answers == 0


def test_cut_anywhere_it_keeps_every_whole_line_and_takes_new_ones(tmp_path: Path) -> None:
    path, lines = tmp_path / "l", entries(3)
    with open_ledger(path) as ledger:
        ledger.add(lines)
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    near = {end + step for end in ends for step in (-2, -1, 0, 1)} | set(range(0, len(whole), 29))
    for cut in sorted(near & set(range(len(whole)))):
        path.write_bytes(whole[:cut])
        said: list[str] = []
        with open_ledger(path, said.append) as ledger:
            kept = [one for one, end in zip(lines, ends, strict=True) if cut >= end - 1]  # the last may lack its break
            assert len(ledger) == len(kept)
            assert bool(said) == (cut not in (0, *ends) and cut + 1 not in ends)
            ledger.add([lines[2]])
            assert ledger.get(lines[2].key) == lines[2]
        with open_ledger(path) as ledger:
            assert all(ledger.get(one.key) == one for one in [*kept, lines[2]])


@given(st.binary(max_size=80))
def test_no_bytes_in_it_are_an_error(junk: bytes) -> None:
    import tempfile

    (one,) = entries(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "l"
        path.write_bytes(junk + b"\n")
        with open_ledger(path) as ledger:
            ledger.add([one])
        with open_ledger(path) as ledger:
            assert ledger.get(one.key) == one


def test_a_failure_is_a_line_with_its_reason_and_no_answer(tmp_path: Path) -> None:
    failure = entry_of(request(), "m", Failure("no answer after 7 tries"))
    with open_ledger(tmp_path / "l") as ledger:
        ledger.add([failure])
        assert failure.key not in ledger
    assert json.loads((tmp_path / "l").read_text())["reason"] == "no answer after 7 tries"


def _hold(path: Path, held: object, leave: object) -> None:
    with open_ledger(path):
        held.set()  # type: ignore[attr-defined]
        leave.wait(30)  # type: ignore[attr-defined]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "l", held, leave))
    other.start()
    assert held.wait(60)
    with pytest.raises(MachineError, match="another process"), open_ledger(tmp_path / "l"):
        pass
    leave.set()
    other.join()
    with open_ledger(tmp_path / "l"):
        pass


def test_a_full_disk_is_one_message_and_what_was_added_before_stays(tmp_path: Path) -> None:
    import resource

    lines = entries(2, "x" * 3000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_ledger(tmp_path / "l") as ledger:
        ledger.add(lines[:1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        try:
            with pytest.raises(MachineError, match="no space left"):
                ledger.add(lines[1:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with open_ledger(tmp_path / "l") as ledger:
        assert [one.key in ledger for one in lines] == [True, False]


@pytest.mark.parametrize(
    "other",
    [request(0, document="1" * 64), request(0, asked="Write!"), request(0, asked=(Message("user", "Write."),)),
     request(0, sampling=Sampling(0.8)), request(1)],
)  # fmt: skip
def test_the_key_tells_apart_document_prompt_model_and_decoding(other: Request) -> None:
    assert other.key("m") != request(0).key("m")
    assert request(0).key("n") != request(0).key("m")
    assert request(0).key("m") == request(0).key("m")


def test_a_request_survives_json() -> None:
    from dataclasses import asdict

    for one in (request(), request(asked=(Message("system", "a"), Message("user", "b")))):
        assert from_json(json.loads(json.dumps(asdict(one)))) == one
