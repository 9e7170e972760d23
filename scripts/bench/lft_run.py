"""One `lft` run for the benchmark: the code path of `lft finetune`, its numbers as one JSON line.

python scripts/bench/lft_run.py RECIPE.yaml CACHE [key.path=value ...]
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path


def main(path: str, cache: str, *overrides: str) -> None:
    from lft.recipe import load_recipe
    from lft.train.events import Step
    from lft.train.run import finetune, prepare_inputs

    losses: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, Step):
            losses.append(event.loss)

    inputs = prepare_inputs(load_recipe(Path(path), list(overrides)).recipe, Path(cache), listen)
    supervised = inputs.rows.prepared.counts.supervised
    outcome = finetune(inputs, listen)
    tail = losses[-max(len(losses) // 5, 1) :]
    print(
        json.dumps(
            {
                "supervised": supervised * inputs.recipe.train.epochs,
                "steps": outcome.steps,
                "seconds": outcome.seconds,
                "final_loss": sum(tail) / len(tail),
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
