"""The paper's mixture from what is there."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from lft.ask.schema import Backend
from lft.corpus.build import Tools, folder_of, root_of, run_build
from lft.corpus.load import BUILD, load_build
from lft.corpus.longform import PARTS, compared, longform_build, parts_in, table
from lft.corpus.screen.run import Models
from lft.corpus.step import read_records
from lft.errors import InputError
from lft.recipe.write import to_yaml
from tests.corpus.models import Rule
from tests.corpus.reading import written

BACKEND = Backend(kind="transformers", model="m")


def test_the_numbers_are_the_papers() -> None:
    assert [part.rows for part in PARTS] == [10_000, 5_000, 4_380, 2_500, 3_684, 600, 1_203, 372]
    assert sum(part.rows for part in PARTS) == 27_739


def test_what_is_there_becomes_a_build_file_that_reads_back(tmp_path: Path) -> None:
    for name in ("c4", "enron", "wikihow"):
        (tmp_path / name).mkdir()
    for name in ("c4", "enron"):
        (tmp_path / name / "x.json").write_text("{}")
    build = longform_build(tmp_path, BACKEND)
    assert [source.name for source in build.sources] == ["C4", "Enron"]
    assert build.select.quotas.by_source == {"C4": 10_000, "Enron": 372}
    assert all(rule.broken_by(build) is None for rule in BUILD.rules)
    (tmp_path / "longform.yaml").write_text(to_yaml(build))
    assert load_build(tmp_path / "longform.yaml") == build


def test_the_table_says_what_is_missing_and_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "enron").mkdir()
    (tmp_path / "enron" / "1").write_text("x")
    rows = parts_in(tmp_path)
    before, after = table(rows), table(compared(rows, {"Enron": 300}))
    assert "wikihow/" in before
    assert "StackExchange            4,380       -    4,380" in before
    assert "Enron                      372   there        0" not in after
    assert "Enron                      372     300       72" in after
    assert all(len(line) < 100 for line in after.splitlines())


def test_an_empty_folder_is_told_what_belongs_in_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the paper's sources") as caught:
        parts_in(tmp_path)
    assert "natural-instructions" in str(caught.value)


_NAMED = (
    "garden harbour miller bridge teacher river orchard window soldier letter mountain baker kitchen painter island "
    "forest doctor village market engine captain library station theatre carpenter meadow lantern sailor castle clock "
    "tailor chapel farmer valley printer museum tunnel shepherd cottage potter"
)
NOUNS = _NAMED.split()
SENTENCES = (
    "The {} that stands by the {} was once the pride of every {} and of the {} too.",
    "Nobody who has seen the {} will forget how a {} came to the {} with a {} in hand.",
    "In the winter a {} would walk to the {} and look for the {} behind the old {}.",
    "They have kept the {} for the {}, because the {} is what a {} wants to see first.",
    "When the {} was sold, the {} of the {} wrote about it to a {} far away.",
)


def text_of(name: str, sentences: int = 4) -> str:
    """Some English that no other name gives."""
    drawn = random.Random(name)
    chosen = drawn.sample(SENTENCES, min(sentences, len(SENTENCES)))
    return " ".join(one.format(*drawn.sample(NOUNS, 4)) for one in chosen)


def words_asked(prompt: str) -> str:
    """What a model writes for the text in its prompt."""
    named = [word for word in NOUNS if f" {word} " in prompt]
    return f"Write something that a visitor could read about the {named[0]} as well as the {named[-1]}."


def essay(name: str) -> dict[str, object]:
    """With one mistake, and longer than any instruction may be that a model writes."""
    text = " ".join(text_of(f"{name} {part}", 5) for part in range(2))
    begin = text.index(" the ")
    wrong = f"{text[:begin]} teh {text[begin + 5 :]}"
    assert len(wrong.split()) > 120
    return {"id": name, "text": wrong, "cefr": "B1", "edits": [[0, [[begin + 1, begin + 4, "the"]]]]}


def all_parts(folder: Path) -> None:
    """Two documents of each of the paper's sources, as these are when they are unpacked."""
    both = ("one", "two")
    lines = {
        "c4/en/c4-train.00001.json.gz": [{"text": text_of(f"c4 {n}"), "url": f"https://x.org/{n}"} for n in both],
        "bea-gec/json/A.train.json": [essay(f"essay {n}") for n in both],
    }
    for name, rows in lines.items():
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        written(folder, {name: gzip.compress(data) if name.endswith("gz") else data})
    posts = "".join(
        f'<row Id="{n}" PostTypeId="1" Title="How is it done?" Body="{text_of(f"asked {n}", 1)}" />\n'
        f'<row Id="{n}0" PostTypeId="2" ParentId="{n}" Score="3" Body="{text_of(f"post {n}")}" />\n'
        for n in (1, 2)
    )
    articles = (f'<doc id="{n}" url="u/{n}" title="{n}">\n{n}\n\n{text_of(f"wiki {n}")}\n</doc>\n' for n in both)
    instances = [{"id": n, "input": text_of(f"in {n}"), "output": [text_of(f"out {n}")]} for n in both]
    examples = [{"input": text_of(f"ask {n}"), "target": text_of(f"story {n}")} for n in both]
    steps = {n: "\n".join(f"{text_of(f'step {n} {step}', 2)}," for step in range(3)) for n in both}
    written(
        folder,
        {
            "wikipedia/AA/wiki_00": "".join(articles),
            "stackexchange/crafts.stackexchange.com/Posts.xml": f"<posts>{posts}</posts>",
            "wikihow/wikihowAll.csv": "headline,title,text\n"
            + "".join(f'"{steps[n]}",How to Build Number {n},x\n' for n in both),
            "natural-instructions/tasks/task1_x.json": json.dumps({"Definition": ["Go on."], "Instances": instances}),
            "bigbench/story/task.json": json.dumps({"name": "story", "task_prefix": "Tell.", "examples": examples}),
            "bea-gec/licence.txt": "You may use this data for research. " * 20,
            "bea-gec/m2/A.m2": "S He go .\nA 1 2|||R|||goes|||REQUIRED|||-NONE-|||0\n",
            **{
                f"enron/ann/sent/{n}.": f"From: a@b.org\nSubject: The old {n}\n\n{text_of(f'mail {n}')}\n" for n in both
            },
        },
    )


