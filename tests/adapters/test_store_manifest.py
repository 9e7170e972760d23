"""The manifest: one text for one meaning, read strictly."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.adapters.store.manifest import (
    AddedToken,
    Base,
    File,
    Lineage,
    Merge,
    Parent,
    Quantization,
    Score,
    Target,
    Training,
    decimal,
    read_manifest,
)
from lft.errors import InputError
from tests.registry import draft

HEX = "0123456789abcdef" * 4


def full() -> Any:
    """A manifest in which nothing is empty."""
    training = Training(HEX, HEX, HEX, HEX, 42, "cpu", "float32", "none", 1, {"lft": "0.1.0", "torch": "2.13.0"})
    plain = draft()
    return replace(
        plain,
        kind="merge",
        base=replace(plain.base, quantization=Quantization("nf4", True, "bfloat16"), config=HEX),
        tokenizer=replace(plain.tokenizer, template=HEX, added=(AddedToken(384, "[EOI]"), AddedToken(385, None))),
        lora=replace(plain.lora, targets=(Target("model.q_proj", 6, 5, 4, "2", "1.5"),), whole=("lm_head.weight",)),
        tags={"lang": ("de", "en"), "license": ("apache-2.0",)},
        lineage=Lineage("de", "0.1.0", training, (Parent(HEX, HEX, "below", None), Parent(None, HEX, "input", "0.7"))),
        merge=Merge("cat", '{"rank":8}', 1, "float32", "exact", "0.01", HEX),
        evaluation=(Score("validation", "loss", "2.31", 900, ("2.2", "2.4")),),
    )


@pytest.mark.parametrize("manifest", [draft(), full()], ids=["small", "full"])
def test_what_is_written_reads_back_the_same_under_the_same_digest(manifest: Any) -> None:
    again = read_manifest(manifest.text.encode(), "here")
    assert asdict(again) == asdict(manifest)
    assert again.digest == manifest.digest


def test_the_order_in_which_tags_were_given_does_not_count() -> None:
    one, other = ({"b": ("1",), "a": ("2",)}, {"a": ("2",), "b": ("1",)})
    assert draft(tags=one).digest == draft(tags=other).digest


def test_a_manifest_holds_no_floats() -> None:
    def values(node: Any) -> list[Any]:
        if isinstance(node, dict):
            return [value for item in node.values() for value in values(item)]
        return [value for item in node for value in values(item)] if isinstance(node, list) else [node]

    found = values(json.loads(full().text))
    assert len(found) > 50
    assert not [value for value in found if isinstance(value, float)]


def paths(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key of a JSON object, however deep."""
    if isinstance(node, dict):
        return [path for key, item in node.items() for path in [(*at, key), *paths(item, (*at, key))]]
    if isinstance(node, list):
        return [path for number, item in enumerate(node) for path in paths(item, (*at, number))]
    return []


PATHS = [path for path in paths(json.loads(full().text)) if path[0] != "tags" and "packages" not in path[:-1]]


def changed(path: tuple[Any, ...], change: Any) -> bytes:
    content = json.loads(full().text)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_missing_key_an_unknown_key_and_a_value_of_another_type_are_refused(path: tuple[Any, ...]) -> None:
    def drop(inner: Any, key: str) -> None:
        del inner[key]

    def rename(inner: Any, key: str) -> None:
        inner[f"{key}x"] = inner.pop(key)

    def add(inner: Any, key: str) -> None:
        inner["new"] = 1

    def float_it(inner: Any, key: str) -> None:
        inner[key] = 1.5

    for change in (drop, rename, add, float_it):
        with pytest.raises(InputError):
            read_manifest(changed(path, change), "here")


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (draft(name="de"), "lacks a namespace"),
        (draft(version="1.0"), "is no version"),
        (draft(weights="A" * 64), "is no sha256"),
        (draft(files=(File("../x", 1, "a" * 64, "card"),)), "name that none may have"),
        (draft(files=(File("b", 1, "a" * 64, "card"), File("a", 1, "a" * 64, "card"))), "not in order"),
        (draft(files=()), "has no adapter_model.safetensors"),
        (draft(base=Base("x", None, "short", None, None, None)), "is no sha256"),
        (draft(evaluation=(Score("a", "b", "nan", None, ()),)), "is no decimal"),
        (draft(evaluation=(Score("a", "b", "1e+999", None, ()),)), "is no decimal"),
    ],
    ids=["name", "version", "digest", "path", "order", "no weights", "fingerprint", "nan", "infinite"],
)
def test_what_no_manifest_may_say_is_refused(manifest: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_manifest(manifest.text.encode(), "here")


def test_a_stack_has_parts_and_no_tensors_of_its_own() -> None:
    names, weights = File("lft.json", 1, "a" * 64, "binding"), File("adapter_model.safetensors", 1, "b" * 64, "weights")
    lineage = Lineage("x", None, None, (Parent(HEX, HEX, "input", "1"),))
    stack = draft(kind="stack", files=(names,), lineage=lineage)
    assert read_manifest(stack.text.encode(), "here") == stack
    for wrong in (replace(stack, files=(weights, names)), replace(stack, lineage=draft().lineage)):
        with pytest.raises(InputError, match="a stack has parts"):
            read_manifest(wrong.text.encode(), "here")


def test_another_format_asks_for_a_newer_lft() -> None:
    text = draft().text.replace('"format":2', '"format":3')
    with pytest.raises(InputError, match="format 3, this version knows 1 to 2"):
        read_manifest(text.encode(), "here")


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, draft().text.encode() + b"\n", b" " + draft().text.encode()],
    ids=["empty", "null", "list", "no keys", "no text", "deep", "a line break", "a space"],
)
def test_anything_else_is_one_message(text: bytes) -> None:
    with pytest.raises(InputError):
        read_manifest(text, "here")


def test_a_key_that_occurs_twice_is_refused() -> None:
    text = draft().text.replace('"kind":"adapter"', '"kind":"adapter","kind":"adapter"')
    with pytest.raises(InputError, match="occurs twice"):
        read_manifest(text.encode(), "here")


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_decimal_is_what_a_manifest_takes_and_close_to_the_number(number: float) -> None:
    text = decimal(number)
    manifest = draft(evaluation=(Score("a", "b", text, None, ()),))
    assert read_manifest(manifest.text.encode(), "here").evaluation[0].value == text
    assert float(text) == pytest.approx(number, rel=1e-5)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_recorded(number: float) -> None:
    with pytest.raises(InputError, match="cannot be recorded"):
        decimal(number)
