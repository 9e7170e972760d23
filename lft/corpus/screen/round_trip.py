"""Is a text likelier after its own instruction than after those of other texts?

    score(t | i) = mean over the first tokens of t of log P(token | i, tokens before)      nats a token

A small model does not write good instructions, but it ranks them: SmolLM2-135M found the right one of twelve titles
seven times in ten (measured for the project's research; one of twelve by chance).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lft.corpus.document import Pair
from lft.corpus.schema import RoundTrip
from lft.corpus.screen.rules import bare
from lft.corpus.screen.scores import ScoreFile, score_key

_ROWS: Final = 4  # sequences at once: their logits (rows x tokens x vocabulary) are the largest thing in memory


@dataclass(frozen=True, slots=True)
class Trip:
    """An instruction's place among the others' (1 is best), and by how many nats a token it beats their mean."""

    rank: int
    margin: float


@dataclass(frozen=True, slots=True)
class Scorer:
    """A loaded language model and its name."""

    name: str
    model: Any
    tokenizer: Any

    def scores(self, instructions: Sequence[str], text: str, tokens: int) -> list[float]:
        """score(text | instruction) for each instruction, over the text's first ``tokens`` tokens."""
        target = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:tokens]
        if not target:
            return [0.0] * len(instructions)
        rows = [self._prompt(one) for one in instructions]
        return [
            score for at in range(0, len(rows), _ROWS) for score in _scored(self.model, rows[at : at + _ROWS], target)
        ]

    def _prompt(self, instruction: str) -> list[int]:
        if getattr(self.tokenizer, "chat_template", None):
            turns = [{"role": "user", "content": instruction}]
            text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        else:
            ids = self.tokenizer(f"Instruction: {instruction}\nAnswer: ", verbose=False)["input_ids"]
        return list(ids) or [self.tokenizer.eos_token_id]


def _scored(model: Any, prompts: Sequence[Sequence[int]], target: Sequence[int]) -> list[float]:
    """Mean log-probability of the target after each prompt; padding lies behind everything that counts."""
    import torch

    longest = max(len(prompt) for prompt in prompts) + len(target)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        whole = [*prompt, *target]
        ids[row, : len(whole)] = torch.tensor(whole)
        mask[row, : len(whole)] = 1
    with torch.inference_mode():
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
        found = []
        for row, prompt in enumerate(prompts):
            those = logits[row, len(prompt) - 1 : len(prompt) - 1 + len(target)].float()
            chosen = those.log_softmax(-1).gather(1, torch.tensor(target, device=those.device)[:, None])
            found.append(float(chosen.mean()))
    return found


def load_scorer(name: str, cache: Path, notify: Callable[[str], None]) -> Scorer:
    """A model by hub id, folder, file.gguf or package://. Raises InputError or MachineError where that cannot be."""
    from lft.ask.local import load_local
    from lft.ask.meter import FREE

    loaded = load_local(name, cache, FREE, 1, notify)
    return Scorer(name, loaded.model, loaded.tokenizer)


def trips(
    pairs: Sequence[Pair], wanted: RoundTrip, scorer: Scorer, seed: int, known: ScoreFile
) -> Iterator[Trip | None]:
    """How each pair's instruction does against others of its language; None where there are none to compare with."""
    by_lang: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_lang.setdefault(pair.lang, []).append(pair)
    for pair in pairs:
        others = _others(pair, by_lang[pair.lang], wanted.others, seed)
        if not others:
            yield None
            continue
        own, *rest = _known_scores([bare(pair), *others], pair, wanted, scorer, known)
        yield Trip(1 + sum(score > own for score in rest), own - sum(rest) / len(rest))


def _others(pair: Pair, those: Sequence[Pair], number: int, seed: int) -> list[str]:
    """Instructions of other texts, drawn by chance that the seed and the pair decide."""
    drawn = random.Random(f"{seed} {pair.id}").sample(range(len(those)), min(len(those), 3 * number))
    found: dict[str, None] = {}
    for at in drawn:
        other = those[at]
        if other.id != pair.id and bare(other) != bare(pair) and other.output != pair.output:
            found.setdefault(bare(other))
    return list(found)[:number]


def _known_scores(
    instructions: Sequence[str], pair: Pair, wanted: RoundTrip, scorer: Scorer, known: ScoreFile
) -> list[float]:
    keys = [score_key("round trip", scorer.name, str(wanted.tokens), one, pair.output) for one in instructions]
    missing = {key: one for key, one in zip(keys, instructions, strict=True) if key not in known}
    if missing:
        known.add(dict(zip(missing, scorer.scores(list(missing.values()), pair.output, wanted.tokens), strict=True)))
    return [known[key] for key in keys]