def test_every_part_of_the_papers_mixture_arrives_in_the_data_set(tmp_path: Path) -> None:
    all_parts(tmp_path / "sources")
    made = longform_build(tmp_path / "sources", BACKEND)
    (tmp_path / "longform.yaml").write_text(to_yaml(made))
    build = load_build(tmp_path / "longform.yaml", [f"output={tmp_path}"])
    none = Models(*([lambda *_: pytest.fail("no model was asked for")] * 3))  # type: ignore[arg-type]
    reports = run_build(build, Tools(lambda _: Rule(words_asked), none, lambda _: None))  # type: ignore[arg-type, return-value]
    folder = folder_of(root_of(build), "write")
    rows = [row for path in sorted(folder.glob("*.jsonl")) for row in read_records(path)]
    assert Counter(row["source"] for row in rows) == {part.source: 2 for part in PARTS}
    assert all(row.there for row in parts_in(tmp_path / "sources"))
    assert not any("for research" in row["output"] for row in rows), "a licence is no essay"
    corrected = {row["output"]: row["input"] for row in rows if row["source"] == "BEA-GEC"}
    for number in ("one", "two"):
        made_of = essay(f"essay {number}")["text"]
        assert any(str(made_of) in asked and " teh " not in text for text, asked in corrected.items())
    assert "BEA-GEC                  1,203       2    1,201" in table(
        compared(parts_in(tmp_path / "sources"), reports[-1].figures["source"])
    )


def test_a_folder_without_a_file_that_its_kind_reads_is_missing(tmp_path: Path) -> None:
    written(tmp_path, {"bea-gec/licence.txt": "x", "wikipedia/readme.md": "x", "enron/1.": "x"})
    assert [row.part.source for row in parts_in(tmp_path) if row.there] == ["Enron"]


def test_essays_are_taken_whole_and_sentence_by_sentence_only_where_there_are_no_others(tmp_path: Path) -> None:
    written(tmp_path, {"bea-gec/m2/A.m2": "S x", "enron/1.": "x"})
    paths = [source.path for source in longform_build(tmp_path, BACKEND).sources]
    written(tmp_path, {"bea-gec/json/A.json": "{}"})
    assert (paths[0], longform_build(tmp_path, BACKEND).sources[0].path) == (
        str(tmp_path / "bea-gec"),
        str(tmp_path / "bea-gec/**/*.json*"),
    )
