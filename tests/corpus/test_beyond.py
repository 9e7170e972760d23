"""Past the paper: texts that are rewritten stay true, constraints are usable, translated instructions native."""

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from lft.ask.ledger import Ledger, open_ledger
from lft.ask.meter import Meter
from lft.ask.request import Request, Take
from lft.corpus.beyond.constraints import constraints_in
from lft.corpus.beyond.rewrite import faithfulness, unfaithful
from lft.corpus.beyond.run import go_beyond
from lft.corpus.document import Document, Pair
from lft.corpus.load import Asked, load_build
from lft.corpus.schema import Build
from lft.corpus.step import OPEN, Report, read_records
from tests.corpus.models import Rule

FILE = """\
name: x
sources: [{name: a, kind: text, path: x, licence: CC0, langs: [en]}]
instruct: {backend: {kind: transformers, model: m}, length_clauses: 1.0}
beyond: {%s}
"""
BACKEND = "backend: {kind: transformers, model: %s, max_tokens: 200}"
TEXT = "Welcome to my blog! Tulips need sun. Plant 12 bulbs in autumn, water them weekly and wait until April."


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(tmp_path / "ledger.jsonl") as opened:
        yield opened


def build_of(folder: Path, beyond: str) -> Build:
    (folder / "b.yaml").write_text(FILE % beyond)
    return load_build(folder / "b.yaml")


def pair(**changed: str) -> Pair:
    made = {"input": "How do I grow tulips?", "output": TEXT, "id": "1", "lang": "en"} | changed
    return Pair(source="a", subset="", licence="CC0", style="instruction", **made)  # type: ignore[arg-type]


def gone(
    folder: Path, build: Build, model: Rule, ledger: Ledger, pairs: list[Pair], documents: list[Document] | None = None
) -> tuple[Report, list[Pair]]:
    (folder / "in.jsonl").write_text("".join(json.dumps(one.record()) + "\n" for one in pairs))

    def opened(_: Asked) -> Rule:
        return model

    report = go_beyond(build, documents or [], folder / "in.jsonl", folder, opened, ledger, lambda _: None)  # type: ignore[arg-type]
    return report, [Pair.of(record) for record in read_records(folder / "pairs.jsonl")]


def test_without_options_pairs_pass_as_they_are(tmp_path: Path, ledger: Ledger) -> None:
    build = build_of(tmp_path, "")
    model = Rule(lambda _: pytest.fail("asked"))
    assert gone(tmp_path, build, model, ledger, [pair()])[1] == [pair()]


def test_a_faithful_rewriting_takes_the_texts_place_and_its_clause_is_true_again(
    tmp_path: Path, ledger: Ledger
) -> None:
    better = "Tulips need sun. Plant 12 bulbs in autumn and water them weekly."
    words = len(TEXT.split())
    asked = pair(input=f"How do I grow tulips? Respond in {words} words.", length_clause=f"Respond in {words} words.")
    report, (found,) = gone(
        tmp_path, build_of(tmp_path, "rewrite: {%s}" % (BACKEND % "r")), Rule(lambda _: better), ledger, [asked]
    )
    assert found.output == better
    assert found.scores["faithfulness"] == 1.0
    assert found.length_clause in found.input
    assert str(words) not in found.input
    assert report.figures["rewritten"] == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Tulips need sun. Plant 15 bulbs in autumn, water them weekly.", "numbers"),
        ("Orchids prefer shadow and bright kitchens; never water them weekly in winter months.", "words"),
        ("Plant them.", "shorter"),
        ("", "no whole answer"),
    ],
)
def test_what_is_made_up_leaves_the_persons_own_text(tmp_path: Path, ledger: Ledger, text: str, reason: str) -> None:
    build = build_of(tmp_path, "rewrite: {%s}" % (BACKEND % "r"))
    report, (found,) = gone(tmp_path, build, Rule(lambda _: text), ledger, [pair()])
    assert found == pair()
    assert any(reason in one for one in report.figures["texts that stayed"])
    assert unfaithful(text, TEXT, 0.6)


def test_requests_that_failed_are_counted_and_said(tmp_path: Path, ledger: Ledger) -> None:
    options = ", ".join(["rewrite: {%s}", "constraints: {share: 1.0, %s}", "translate: {langs: [de], %s}"])
    build = build_of(tmp_path, options % ((BACKEND % "m",) * 3))
    documents = [Document("7", "Tulpen.", "a", "de", "CC0", "x")]
    report, found = gone(tmp_path, build, Rule(lambda _: None), ledger, [pair()], documents)
    assert found == [pair()]
    assert report.figures[OPEN] == 3
    assert "3 requests failed" in report.notes[0]
    assert report.figures["texts that stayed"] == {"no answer": 1}


