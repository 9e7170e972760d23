"""How likely a model finds somebody else's text after an instruction: perplexity, bits per byte, ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lft.ask.local import Local
from lft.base.decode import is_paired, prompt_ids
from lft.errors import RecipeError
from lft.evaluate.candidate import Candidate
from lft.evaluate.item import Item
from lft.literal import encoded, protected


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of one text: nats over its tokens, their number, and its bytes in UTF-8."""

    nats: float
    tokens: int
    bytes: int


def likelihoods(candidate: Candidate, asked: Sequence[tuple[Item, str]]) -> Iterator[Likelihood | None]:
    """For each item the likelihood of a text as its answer; the token that ends an answer is not counted.

    None where text and prompt are longer than the model has room for, or the text is empty.

    Raises:
        RecipeError: the candidate is no model of this process, so nobody sees its probabilities.
    """
    if not isinstance(candidate.model, Local):
        raise RecipeError("the likelihood of a text needs the model in this process", fix="leave that metric out")
    for item, text in asked:
        yield _one(candidate, candidate.model, item, text)


def _one(candidate: Candidate, local: Local, item: Item, text: str) -> Likelihood | None:
    import torch
    from torch.nn.functional import cross_entropy

    model, tokenizer, paired = local.model, local.tokenizer, is_paired(local.model)
    special = local.ready.special if local.ready else True
    prompt = prompt_ids(tokenizer, str(candidate.asked(item)), special, paired)
    answer = encoded(tokenizer, [candidate.written(protected(text.strip(), tokenizer))], add_special_tokens=False)[0]
    if not answer or (candidate.room is not None and len(prompt) + len(answer) > candidate.room):
        return None
    wanted = torch.tensor([answer], device=model.device)
    before = torch.tensor([prompt], device=model.device)
    with torch.no_grad():
        if paired:
            logits = model(input_ids=before, labels=wanted).logits[0]
        else:
            read = torch.cat([before, wanted[:, :-1]], dim=1)
            logits = model(input_ids=read).logits[0, -len(answer) :]
    nats = cross_entropy(logits.float(), wanted[0], reduction="sum")
    return Likelihood(float(nats), len(answer), len(text.strip().encode("utf-8", "replace")))


def others(items: Sequence[Item]) -> list[Item | None]:
    """For each item the next one of its language with another instruction; None where there is none."""
    return [_other(items, place) for place in range(len(items))]


def _other(items: Sequence[Item], place: int) -> Item | None:
    item = items[place]
    turned = [*items[place + 1 :], *items[:place]]
    return next((one for one in turned if one.lang == item.lang and one.instruction != item.instruction), None)
