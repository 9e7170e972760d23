from __future__ import annotations

from pathlib import Path

import pytest

from lft.recipe.document import MAX_BYTES, MappingNode, ScalarNode, SequenceNode, parse, plain_value, read_document


def problems_of(text: str) -> list[str]:
    return [str(problem) for problem in parse(text, "r.yaml").problems]


def test_every_key_and_value_knows_its_line_and_column() -> None:
    root = parse("# head\nname: x\nbase:\n  model: [a, 7]\n", "r.yaml").root
    assert isinstance(root, MappingNode)
    base = root.entries["base"]
    assert isinstance(base.node, MappingNode)
    model = base.node.entries["model"]
    assert isinstance(model.node, SequenceNode)
    places = [
        root.entries["name"].at,
        root.entries["name"].node.at,
        base.at,
        model.at,
        *(i.at for i in model.node.items),
    ]
    assert [str(place) for place in places] == [
        "r.yaml:2:1", "r.yaml:2:7", "r.yaml:3:1", "r.yaml:4:3", "r.yaml:4:11", "r.yaml:4:14",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("true", True), ("False", False), ("", None), ("~", None),
        ("null", None), ("7", 7), ("-7", -7), ("0x1f", 31), ("0o17", 15), ("2e-4", 2e-4), ("1.0e-3", 1e-3), (".5", 0.5),
        ("1_000", "1_000"), ("12:30", "12:30"), ("2001-12-14", "2001-12-14"), ("9" * 65, 10**65 - 1),
        (".inf", float("inf")), ("9" * 5000, float("inf")),
    ],
)  # fmt: skip
def test_plain_words_mean_what_yaml_1_2_says(word: str, value: object) -> None:
    assert plain_value(word) == value
    assert type(plain_value(word)) is type(value)


def test_quotes_keep_a_number_a_text() -> None:
    root = parse("a: '3'", "r.yaml").root
    assert isinstance(root, MappingNode)
    node = root.entries["a"].node
    assert isinstance(node, ScalarNode)
    assert (node.value, node.quoted) == ("3", True)


def test_a_value_that_is_not_there_is_at_its_key() -> None:
    root = parse("a:\nb: 1\n", "r.yaml").root
    assert isinstance(root, MappingNode)
    assert str(root.entries["a"].node.at) == "r.yaml:1:1"


def test_anchors_aliases_tags_and_double_keys_are_all_named_at_once() -> None:
    found = problems_of("a: &x 1\nb: *x\nc: !!int 3\nd: !make [e]\na: 2\n? [k]\n: 1\n")
    assert [line.split(": ")[0] for line in found] == [
        "r.yaml:1:4", "r.yaml:2:4", "r.yaml:3:4", "r.yaml:4:4", "r.yaml:5:1", "r.yaml:6:3",
    ]  # fmt: skip
    assert "anchors (&x)" in found[0]
    assert "aliases (*x)" in found[1]
    assert "tags (!make)" in found[3]
    assert "'a' is written twice; first on line 1" in found[4]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a:\n\tb: 1", "r.yaml:2:1", "a tab; YAML is indented with spaces"),
        ("a: b: c", "r.yaml:1:5", "mapping values are not allowed here"),
        ("a: [1, 2", "r.yaml:1:9", "expected ',' or ']'"),
        ("a: 'x", "r.yaml:1:6", "unexpected end of stream"),
        ("a: 1\n---\nb: 2", "r.yaml:2:1", "a second document"),
        ("a: 1\nb: \x07", "r.yaml:2:4", "a character that YAML does not allow: '\\u0007'"),
        ("a: " + "[" * 100_000, "r.yaml:1:20", "nested deeper than 16 levels"),
        ('a: "\\UFFFFFFFF"', "r.yaml:1:1", "not valid YAML from here on"),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(text: str, where: str, what: str) -> None:
    (line,) = problems_of(text)
    assert line.startswith(where + ": ")
    assert what in line
    assert parse(text, "r.yaml").root is None


@pytest.mark.parametrize(
    ("raw", "where", "what"),
    [
        (b"name: x\nbase: \xff", "2:7", "not UTF-8 text: byte 0xff"),
        (b"#" * (MAX_BYTES + 1), "1:1", "too large for a recipe: more than 256 KiB"),
    ],
)
def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, raw: bytes, where: str, what: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(raw)
    (problem,) = read_document(path, "r.yaml").problems
    assert str(problem).startswith(f"r.yaml:{where}: {what}")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert "No such file" in str(read_document(tmp_path / "none.yaml", "none.yaml").problems[0])
    assert "a folder, not a recipe" in str(read_document(tmp_path, "here").problems[0])
    assert "cannot be read" in str(read_document(Path("a\0b"), "a\0b").problems[0])


def test_a_byte_order_mark_does_not_move_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    root = read_document(path, "r.yaml").root
    assert isinstance(root, MappingNode)
    assert str(root.entries["name"].at) == "r.yaml:1:1"
