"""Write adapters/README.md and adapters/card.schema.json from the cards; `--check` only says whether they are current.

A card is adapters/NAMESPACE/NAME.yaml; `lft adapters show NAME --card` prints one to fill in.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lft.adapters.store.card import Card, card_schema, read_card
from lft.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT / "adapters"
README, SCHEMA = "README.md", "card.schema.json"
HEAD = """\
# Adapters

The catalogue that people read: one card an adapter, `NAMESPACE/NAME.yaml`, reviewed in git. A card says what an adapter
is for and what it is not good for; what it *is*, is said by the digests of its versions. The adapters themselves lie in
the registry (`$LFT_HOME/registry`, else `~/.local/share/lft/registry`).

How a card comes here:

    lft adapters add runs/NAME/TIME --name NAMESPACE/NAME           # the registry has it
    lft adapters show NAMESPACE/NAME --card > adapters/NAMESPACE/NAME.yaml
    # fill in summary, license, intended_use, limits
    python scripts/adapters_table.py                                # checks the card, writes this file

Keys and their meanings are in [card.schema.json](card.schema.json); no others are allowed. `lft.lock`, where a project
has one, pins by digest what it uses (`lft adapters lock NAMESPACE/NAME`).

This file is written by `python scripts/adapters_table.py`; change the cards, not the table.

"""
TABLE = """\
| adapter | what it does | base | tags | version | digest | licence |
|---|---|---|---|---|---|---|
"""
NONE = "There are no cards yet.\n"


def cards(catalogue: Path) -> list[Card]:
    """All cards, by name.

    Raises:
        InputError: some cannot be read, or depend on an adapter that has no card; the message has all of it.
    """
    found, wrong = [], []
    for path in sorted([*catalogue.rglob("*.yaml"), *catalogue.rglob("*.yml")]):
        try:
            found.append(read_card(path, catalogue))
        except InputError as error:
            wrong.append(str(error))
    known = {f"{card.name}:{one.version}" for card in found for one in card.versions}
    wrong += [
        f"{card.name}: it depends on {other}, which no card has"
        for card in found
        for other in card.depends_on
        if other not in known
    ]
    if wrong:
        raise InputError("\n".join(wrong))
    return sorted(found, key=lambda card: card.name)


def line(card: Card) -> str:
    """A line of the table."""
    digest = next(one.digest for one in card.versions if one.version == card.default_version)
    tags = ", ".join(f"{key}: {' '.join(values)}" for key, values in sorted(card.tags.items()))
    cells = (card.summary, card.base, tags, card.default_version, f"`{digest[:19]}`", card.license)
    shown = " | ".join(cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") for cell in cells)
    return f"| [{card.name}]({card.name}.yaml) | {shown} |"


def files(catalogue: Path) -> dict[str, str]:
    """What the generated files of a catalogue should hold."""
    found = cards(catalogue)
    table = TABLE + "".join(f"{line(card)}\n" for card in found) if found else NONE
    return {README: HEAD + table, SCHEMA: json.dumps(card_schema(), indent=2) + "\n"}


def stale(catalogue: Path) -> list[str]:
    """Names of generated files that do not hold what they should."""
    wanted = files(catalogue)
    return [
        name
        for name, text in wanted.items()
        if not (catalogue / name).exists() or (catalogue / name).read_text(encoding="utf-8") != text
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is stale")
    parser.add_argument("catalogue", nargs="?", type=Path, default=CATALOGUE, help="the folder of the cards")
    arguments = parser.parse_args()
    try:
        old = stale(arguments.catalogue)
        wanted = files(arguments.catalogue)
    except InputError as error:
        print(error, file=sys.stderr)
        return 3
    if arguments.check:
        for name in old:
            print(f"{arguments.catalogue / name} is stale; run python scripts/adapters_table.py", file=sys.stderr)
        return bool(old)
    for name in old:
        (arguments.catalogue / name).write_text(wanted[name], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
