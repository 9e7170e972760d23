"""However a recipe is damaged, the answer is a recipe or a list of lines; never a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lft.recipe import BadRecipe, load_recipe, to_yaml
from lft.recipe.catalogue_files import recipe_files

SHIPPED = [path.read_bytes() for path in recipe_files()]

MARKS = [
    b"\t", b":", b": ", b"\n", b"\n  ", b"- ", b"? ", b"[", b"]", b"{", b"}", b"*a", b"&a ", b"!!str ", b"!<x> ", b"|",
    b">", b"'", b'"', b"\\", b" #", b",", b"\xff", b"\x00", b"\xe2\x80\xa8", b"~", b"null", b"1e999", b".nan", b"-1",
    b"---\n", b"...\n", b"%YAML 1.1\n---\n", b"@", b"`", b'"\\UFFFFFFFF"', b'"\\ud800"', b"<<: ", b"extends: r.yaml\n",
    b"9" * 70, b"\r", b"\xc2\x85", "😀".encode(), b"train: 5\n", b"base: []\n", b"x" * 5000, b"\xef\xbb\xbf",
]  # fmt: skip

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "byte", "copy", "indent", "swap"]),
        st.floats(0, 1),
        st.floats(0, 1),
        st.sampled_from(MARKS),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def damaged(raw: bytes, edits: list[tuple[str, float, float, bytes, int]]) -> bytes:
    for kind, where, other, mark, byte in edits:
        at, to = int(where * len(raw)), int(other * len(raw))
        lines = raw.split(b"\n")
        line, line_to = int(where * (len(lines) - 1)), int(other * (len(lines) - 1))
        if kind == "insert":
            raw = raw[:at] + mark + raw[at:]
        elif kind == "delete":
            raw = raw[:at] + raw[at + byte % 40 + 1 :]
        elif kind == "byte":
            raw = raw[:at] + bytes([byte]) + raw[at + 1 :]
        elif kind == "copy":
            raw = raw[:at] + raw[to : to + 60] + raw[at:]
        elif kind == "indent":
            lines[line] = b" " * (byte % 7) + lines[line].lstrip()
            raw = b"\n".join(lines)
        else:
            lines[line], lines[line_to] = lines[line_to], lines[line]
            raw = b"\n".join(lines)
    return raw


def refusal(path: Path | str, overrides: Sequence[str] = ()) -> BadRecipe | None:
    """None when the recipe is read; anything but a list of lines is a failure of the test."""
    try:
        load_recipe(path, overrides)
    except BadRecipe as error:
        return error
    return None


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.sampled_from(SHIPPED), edits=EDITS)
def test_a_damaged_recipe_is_read_or_refused_line_by_line(tmp_path: Path, raw: bytes, edits: list) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(damaged(raw, edits))
    error = refusal(path)
    if error is None:
        recipe = load_recipe(path).recipe
        path.write_text(to_yaml(recipe), encoding="utf-8")
        assert load_recipe(path).recipe == recipe
        return
    assert error.problems
    for problem in error.problems:
        assert str(problem).isprintable()
        assert problem.at.line >= 1
        assert problem.at.column >= 1


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300))
def test_any_bytes_at_all_are_read_or_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(raw)
    error = refusal(path)
    assert error is None or all(str(problem).isprintable() for problem in error.problems)


KEYS = [
    "name",
    "base",
    "base.model",
    "data.train",
    "train.epochs",
    "output.tags.x",
    "train.a.b",
    "method",
    "base.model.x",
]


@settings(max_examples=100)
@given(
    st.lists(st.text(max_size=40) | st.builds("{}={}".format, st.sampled_from(KEYS), st.text(max_size=40)), max_size=4)
)
def test_any_overrides_at_all_are_taken_or_refused(overrides: list[str]) -> None:
    error = refusal("quickstart", overrides)
    assert error is None or all(str(problem).isprintable() for problem in error.problems)
