"""Which format the columns are, and each row read strictly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.data.example import Example, Turn
from lft.data.formats import detect, named, to_example
from lft.errors import InputError

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


@pytest.mark.parametrize(
    ("row", "fmt"),
    [
        ({"input": "i", "output": "o"}, "longform"),
        ({"input": "i", "output": "o", "source": "C4", "subset": "chatbot"}, "longform"),
        ({"instruction": "i", "output": "o"}, "alpaca"),
        ({"instruction": "i", "input": "c", "output": "o"}, "alpaca"),
        ({"messages": TURNS}, "messages"),
        ({"conversations": SHAREGPT, "id": 4}, "messages"),
        ({"prompt": "p", "completion": "c"}, "prompt-completion"),
        ({"prompt": TURNS[:1], "completion": TURNS[1:]}, "prompt-completion"),
    ],
)
def test_auto_knows_each_format_by_its_columns(row, fmt):
    assert detect(list(row), row).format == fmt
    assert to_example(row, fmt).turns[-1].role == "assistant"


def test_the_verdict_says_why_and_which_columns_are_not_used():
    row = {"instruction": "i", "input": "c", "output": "o", "title": "t", "licence": "l"}
    said = str(detect(list(row), row))
    assert said.startswith("alpaca (columns instruction, input and output: with an instruction, input is its context")
    assert "not used: title, licence" in said


def test_where_two_formats_fit_the_verdict_names_the_other():
    row = {"messages": TURNS, "prompt": "p", "completion": "c"}
    verdict = detect(list(row), row)
    assert verdict.format == "messages"
    assert "prompt-completion would fit too, set data.format" in verdict.reason


def test_an_alpaca_set_read_as_longform_admits_that_the_instruction_is_not_used():
    assert "not used: instruction" in named("longform", ["instruction", "input", "output"]).reason


def test_unknown_columns_list_what_is_there_what_is_needed_and_what_looks_alike():
    with pytest.raises(InputError) as caught:
        detect(["question", "Response", "id"], {}, where="rows.jsonl")
    said = str(caught.value)
    assert said.startswith("rows.jsonl: no format fits the columns question, Response, id")
    for needed in ("longform: input, output", "alpaca: instruction, output", "messages", "prompt, completion"):
        assert needed in said
    assert "`Response` looks like `output`" in said
    assert "`question` looks like `input`" in said


@pytest.mark.parametrize(
    ("column", "like"), [("outptu", "output"), (" output", "output"), ("Instructions", "instruction")]
)
def test_a_misspelt_column_names_the_nearest_one(column, like):
    with pytest.raises(InputError, match=f"`{column}` looks like `{like}`"):
        detect(["x", column], {})


def test_a_named_format_whose_columns_are_missing_names_them():
    with pytest.raises(InputError, match="format alpaca needs `instruction`; the columns are input, output"):
        named("alpaca", ["input", "output"])
    assert named("messages", ["conversations"]).format == "messages"


def test_messages_that_are_text_are_told_apart_from_messages_that_are_a_list():
    with pytest.raises(InputError, match=r"`messages` is text, not a list"):
        detect(["messages"], {"messages": json.dumps(TURNS)})


def test_alpaca_keeps_the_context_apart_and_the_labels():
    row = {"instruction": "i", "input": "c", "output": "o", "source": "S", "subset": "B", "lang": "de"}
    turns = (Turn("user", "i"), Turn("assistant", "o"))
    assert to_example(row, "alpaca") == Example(turns=turns, context="c", source="S", subset="B", lang="de")
    assert to_example({**row, "input": None, "lang": None}, "alpaca").context == ""


def test_sharegpt_roles_become_user_and_assistant_and_a_system_column_comes_first():
    example = to_example({"conversations": SHAREGPT, "system": "s"}, "messages")
    assert example.turns == (Turn("system", "s"), Turn("user", "q"), Turn("assistant", "a"))


def test_an_empty_output_is_kept_for_the_audit_to_count():
    assert to_example({"input": "i", "output": ""}, "longform").output == ""


@pytest.mark.parametrize(
    ("row", "fmt", "said"),
    [
        ({"input": "i"}, "longform", "this row has no `output`; it has input"),
        ({"input": "i", "output": None}, "longform", "`output` is null"),
        ({"input": "i", "output": 7}, "longform", "`output` is a number, not text"),
        ({"input": "i", "output": float("nan")}, "longform", "`output` is a number, not text"),
        ({"input": "i", "output": True}, "longform", "`output` is true, not text"),
        ({"input": "i", "output": ["o"]}, "longform", "`output` is a list, not text"),
        ({"input": {"a": 1}, "output": "o"}, "longform", "`input` is an object, not text"),
        ({"input": " \n", "output": "o"}, "longform", "`input` is empty"),
        ({"instruction": "", "input": "c", "output": "o"}, "alpaca", "`instruction` is empty"),
        ({"instruction": "i", "output": "o", "history": [["a", "b"]]}, "alpaca", "`history` holds earlier turns"),
        ({"prompt": "", "completion": "c"}, "prompt-completion", "`prompt` is empty"),
        ({"prompt": "p", "completion": TURNS[1:]}, "prompt-completion", "`prompt` is text and `completion` is a list"),
        ({"messages": []}, "messages", "there are no turns"),
        ({"messages": TURNS[:1]}, "messages", "the last turn is the user's"),
        ({"messages": "hello"}, "messages", "`messages` is text, not a list"),
        ({"messages": [*TURNS, "x"]}, "messages", "`messages`[2] is text, not a message"),
        ({"messages": [{"role": "tool", "content": "x"}, *TURNS]}, "messages", "`messages`[0] has role `tool`"),
        ({"messages": [{"content": "x"}, *TURNS]}, "messages", "`messages`[0] has no role"),
        (
            {"messages": [TURNS[0], {"role": "assistant", "content": None}]},
            "messages",
            r"`messages`[1].content is null",
        ),
        ({"messages": [TURNS[0], {**TURNS[1], "tool_calls": [1]}]}, "messages", "`tool_calls`, which would be lost"),
        ({"messages": TURNS, "tools": "[{}]"}, "messages", "`tools` is set"),
        ({"input": "i", "output": "cut \ud83d"}, "longform", "`output` holds half a character (\\ud83d) at position 4"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_an_error_with_its_place(row, fmt, said):
    with pytest.raises(InputError) as caught:
        to_example(row, fmt, where="rows.jsonl:17")
    assert str(caught.value).startswith("rows.jsonl:17: ")
    assert said in caught.value.what
    assert caught.value.fix


def test_null_message_parts_that_parquet_fills_in_are_no_obstacle():
    turns = [{**turn, "tool_calls": None, "name": None} for turn in TURNS]
    assert to_example({"messages": turns, "tools": None}, "messages").output == "a"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["input", "output", "instruction", "messages", "conversations", "prompt", "completion", "role", "content", "system"]
)


@given(st.dictionaries(NAMES | st.text(max_size=6), JSON | st.just(TURNS) | st.just(SHAREGPT), max_size=5))
def test_any_row_gives_an_example_or_one_clear_error(row):
    outcome: Example | InputError
    try:
        outcome = to_example(row, detect(list(row), row).format, where="f:1")
    except InputError as error:
        outcome = error
    if isinstance(outcome, InputError):
        assert outcome.fix
    else:
        assert outcome.turns[-1].role == "assistant"
        assert all(isinstance(turn.content, str) for turn in outcome.turns)


def test_real_longform_rows_are_read_as_longform(shared_data):
    rows = json.loads((shared_data / "longform" / "longform_train.json").read_text(encoding="utf-8"))
    assert detect(list(rows[0]), rows[0]).format == "longform"
    examples = [to_example(row, "longform") for row in rows]
    assert [example.output for example in examples] == [row["output"] for row in rows]
    assert all(example.source and example.subset for example in examples)


def test_real_documents_without_an_instruction_are_refused_and_named(shared_data):
    with (shared_data / "corpus" / "gnome-help.de.jsonl").open(encoding="utf-8") as file:
        row = json.loads(next(file))
    with pytest.raises(InputError, match="no format fits the columns source, lang"):
        detect(list(row), row)


def test_real_preference_pairs_name_the_columns_that_look_like_an_answer(shared_data):
    rows = json.loads((shared_data / "corpus" / "stack_exchange_paired_tiny.json").read_text(encoding="utf-8"))
    with pytest.raises(InputError, match="`question` looks like `input`, `response_j` looks like `output`"):
        detect(list(rows[0]), rows[0])


@pytest.mark.parametrize("name", ["self-instruct_seeds.en", "self-instruct_user-oriented.en"])
def test_real_self_instruct_rows_want_their_answer_renamed(shared_data, name):
    lines = (shared_data / "corpus" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        renamed = {**row, "output": row["text"]}
        assert to_example(renamed, detect(list(renamed), renamed).format).output == row["text"]
