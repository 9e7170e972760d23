"""BERTScore (arXiv 1904.09675) with a model at hand: each token meets the other text's that is most like it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, Final

from lft.errors import InputError
from lft.evaluate.item import Row
from lft.evaluate.metric import Measured, Metric, Tools, means, ratio
from lft.evaluate.metrics.packages import release
from lft.evaluate.metrics.reasons import NO_REFERENCE, split

WINDOW: Final = 512  # tokens a model reads at once at most; longer texts are read window by window
BLOCK: Final = 4096  # tokens compared at once


def bertscore(model: str, layer: int = -1, device: str = "cpu") -> Metric:
    """BERTScore F1 with an encoder.

    Args:
        model: a folder or hub id that transformers can load.
        layer: whose hidden states are compared; -1 is the last. Published tables name one for each model.
        device: where the model runs.
    """
    measure = partial(_measure, model, layer, device)
    return Metric("bertscore", "BERTScore", measure, ratio, "higher", overlap=True, scale=100)


def _measure(model: str, layer: int, device: str, rows: Sequence[Row], lang: str, tools: Tools) -> Measured:  # noqa: ARG001
    tools.notify(f"BERTScore of {len(rows):,} answers")
    values = [_of_row(model, layer, device, row) for row in rows]
    numbers, reasons = split(values)
    how = "BERTScore F1, greedy, no idf, not rescaled, mean of rows"
    read = f"{model}, layer {layer}, windows of {_window(model, device)} tokens"
    return Measured(means(numbers), f"{how}; {read}; {release('transformers')}", reasons)


def _of_row(model: str, layer: int, device: str, row: Row) -> float | str:
    if not row.item.reference.strip():
        return NO_REFERENCE
    reference, answer = (_states(model, layer, device, text) for text in (row.item.reference, row.output.text))
    if not len(reference):
        return NO_REFERENCE
    if not len(answer):
        return 0.0
    precision, recall = _closeness(answer, reference), _closeness(reference, answer)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _closeness(these: Any, others: Any) -> float:
    """Mean over tokens [n x d] of the greatest cosine to one of the others [m x d]."""
    best = [(block @ others.T).max(dim=1).values.sum() for block in these.split(BLOCK)]
    return float(sum(best)) / len(these)


def _states(model: str, layer: int, device: str, text: str) -> Any:
    """Normalised hidden states [tokens x d] of a text, without special tokens."""
    import torch

    tokenizer, network = _loaded(model, device)
    cut = tokenizer(
        text, truncation=True, max_length=_window(model, device), return_overflowing_tokens=True,
        return_special_tokens_mask=True,
    )  # fmt: skip
    found = []
    for window, special in zip(cut["input_ids"], cut["special_tokens_mask"], strict=True):
        with torch.no_grad():
            given = torch.tensor([window], device=device)
            states = network(input_ids=given, output_hidden_states=True).hidden_states[layer][0].float()
        found.append(states[~torch.tensor(special, dtype=torch.bool, device=device)])
    return torch.nn.functional.normalize(torch.cat(found), dim=1)


def _window(model: str, device: str) -> int:
    tokenizer, network = _loaded(model, device)
    room = min(WINDOW, getattr(network.config, "max_position_embeddings", WINDOW), tokenizer.model_max_length)
    return int(room)


@cache
def _loaded(model: str, device: str) -> Any:
    from transformers import AutoModel, AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).to(device).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"BERTScore's model cannot be loaded: {str(error).splitlines()[0]}", where=model) from None
