"""What to merge, as a line or as YAML: read as meant, and every mistake has its place; never a traceback."""

from __future__ import annotations

import contextlib
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lft.adapters.algebra.sparse import Dare, Ties
from lft.adapters.algebra.table import METHODS, require_method
from lft.adapters.expression import MergePlan, Term, parse_expression
from lft.adapters.plan_file import plan_of_expression, plan_of_file
from lft.adapters.weights import ByLayer, ByPattern
from lft.errors import LftError, RecipeError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("de", {"de": 1}),
        ("0.7*de + 0.3*recipes - 0.1*x", {"de": 0.7, "recipes": 0.3, "x": -0.1}),
        ("de*0.7+recipes*.3", {"de": 0.7, "recipes": 0.3}),
        ("-de", {"de": -1}),
        ("- 2 * de", {"de": -2}),
        ("de-recipes", {"de-recipes": 1}),
        ("de -recipes", {"de": 1, "recipes": -1}),
        ("de - recipes", {"de": 1, "recipes": -1}),
        ("de + 0.5*(recipes - 2*(a + b))", {"de": 1, "recipes": 0.5, "a": -1, "b": -1}),
        ("2*3*de", {"de": 6}),
        ("1e-3*de", {"de": 0.001}),
        ("0.1*de + 0.2*de", {"de": 0.3}),
        ("0.5*lft/de-recipes:1.2.0 + user/x@main", {"lft/de-recipes:1.2.0": 0.5, "user/x@main": 1}),
        ("0.5*7b-de", {"7b-de": 0.5}),
        ("./runs/de/adapter + ../x/ + ~/y + /abs/z", {"./runs/de/adapter": 1, "../x/": 1, "~/y": 1, "/abs/z": 1}),
        ("x@sha256:0af1 * 2", {"x@sha256:0af1": 2}),
        ("\"my run/a + b\" - 'it * s'", {"my run/a + b": 1, "it * s": -1}),
        ("0*de", {"de": 0}),
    ],
)
def test_an_expression_means_what_it_says(text: str, wanted: dict[str, float]) -> None:
    assert parse_expression(text) == tuple(Term(ref, weight) for ref, weight in wanted.items())


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("", 1, "the end where an adapter or a number should be"),
        ("0.7*de % x", 8, "unknown character '%'"),
        ("0.7 de", 5, "a * is missing before 'de'"),
        ("0.7*", 5, "the end where an adapter"),
        ("de + ", 6, "the end where an adapter"),
        ("de + * x", 6, "'*' where an adapter"),
        ("de + 0.3", 6, "a number without an adapter: '0.3'"),
        ("de * recipes", 1, "an adapter times an adapter"),
        ("(de + x", 8, "the end where a parenthesis should close"),
        ("de)", 3, "')' where + or - should be"),
        ('0.5*"de', 5, "a quote that is not closed"),
        ("1e999*de", 1, "too large"),
        ("1e300*(1e300*de)", 1, "too large"),
        ("dé", 2, "unknown character 'é'"),
        ("a\nb", 3, "'b' where + or - should be"),
        ("(" * 50 + "a" + ")" * 50, 34, "nested deeper"),
    ],
)
def test_a_mistake_is_one_message_with_its_column_and_a_caret(text: str, column: int, what: str) -> None:
    with pytest.raises(RecipeError) as raised:
        parse_expression(text)
    message = str(raised.value)
    assert f"column {column}: " in message
    assert what in message
    lines = message.splitlines()
    caret = next(n for n, line in enumerate(lines) if line.strip() == "^")
    assert lines[caret].index("^") - 2 == column - 1
    assert raised.value.exit_code == 2


PIECES = st.sampled_from(
    [
        "0.7",
        "*",
        "+",
        "-",
        "(",
        ")",
        "de",
        "x-y",
        " ",
        "1e308",
        ".",
        "1e",
        "'",
        '"',
        "@",
        ":",
        "/",
        "~",
        "9",
        "%",
        "é",
        "\x00",
        "\ud800",
    ]
)


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40))
@example("1e308*1e308*de - 1e308*1e308*de")
@example("(1e308*de + 1e308*de) - (1e308*de + 1e308*de)")
def test_no_expression_gives_a_traceback(text: str) -> None:
    try:
        terms = parse_expression(text)
    except RecipeError as error:
        said = str(error)
    else:
        said = f"column {terms}"
        assert all(isinstance(term.weight, float) and math.isfinite(term.weight) for term in terms)
    assert "column" in said


def plan_of_yaml(text: str) -> MergePlan:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "m.yaml").write_text(text, encoding="utf-8", newline="")
        return plan_of_file(Path(folder) / "m.yaml")


def test_the_yaml_form() -> None:
    plan = plan_of_yaml(
        """
merge:
  method: dare
  inputs: [de, recipes]
  weights: {de: 0.7, recipes: {"*.mlp.*": 0.5, "*": 0.2}}
  density: 0.3
  lambda: 2
  seed: 5
  rank: 16
  replaced: mean
"""
    )
    assert plan.method == "dare"
    assert plan.inputs == (Term("de", 0.7), Term("recipes", ByPattern((("*.mlp.*", 0.5), ("*", 0.2)))))
    assert plan.parameters == Dare(density=0.3, lambda_=2.0, seed=5)
    assert (plan.rank, plan.tolerance, plan.replaced) == (16, None, "mean")


