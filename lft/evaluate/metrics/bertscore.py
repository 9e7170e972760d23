"""BERTScore (arXiv 1904.09675) with a model at hand: each token meets the other text's that is most like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from lft.base.device import device_and_dtype
from lft.base.fingerprint import weights_fingerprint
from lft.base.resolve import named_base, resolve_base
from lft.errors import InputError, RecipeError
from lft.evaluate.item import Row
from lft.evaluate.metric import Encoder, Measured, Metric, Tools, means, ratio
from lft.evaluate.metrics.packages import release
from lft.evaluate.metrics.reasons import NO_REFERENCE, split

WINDOW: Final = 512  # tokens a model reads at once at most; longer texts are read window by window
BLOCK: Final = 4096  # tokens compared at once
MISSING: Final = "BERTScore needs a model (--bertscore-model)"


def encoder(written: str, layer: int, home: Path, notify: Callable[[str], None]) -> Encoder:
    """A model whose hidden states are compared, loaded once to see that it can be.

    Args:
        written: hub id, folder, file.gguf or package://.
        layer: whose hidden states; -1 is the last. Published tables name one for each model.
        home: where converted models and fingerprints are kept.
        notify: told what takes long.

    Raises:
        InputError: the model is missing, damaged or no encoder.
        RecipeError: it has no such layer.
    """
    ref = resolve_base(named_base(written), home, notify)
    folder = str(ref.folder)
    config = _loaded(folder, device_and_dtype("auto").device)[1].config
    if getattr(config, "is_encoder_decoder", False):
        raise InputError("BERTScore reads texts with an encoder or a decoder, not with both", where=written)
    layers = int(config.num_hidden_layers)
    if not -layers - 1 <= layer <= layers:
        raise RecipeError(f"{written} has no layer {layer}", fix=f"--bertscore-layer from 0 to {layers}")
    place = layer if layer >= 0 else layers + 1 + layer
    return Encoder(ref.public, folder, weights_fingerprint(ref.folder, home)[:12], place)


def _measure(rows: Sequence[Row], lang: str, tools: Tools) -> Measured:  # noqa: ARG001
    one = tools.encoder
    if one is None:
        return Measured(means([None] * len(rows)), f"left out: {MISSING}", dict.fromkeys(range(len(rows)), MISSING))
    tools.notify(f"BERTScore of {len(rows):,} answers")
    device = device_and_dtype("auto").device
    numbers, reasons = split([_of_row(one, device, row) for row in rows])
    how = "BERTScore F1, greedy, no idf, not rescaled, mean of rows"
    read = f"{one.name} (weights {one.weights}), layer {one.layer}, windows of {_window(one.folder, device)} tokens"
    return Measured(means(numbers), f"{how}; {read}; {release('transformers')}", reasons)


def _of_row(one: Encoder, device: str, row: Row) -> float | str:
    if not row.item.reference.strip():
        return NO_REFERENCE
    reference, answer = (_states(one, device, text) for text in (row.item.reference, row.output.text))
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


def _states(one: Encoder, device: str, text: str) -> Any:
    """Normalised hidden states [tokens x d] of a text, without special tokens."""
    import torch

    tokenizer, network = _loaded(one.folder, device)
    cut = tokenizer(
        text, truncation=True, max_length=_window(one.folder, device), return_overflowing_tokens=True,
        return_special_tokens_mask=True,
    )  # fmt: skip
    found = [torch.zeros(0, network.config.hidden_size, device=device)]
    for window, special in zip(cut["input_ids"], cut["special_tokens_mask"], strict=True):
        kept = ~torch.tensor(special, dtype=torch.bool, device=device)
        if kept.any():  # a tokenizer without special tokens makes nothing of an empty text
            with torch.no_grad():
                given = torch.tensor([window], device=device)
                states = network(input_ids=given, output_hidden_states=True).hidden_states[one.layer][0].float()
            found.append(states[kept])
    return torch.nn.functional.normalize(torch.cat(found), dim=1)


def _window(folder: str, device: str) -> int:
    tokenizer, network = _loaded(folder, device)
    room = min(WINDOW, getattr(network.config, "max_position_embeddings", WINDOW), tokenizer.model_max_length)
    return int(room)


@cache
def _loaded(folder: str, device: str) -> Any:
    from transformers import AutoModel, AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).to(device).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"BERTScore's model cannot be loaded: {str(error).splitlines()[0]}", where=folder) from None


BERTSCORE: Final = Metric("bertscore", "BERTScore", _measure, ratio, "higher", overlap=True, scale=100)
