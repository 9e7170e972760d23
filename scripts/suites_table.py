"""Write the tables of docs/evaluation-suites.md anew, from the suites' files: python scripts/suites_table.py"""

from __future__ import annotations

from pathlib import Path

from lft.evaluate.suite_table import with_tables
from lft.files import write_text

DOCUMENT = Path(__file__).parents[1] / "docs" / "evaluation-suites.md"

if __name__ == "__main__":
    write_text(DOCUMENT, with_tables(DOCUMENT.read_text(encoding="utf-8")))