def test_memory_of_going_past_the_paper_does_not_grow_with_the_texts(tmp_path: Path, ledger: Ledger) -> None:
    options = ", ".join(["rewrite: {%s}", "constraints: {share: 1.0, %s}", "translate: {langs: [de], %s}"])
    build = build_of(tmp_path, options % ((BACKEND % "m",) * 3))

    class Silent(Rule):
        async def answer(self, requests: Iterator[Request], take: Take, _meter: Meter) -> None:
            for _ in requests:
                await asyncio.sleep(0)

    def peak(count: int) -> int:
        """Bytes with so many pairs of 3,000 characters."""
        folder = tmp_path / f"{count}"
        folder.mkdir()
        with (folder / "in.jsonl").open("w") as stream:
            for n in range(count):
                stream.write(json.dumps(pair(id=f"{n:05}", output=f"{n} word" * 500).record()) + "\n")
        tracemalloc.start()
        go_beyond(build, [], folder / "in.jsonl", folder, lambda _: Silent(str), ledger, lambda _: None)  # type: ignore[arg-type, return-value]
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)  # what is loaded once
    assert peak(600) - peak(200) < 400 * 3000 / 4


def test_faithfulness_counts_words_by_their_beginning() -> None:
    assert faithfulness("watering planted tulip", "water plants, tulips") == 1.0
    assert faithfulness("watering roses", "water plants") == 0.5
    assert faithfulness("a an of", "x") == 1.0


def test_constraints_that_can_be_used_are_added_to_the_instruction(tmp_path: Path, ledger: Ledger) -> None:
    reply = (
        "Sure!\n- Name the season.\n- Name the season.\n- Tulips need sun. Plant 12 bulbs in autumn\n2. Give numbers."
    )
    build = build_of(tmp_path, "constraints: {share: 1.0, number: 3, %s}" % (BACKEND % "c"))
    report, (found,) = gone(tmp_path, build, Rule(lambda _: reply), ledger, [pair()])
    assert found.input == "How do I grow tulips?\n\n- Name the season.\n- Give numbers."
    assert report.figures["with constraints"] == 1
    assert constraints_in("nothing of use", TEXT, 3) == ()
    assert constraints_in("- " + "word " * 40, TEXT, 3) == ()


def test_a_translated_instruction_is_native_and_its_document_untouched(tmp_path: Path, ledger: Ledger) -> None:
    german = "Tulpen brauchen Sonne. Pflanzen Sie im Herbst zwölf Zwiebeln und gießen Sie jede Woche. " * 3
    english = "Tulips need sun. Plant twelve bulbs in autumn and water them each week."

    def rule(prompt: str) -> str:
        if "into English" in prompt:
            return english
        if "into German" in prompt or "into Deutsch" in prompt:
            assert "grow tulips" in prompt
            return "Wie ziehe ich Tulpen in meinem Garten?"
        assert "Tulips need sun" in prompt
        return "Explain to me how to grow tulips in my garden."

    build = build_of(tmp_path, "translate: {langs: [de], %s}" % (BACKEND % "t"))
    documents = [Document("7", german, "a", "de", "CC0", "x"), Document("1", TEXT, "a", "en", "CC0", "y")]
    report, found = gone(tmp_path, build, Rule(rule), ledger, [pair()], documents)
    assert [one.id for one in found] == ["1", "7"]
    assert found[1].input.replace(found[1].length_clause, "").strip() == "Wie ziehe ich Tulpen in meinem Garten?"
    assert found[1].length_clause
    assert (found[1].output, found[1].lang) == (german, "de")
    assert report.figures["by translation"] == 1


def test_a_document_without_a_whole_translation_is_counted(tmp_path: Path, ledger: Ledger) -> None:
    build = build_of(tmp_path, "translate: {langs: [de], %s}" % (BACKEND % "t"))
    report, found = gone(
        tmp_path, build, Rule(lambda _: None), ledger, [], [Document("7", "Tulpen.", "a", "de", "CC0", "x")]
    )
    assert found == []
    assert report.cut["no whole translation"].count == 1
