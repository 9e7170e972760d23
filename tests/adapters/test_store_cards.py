"""The catalogue: cards that the schema takes are true, the generated files are current."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from lft.adapters.store.card import card_schema, card_text, read_card
from lft.adapters.store.leases import leased
from lft.adapters.store.manifest import Parent, Score
from lft.adapters.store.marks import tag
from lft.errors import InputError
from tests.registry import NAME, draft, new_store, published

ROOT = Path(__file__).parents[2]
TABLE: Any = runpy.run_path(str(ROOT / "scripts" / "adapters_table.py"))
CARD = f"""\
name: lft/de
summary: Answers in German.
base: org/base@{"b" * 40}
tags: {{lang: [de]}}
source: hub:lft/de@{"1" * 40}
default_version: 1.0.1
versions:
  - {{version: 1.0.1, digest: "sha256:{"2" * 64}"}}
  - {{version: 1.0.0, digest: "sha256:{"1" * 64}"}}
license: apache-2.0
intended_use: Recipes.
limits: Nothing else was tried.
"""


def catalogue(folder: Path, **cards: str) -> Path:
    """Cards by name (``lft__de``)."""
    for name, text in cards.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_the_generated_files_of_the_repository_are_current() -> None:
    assert TABLE["stale"](ROOT / "adapters") == [], "run python scripts/adapters_table.py"


def objects(node: Any) -> list[dict[str, Any]]:
    """Every object that a JSON schema describes by its keys."""
    found = [node] if isinstance(node, dict) and "properties" in node else []
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [*found, *(one for item in inner for one in objects(item))]


def test_the_schema_is_closed_and_every_key_is_explained() -> None:
    schemas = objects(card_schema())
    assert len(schemas) == 3
    for one in schemas:
        assert one["additionalProperties"] is False
        assert all(key.get("description") for key in one["properties"].values())


def test_a_card_is_read_and_has_a_line_in_the_table(tmp_path: Path) -> None:
    cards = catalogue(tmp_path, lft__de=CARD)
    card = read_card(cards / "lft" / "de.yaml", cards)
    assert (card.name, card.default_version, card.tags) == (NAME, "1.0.1", {"lang": ("de",)})
    files = TABLE["files"](cards)
    wanted = (
        f"| [lft/de](lft/de.yaml) | Answers in German. | org/base@{'b' * 40} | lang: de | 1.0.1 | `sha256:222222222222`"
    )
    assert wanted in files["README.md"]
    assert json.loads(files["card.schema.json"]) == card_schema()
    assert TABLE["stale"](cards) == ["README.md", "card.schema.json"]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("summary:", "sumary:", "sumary: Extra inputs are not permitted"),
        ("summary: Answers in German.", 'summary: ""', "summary: String should have at least 1 character"),
        ("default_version: 1.0.1", "default_version: 2.0.0", "2.0.0 is not among versions"),
        ("version: 1.0.0", "version: 1.0.1", "one is listed twice"),
        ("1" * 64, "1" * 63, "versions.1.digest"),
        (f"hub:lft/de@{'1' * 40}", "https://example.org/x.zip", "source: String should match"),
        (f"hub:lft/de@{'1' * 40}", "hub:lft/de@main", "source: String should match"),
        ("name: lft/de", "name: lft/fr", "it is the card of lft/fr"),
        ("name: lft/de", "name: ../de", "name: String should match"),
        ("[de]", "de", "tags.lang"),
        ("license: apache-2.0\n", "", "license: Field required"),
        ("limits:", "limits: &x", "anchor"),
        (CARD, "", "the file is empty"),
        (CARD, "- a", "card: Input should be an object"),
        ("license: apache-2.0", "license: apache-2.0\neval: [{suite: a, metric: b, value: 1.5}]", "eval.0.value"),
        ("license: apache-2.0", "license: apache-2.0\ndepends_on: [lft/low]", "depends_on.0"),
    ],
)
def test_a_card_that_is_wrong_is_refused_with_its_key(tmp_path: Path, before: str, after: str, says: str) -> None:
    assert before in CARD
    cards = catalogue(tmp_path, lft__de=CARD.replace(before, after, 1))
    with pytest.raises(InputError) as caught:
        read_card(cards / "lft" / "de.yaml", cards)
    assert says in str(caught.value)


def test_all_that_is_wrong_with_a_catalogue_is_said_at_once(tmp_path: Path) -> None:
    other = CARD.replace("lft/de", "lft/fr", 1).replace("license:", "depends_on: [lft/de:9.0.0]\nlicense:")
    cards = catalogue(tmp_path, lft__de=CARD, lft__fr=other, lft__it="name: x")
    with pytest.raises(InputError) as caught:
        TABLE["cards"](cards)
    assert "lft/fr: it depends on lft/de:9.0.0, which no card has" in str(caught.value)
    assert "it.yaml" in str(caught.value)


def test_the_card_that_show_prints_is_one_once_people_have_filled_it_in(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    low = published(store, b"low", name="lft/low")
    parent = Parent(low.digest, low.manifest.weights, "below", None)
    scores = (Score("validation: “all”", "loss", "2.5", 900, ()), Score("other", "exact match", "0.5", None, ()))
    lineage = draft().lineage.__class__("x", None, None, (parent,))
    stored = published(store, b"top", lineage=lineage, evaluation=scores)
    with leased(store) as lease:
        tag(lease, stored, {"license": ("mit",), "odd": ("1", "no", "a: b", "[x]", "#")})
    text = card_text(store, stored)
    cards = catalogue(tmp_path / "cards", lft__de=text)
    with pytest.raises(InputError, match="summary: String should have at least 1 character"):
        read_card(cards / "lft" / "de.yaml", cards)
    cards = catalogue(tmp_path / "cards", lft__de=text.replace(': ""', ": something"))
    card = read_card(cards / "lft" / "de.yaml", cards)
    assert card.base == f"org/base@{'b' * 40}"
    assert card.source == card.versions[0].digest == f"sha256:{stored.digest}"
    assert card.depends_on == ("lft/low:1.0.0",)
    assert card.tags == {"lang": ("de",), "odd": ("1", "no", "a: b", "[x]", "#")}
    assert card.license == "mit"
    assert [(one.suite, one.value, one.n) for one in card.eval] == [
        ("validation: “all”", "2.5", 900),
        ("other", "0.5", None),
    ]


def test_the_script_writes_checks_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = catalogue(tmp_path, lft__de=CARD)

    def script(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["adapters_table.py", *arguments, str(cards)])
        return int(TABLE["main"]())

    assert script("--check") == 1
    assert script() == 0
    assert script("--check") == 0
    (cards / "lft" / "de.yaml").write_text("name: x")
    capsys.readouterr()
    assert script("--check") == 3
    assert "Field required" in capsys.readouterr().err
