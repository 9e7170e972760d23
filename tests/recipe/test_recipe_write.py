from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lft.recipe import described, json_schema, to_yaml
from lft.recipe.closed import plain
from lft.recipe.document import parse
from lft.recipe.schema import Recipe
from lft.recipe.words import leaves

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", fullmatch=True)
WHOLE = st.integers(min_value=1, max_value=10**9)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    sources = st.lists(st.fixed_dictionaries({"path": TEXT, "weight": POSITIVE, "revision": st.none() | TEXT}))
    values: dict[str, Any] = {
        "name": draw(NAME),
        "base": {"model": draw(TEXT), "revision": draw(st.none() | TEXT)},
        "data": {"train": draw(TEXT | sources), "packing": draw(st.booleans()), "split": {"train": draw(TEXT)}},
        "method": {"alpha": draw(POSITIVE), "target_modules": draw(TEXT | st.lists(TEXT))},
        "train": {
            "learning_rate": draw(POSITIVE),
            "sample_prompts": draw(st.lists(TEXT)),
            "eval_every": draw(WHOLE | st.just("end")),
            "seed": draw(st.integers(min_value=0, max_value=2**32 - 1)),
        },
        "output": {"tags": draw(st.dictionaries(NAME, st.lists(TEXT)))},
    }
    return Recipe.model_validate(values)


def read_back(text: str) -> Recipe:
    document = parse(text, "out.yaml")
    assert document.problems == ()
    assert document.root is not None
    return Recipe.model_validate(plain(document.root))


@settings(deadline=None)
@given(recipes())
def test_what_is_written_reads_back_to_the_same_recipe(recipe: Recipe) -> None:
    text = to_yaml(recipe)
    assert read_back(text) == recipe
    assert to_yaml(read_back(text)) == text


@settings(max_examples=50, deadline=None)
@given(recipes(), st.text())
def test_comments_never_change_the_values(recipe: Recipe, words: str) -> None:
    comment = "".join(c for c in words if c.isprintable())
    assert read_back(to_yaml(recipe, lambda _: comment)) == recipe


def test_words_that_other_readers_take_for_booleans_are_quoted() -> None:
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "base": {"model": "m"},
            "data": {"train": "t"},
            "output": {"tags": {"lang": ["no", "null", "1e3"]}},
        }
    )
    assert 'lang: ["no", "null", "1e3"]' in to_yaml(recipe)


def test_small_floats_are_floats_for_every_reader() -> None:
    import yaml

    recipe = Recipe.model_validate(
        {"name": "x", "base": {"model": "m"}, "data": {"train": "t"}, "train": {"learning_rate": 1e-5}}
    )
    assert yaml.safe_load(to_yaml(recipe))["train"]["learning_rate"] == 1e-5


def test_the_json_schema_is_closed_explained_and_knows_extends() -> None:
    schema = json_schema()
    assert "extends" in schema["properties"]
    assert schema["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
    for path in leaves(Recipe):
        assert described(".".join(map(str, path)))


def test_a_tag_is_explained_with_the_words_of_all_tags() -> None:
    assert described("output.tags.lang") == described("output.tags")
