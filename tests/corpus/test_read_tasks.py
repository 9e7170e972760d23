"""Natural Instructions, BIG-bench, WikiHow, BEA-GEC."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.language import detected
from lft.corpus.read.gec import Edit, apply_edits
from lft.corpus.read.wikihow import TEMPLATES, question_of
from tests.corpus.reading import read, written

LONG = "A long answer that goes on for a while, " * 6


def instructions(*outputs, definition="Summarise &quot;this&quot; bill.") -> str:
    instances = [{"id": f"i-{n}", "input": f"Bill &amp; text {n}", "output": one} for n, one in enumerate(outputs)]
    return json.dumps({"Definition": [definition], "Categories": ["Summarization"], "Instances": instances})


def test_only_tasks_with_long_answers_are_taken(tmp_path: Path) -> None:
    written(
        tmp_path,
        {
            "task1658_billsum.json": instructions([LONG + "&quot;a&quot;", "other"], [LONG], [""]),
            "task2_yes_no.json": instructions(["yes"], ["no"], ["yes"], [LONG]),
            "readme.json": "{}",
            "torn.json": "{",
        },
    )
    reading = read("natural-instructions", tmp_path)
    one, two = reading.documents
    assert one.text == LONG + '"a"'
    assert one.question == "Summarise &quot;this&quot; bill.\n\nBill & text 0"
    assert (one.subset, one.style, two.where) == ("task1658 billsum", "human", "task1658_billsum.json#i-1")
    assert reading.cut == {
        "no input or no output": 1,
        "of a task whose answers have fewer than 30 words (median)": 4,
        "the file is no task of Natural Instructions": 1,
        "the file cannot be read": 1,
    }


def test_a_task_of_bigbench_is_its_prefix_and_input_and_choices_are_left(tmp_path: Path) -> None:
    story = {
        "name": "story_qa",
        "description": "About the task.",
        "task_prefix": "Read the story.",
        "examples": [{"input": "Once upon a time", "target": LONG}, {"input": "b", "target": [LONG]}],
    }
    choice = {"description": "d", "examples": [{"input": "a", "target_scores": {"x": 1}}] * 3}
    written(tmp_path, {"story/task.json": json.dumps(story), "choice/task.json": json.dumps(choice)})
    reading = read("bigbench", tmp_path)
    assert [one.question for one in reading.documents] == [
        "Read the story.\n\nOnce upon a time",
        "Read the story.\n\nb",
    ]
    assert {one.subset for one in reading.documents} == {"story qa"} or {"story_qa"}
    assert reading.cut == {"a choice among given answers": 3}


STEPS = ["Wash the apples.", "Peel them.", "Bake the pie."]


def test_fourteen_of_eighteen_templates_say_the_number_of_steps() -> None:
    assert len(set(TEMPLATES)) == 18
    assert sum("{steps}" in template for template in TEMPLATES) == 14
    assert all("{task}" in template for template in TEMPLATES)


def test_a_how_to_is_asked_for_by_a_template_and_answered_by_numbered_steps(tmp_path: Path) -> None:
    rows = [
        {
            "title": f"How to Bake a Pie of Sort {n}",
            "introduction": "Pies are nice.",
            "steps": [{"summary": step, "description": f"More on {step}"} for step in STEPS],
        }
        for n in range(900)
    ]
    written(tmp_path, {"wikihow.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    documents = read("wikihow", tmp_path).documents
    assert len(documents) == 900
    with_steps = [one for one in documents if "3 steps" in one.question]
    assert abs(len(with_steps) / 900 - 14 / 18) < 0.05
    assert abs(sum(one.text.startswith("Pies") for one in documents) / 900 - 0.5) < 0.06
    summaries = sum("Peel" in one.text and "More on" not in one.text for one in documents)
    both = sum("2. Peel them.\nMore on Peel them.\n3." in one.text for one in documents)
    assert min(summaries, both) > 240
    one = documents[0]
    assert (one.title, one.style) == ("How to Bake a Pie of Sort 0", "template")
    assert "bake a Pie of Sort" in one.question
    assert documents == read("wikihow", tmp_path).documents


@pytest.mark.parametrize(
    ("title", "steps", "said"),
    [
        ("How to Fold a Map", 1, "fold a Map"),
        ("How to DVD-Burn", 2, "DVD-Burn"),
        ("How To Use iPhone?", 2, "use iPhone"),
    ],
)
def test_a_title_becomes_a_task_in_a_sentence(title: str, steps: int, said: str) -> None:
    question = question_of(title, steps, "en")
    assert said in question
    assert "how to how" not in question.lower()
    assert "1 steps" not in question


def test_a_title_in_another_language_is_asked_as_it_stands() -> None:
    assert question_of("Einen Kuchen backen", 3, "de") == "Einen Kuchen backen"


def test_each_language_of_a_source_is_asked_in_its_own_words(tmp_path: Path) -> None:
    rows = {"en": "How to Bake a Cake", "de": "Einen Kuchen backen"}
    essay = {"id": "1", "text": "x bad y", "edits": [[0, [[2, 5, "good"]]]]}
    m2 = "S a bad\nA 1 2|||R|||good|||REQUIRED|||-NONE-|||0\n"
    for lang, title in rows.items():
        how = {"title": title, "steps": ["one", "two"]}
        written(tmp_path, {f"{lang}/h.jsonl": json.dumps(how), f"{lang}/e.json": json.dumps(essay), f"{lang}/e.m2": m2})
    both = {"langs": ("en", "de")}
    how_to = {one.lang: one.question for one in read("wikihow", tmp_path / "{lang}" / "h.jsonl", **both).documents}
    assert how_to["de"] == "Einen Kuchen backen"
    assert "bake a Cake" in how_to["en"]
    for name in ("e.json", "e.m2"):
        asked = {one.lang: one.question for one in read("bea-gec", tmp_path / "{lang}" / name, **both).documents}
        assert detected(asked["de"])[0] == "de"
        assert detected(asked["en"])[0] == "en"
    assert read("bea-gec", tmp_path / "en" / "e.m2", langs=("it",)).cut == {
        "there is no wording in it that asks for corrections": 1
    }


@pytest.mark.parametrize("kind", ["bea-gec", "wikihow", "c4", "scitldr", "wikipedia"])
def test_a_file_that_a_kind_does_not_read_is_no_document(tmp_path: Path, kind: str) -> None:
    written(tmp_path, {"licence.txt": "You may use this data for research, and for nothing else."})
    reading = read(kind, f"{tmp_path}/**/*.*")
    if kind == "wikipedia":
        assert len(reading.documents) == 1, "an article a line"
    else:
        assert reading.cut == {f"a file that kind {kind} does not read, by its name": 1}


def test_a_csv_with_a_row_for_each_step_is_put_together(tmp_path: Path) -> None:
    with (tmp_path / "wikihowSep.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["overview", "headline", "text", "sectionLabel", "title"])
        rows.writerows(["Intro", f"\n{step}", f"Text of {step}", "Steps", "How to Bake"] for step in STEPS)
        rows.writerow(["", "Only one.", "", "Steps", "How to Rest"])
        rows.writerow(["", "", "", "Steps", "How to Do Nothing"])
    with (tmp_path / "wikihowAll.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["headline", "title", "text"])
        rows.writerow(["\nSit down.,\nBreathe.", "How to Be an Organized Artist1", "Long text"])
    reading = read("wikihow", tmp_path)
    artist, bake, rest = reading.documents
    assert (artist.title, artist.text) == ("How to Be an Organized Artist", "1. Sit down.\n2. Breathe.")
    assert [f"{n}." in bake.text for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert rest.text == "1. Only one."
    assert reading.cut == {"no title or no steps": 1}


@pytest.mark.parametrize(
    ("text", "edits", "corrected"),
    [
        ("I has a cat .", [(2, 5, "have")], "I have a cat ."),
        # the release has "will still absolutelyery crucial" and "something went wrong  when"
        (
            "is still very crucial now.",
            [(0, 2, "will"), (9, 13, "be absolutely")],
            "will still be absolutely crucial now.",
        ),
        (
            "went wrong after when she told him that she is.",
            [(11, 16, ""), (44, 46, "was")],
            "went wrong when she told him that she was.",
        ),
        ("one of his the biggest dreams", [(11, 15, "")], "one of his biggest dreams"),
        ("It ends here .", [(12, 13, "")], "It ends here."),
        ("He run fast and she run too", [(3, 6, "runs"), (20, 23, "runs")], "He runs fast and she runs too"),
        ("the the end", [(0, 4, "")], "the end"),
        ("people use", [(10, 10, " it")], "people use it"),
        ("we use", [(3, 3, " all")], "we all use"),
        ("we used it", [(3, 7, " are")], "we are it"),
        ("went home", [(0, 0, " He ")], "He went home"),
        ("double  space stays", [(14, 19, "stayed")], "double  space stayed"),
        ("line one \nline too", [(15, 18, "two")], "line one \nline two"),
        ("a same place", [(0, 1, "the"), (1, 1, " very")], "the very same place"),
    ],
)
def test_edits_are_applied_where_they_belong(text, edits, corrected) -> None:
    for order in (edits, edits[::-1]):
        assert apply_edits(text, [Edit(*one) for one in order]) == corrected


def test_edits_that_overlap_or_are_outside_are_refused() -> None:
    assert apply_edits("abcdef", [Edit(0, 3, "x"), Edit(2, 4, "y")]) is None
    assert apply_edits("abc", [Edit(2, 9, "x")]) is None
    assert apply_edits("abc", [Edit(2, 1, "x")]) is None


@given(
    st.lists(st.tuples(st.sampled_from(["a", "bc", "cba"]), st.sampled_from([None, "new", ""])), min_size=1, max_size=9)
)
def test_replacing_words_leaves_all_others_and_single_spaces(words) -> None:
    edits, start = [], 0
    for word, new in words:
        if new is not None:
            edits.append(Edit(start, start + len(word), new))
        start += len(word) + 1
    corrected = apply_edits(" ".join(word for word, _ in words), edits)
    assert corrected is not None
    assert corrected.split() == [one for word, new in words if (one := word if new is None else new)]
    assert "  " not in corrected


def test_an_essay_in_becomes_its_corrected_version_out(tmp_path: Path) -> None:
    essay = "My dog  are nice.\n\nHe like me very very much."
    edits = [[0, [[8, 11, "is"], [22, 26, "likes"], [30, 35, ""], [0, 2, None]]], [1, [[0, 2, "Our"]]]]
    rows = [
        {"id": "1-7", "text": essay, "cefr": "A2.i", "edits": edits},
        {"id": "2", "text": "Fine.", "edits": [[0, []]]},
        {"id": "3", "text": "x", "edits": [[0, [[0, 99, "y"]]]]},
        {"id": "4", "text": "x", "edits": "none"},
    ]
    reading = read("bea-gec", written(tmp_path, {"A.train.json": "".join(json.dumps(row) + "\n" for row in rows)}))
    (one,) = reading.documents
    assert one.text == "My dog  is nice.\n\nHe likes me very much."
    assert essay in one.question
    assert one.question != essay
    assert (one.subset, one.where, one.style) == ("A2.i", "A.train.json#1-7", "template")
    assert reading.cut == {
        "nothing to correct": 1,
        "its edits overlap or are outside the text": 1,
        "no essay with edits": 1,
    }


def test_sentences_of_an_m2_file_are_corrected_by_tokens(tmp_path: Path) -> None:
    m2 = (
        "S He go to to school , do n't he ?\n"
        "A 1 2|||R:VERB|||goes|||REQUIRED|||-NONE-|||0\n"
        "A 3 4|||U:PREP||||||REQUIRED|||-NONE-|||0\n"
        "A 6 7|||R:VERB|||does|||REQUIRED|||-NONE-|||0\n"
        "A 0 1|||R:PRON|||She|||REQUIRED|||-NONE-|||1\n\n"
        "S Fine .\nA -1 -1|||noop|||-NONE-|||REQUIRED|||-NONE-|||0\n\n"
        "S Bad .\nA x|||y\n\nA no sentence"
    )
    reading = read("bea-gec", written(tmp_path, {"a.m2": m2}))
    (one,) = reading.documents
    assert one.text == "He goes to school, doesn't he?"
    assert "He go to to school, don't he?" in one.question
    assert reading.cut == {
        "nothing to correct": 1,
        "an edit cannot be read": 1,
        "a block does not begin with a sentence": 1,
    }
