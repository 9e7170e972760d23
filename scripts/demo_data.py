"""Two domains of the sample data as files: German, and recipes in any language; held-out rows apart.

python scripts/demo_data.py FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[1] / "lft" / "data" / "samples" / "longform-mini.jsonl"
DOMAINS: dict[str, Callable[[dict[str, str]], bool]] = {
    "de": lambda row: row["lang"] == "de" and row["source"] != "recipe",
    "recipes": lambda row: row["source"] == "recipe" and row["lang"] != "de",
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    for name, belongs in DOMAINS.items():
        chosen = [row for row in rows if belongs(row)]
        held = [row for row in chosen if row["split"] != "train"]
        seen = [row for row in chosen if row["split"] != "test"]  # the run validates on what it does not train on
        for path, part in ((folder / f"{name}.jsonl", seen), (folder / f"{name}-held.jsonl", held)):
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part), encoding="utf-8")
        print(f"{name}: {len(chosen) - len(held)} examples to train on, {len(held)} held out")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