def test_the_yaml_form_with_little_said() -> None:
    plan = plan_of_yaml("inputs: [a, b]\nweights: [1, [0.5, 2]]\n")
    assert plan.method == "cat"
    assert plan.inputs == (Term("a", 1.0), Term("b", ByLayer((0.5, 2.0))))
    assert plan_of_yaml("inputs: [a]").inputs == (Term("a", None),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inputs: [a]\nmethd: ties", "2:1: unknown key 'methd'; nearest: 'method'"),
        ("inputs: [a]\nmethod: tie", "2:9: unknown method 'tie'; nearest: 'ties'"),
        ("inputs: [a]\nmethod: peft-linear", "2:9: unknown method 'peft-linear'; nearest: 'compat:peft-linear'"),
        ("inputs: [a]\ndensity: 0.5", "2:1: unknown key 'density'; cat takes"),
        ("inputs: [a]\nmethod: ties\nseed: 1", "3:1: unknown key 'seed'; ties takes"),
        ("inputs: [a]\nmethod: ties\ndensity: 0", "3:10: density: expected a number above 0 up to 1, got '0'"),
        ("inputs: [a]\nmethod: ties\ndensity: yes", "3:10: density: expected a number"),
        ("inputs: [a]\nmethod: ties\nscope: all", "3:8: scope: expected one of tensor, model, got 'all'"),
        ("inputs: [a]\nmethod: dare\nseed: 1.5", "3:7: seed: expected a whole number from 0, got '1.5'"),
        ("inputs: [a]\nmethod: ties\ntolerance: 0.1", "3:1: ties gives a full matrix: set rank"),
        ("inputs: [a]\ntolerance: 1", "2:12: tolerance: expected a number below 1"),
        ("inputs: [a]\nrank: 0", "2:7: rank: expected a whole number from 1, got '0'"),
        ("inputs: [a, b]\nweights: {a: 1}", "2:10: weights: none for 'b'"),
        ("inputs: [de]\nweights: {dee: 1, de: 1}", "2:11: weights: 'dee' is not among the inputs; nearest: 'de'"),
        ("inputs: [a, b]\nweights: [1]", "2:10: weights: 1 for 2 inputs"),
        ("inputs: [a]\nweights: {a: x}", "2:14: expected a number, got 'x'"),
        ("inputs: [a]\nweights: {a: .inf}", "2:14: expected a number, got '.inf'"),
        ("inputs: [a, a]", "1:9: inputs: an adapter is there twice"),
        ("inputs: a", "1:9: inputs: expected a list of adapters"),
        ("method: ties", "inputs is missing"),
        ("- a", "expected a merge: method, inputs, weights"),
        ("", "expected a merge: method, inputs, weights"),
        ("inputs: [a]\ninputs: [b]", "'inputs' is written twice"),
        ("inputs: [a", "not valid YAML"),
    ],
)
def test_the_yaml_form_is_closed_and_names_the_place(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        plan_of_yaml(text)
    assert said in str(raised.value)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(RecipeError) as raised:
        plan_of_yaml("inputs: [a]\nmethod: ties\ndensity: 2\nscop: model\nrank: x")
    assert all(word in str(raised.value) for word in ("3 problems", "density", "'scop'", "rank"))


YAML = st.lists(
    st.sampled_from(
        ["merge:", "inputs:", "weights:", "method:", "density:", "rank:", "\n", "  ", "[a, b]", "{a: 1}", "ties",
         "dare",
         "0.5", "-", ".nan", "1e999", "'", "&x", "*x", "!t", "\t", "{", "]", "a", "seed:", "9" * 400, "scope:", "null"]
    ), max_size=14,
).map(" ".join)  # fmt: skip


@settings(max_examples=300)
@given(YAML | st.text(max_size=60))
def test_no_yaml_gives_a_traceback(text: str) -> None:
    with contextlib.suppress(LftError):
        plan = plan_of_yaml(text)
        assert plan.inputs
        assert plan.method in METHODS


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(["method", "density", "rank", "seed", "x", ""]), st.text(max_size=12)), max_size=4
    )
)
def test_no_setting_gives_a_traceback(pairs: list[tuple[str, str]]) -> None:
    with contextlib.suppress(LftError):
        plan = plan_of_expression("a + b", [f"{key}={value}" for key, value in pairs])
        assert {key for key, _ in pairs} <= {"method", "density", "rank", "seed"}
        assert plan.rank is None or plan.rank >= 1


def test_settings_beside_an_expression() -> None:
    plan = plan_of_expression("0.5*a + b", ["method=ties", "density=0.4", "rank=8"])
    assert (plan.parameters, plan.rank) == (Ties(density=0.4), 8)
    assert plan.inputs == (Term("a", 0.5), Term("b", 1.0))
    for settings_, said in (
        (["method=ties", "densty=1"], "command line: densty=1: unknown key 'densty'; nearest: 'density'"),
        (["rank"], "command line: rank: expected key=value"),
        (["rank="], "a value is missing"),
        (["weights=[1,2]"], "unknown key 'weights'"),
        (["rank=1", "rank=2"], "'rank' is written twice"),
    ):
        with pytest.raises(RecipeError) as raised:
            plan_of_expression("a", settings_)
        assert said in str(raised.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: object) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        plan_of_file(tmp_path / "none.yaml")  # type: ignore[operator]


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="nearest: knots"):
        require_method("knot")
