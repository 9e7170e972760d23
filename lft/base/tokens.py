"""Added tokens: one id for a marker like [EOI], a row that does not depend on chance, an adapter that carries it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lft.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class AddedTokens:
    """Tokens with their ids, and the embedding's rows before and after."""

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    rows_before: int
    rows_after: int

    @property
    def resized(self) -> bool:
        """Whether the embedding had to grow; OPT and others have spare rows."""
        return self.rows_after > self.rows_before


def add_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, tokens: Sequence[str]) -> AddedTokens:
    """Give each text one id in the tokenizer and a row in the model, both changed in place.

    New rows are the mean of the existing ones, in the input embedding and in an untied output head, so the first logits
    of a new token are middling and no seed plays a part. Existing rows and tied weights stay as they are, but for an
    encoder-decoder's: its added token is a line break, which it must write, and its spare rows were trained never to be
    written. Raises InputError when the tokenizer does not keep a token in one piece.
    """
    ids = extend_tokenizer(tokenizer, tokens)
    before = int(model.get_input_embeddings().weight.shape[0])
    after = max(before, len(tokenizer))
    if after > before:
        grow_rows(model, after)
    if ids and model.config.is_encoder_decoder:
        _start_at_mean(model, ids)
    return AddedTokens(tuple(tokens), ids, before, after)


def extend_tokenizer(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> tuple[int, ...]:
    """Give each text one id in the tokenizer alone (enough to prepare data); a text that has one keeps it.

    A marker is special, so that it is left out of answers; white space (a line break) is text like any other.
    Raises InputError when the tokenizer does not keep a token in one piece.
    """
    from transformers import AddedToken

    # special: never split, and left out by skip_special_tokens; no strip: the spaces around it are kept.
    for text in tokens:
        special = not text.isspace()
        mark = AddedToken(text, special=special, normalized=False, lstrip=False, rstrip=False)
        tokenizer.add_tokens([mark], special_tokens=special)
    return tuple(_single_id(tokenizer, text) for text in tokens)


def _single_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    ids = tokenizer(f"a {text} b{text}", add_special_tokens=False)["input_ids"]
    number = tokenizer.convert_tokens_to_ids(text)
    if number is None or ids.count(number) != 2:
        raise InputError(
            f"this tokenizer does not keep {text!r} as one token",
            where=type(tokenizer).__name__,
            fix="set data.newlines: marker" if text.isspace() else "set data.eoi: text, which writes it as plain text",
        )
    return int(number)


def grow_rows(model: PreTrainedModel, after: int) -> None:
    """Make the embedding and, when untied, the head ``after`` rows long; new rows are the mean of the old ones."""
    import torch

    before = int(model.get_input_embeddings().weight.shape[0])
    tied = is_tied(model)
    device = model.get_input_embeddings().weight.device
    # The library first fills new rows at random; forking keeps that from moving the run's random numbers.
    fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with torch.no_grad(), fork, _head_stays_apart(model, tied):
        model.resize_token_embeddings(after, mean_resizing=False)
        _fill_with_mean(model.get_input_embeddings().weight, before)
        head = model.get_output_embeddings()
        if head is None or tied:
            return
        _fill_with_mean(head.weight, before)
        if getattr(head, "bias", None) is not None:
            head.bias[before:] = head.bias[:before].double().mean().to(head.bias.dtype)


@contextmanager
def _head_stays_apart(model: PreTrainedModel, tied: bool) -> Iterator[None]:
    """Keep resizing from tying a head that is not tied.

    T5 v1.1, FLAN-T5 and mT5 have a head of their own, but transformers 5 says of all of them that it is tied, undoes
    that where the checkpoint shows otherwise, and ties anew when rows are added: the head would be lost in silence.
    """
    if tied or not isinstance(model._tied_weights_keys, dict):
        yield
        return
    head = f"{_name_of(model, model.get_output_embeddings())}.weight"
    model._tied_weights_keys = {name: to for name, to in model._tied_weights_keys.items() if name != head}
    try:
        yield
    finally:
        del model._tied_weights_keys  # the class's own are seen again


def _start_at_mean(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Rows ``ids`` of embedding and head become the mean of the head's other rows, so that their logits are middling.

    One row for both, also where the head is untied: that is how PEFT keeps added tokens of these models.
    """
    import torch

    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    kept = torch.ones(head.shape[0], dtype=torch.bool, device=head.device)
    kept[list(ids)] = False
    with torch.no_grad():
        mean = head[kept].mean(dim=0, dtype=torch.float64)
        for weight in (head, embedding):
            weight[list(ids)] = mean.to(weight.dtype)


def _fill_with_mean(weight: torch.Tensor, before: int) -> None:
    """Rows from ``before`` on become the mean of the rows before. weight: (rows, width)."""
    weight[before:] = mean_row(weight[:before])


def mean_row(weight: torch.Tensor) -> torch.Tensor:
    """The mean of an embedding's rows, in its dtype: what a row that nobody trained is filled with.

    weight: [rows x width]; in float64 the order of summation, which depends on the thread count, does not reach the
    rounded result.
    """
    import torch

    total = torch.zeros(weight.shape[1], dtype=torch.float64, device=weight.device)
    for rows in weight.split(_ROWS_AT_ONCE):
        total += rows.sum(dim=0, dtype=torch.float64)
    return (total / weight.shape[0]).to(weight.dtype)


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the output head is the input embedding."""
    head = model.get_output_embeddings()
    return head is not None and head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def token_training(model: PreTrainedModel, added: AddedTokens) -> dict[str, list[int]]:
    """The value of PEFT's ``trainable_token_indices`` with which an adapter trains and carries the added rows.

    Naming only the ids, as PEFT's examples do, carries the input row but not that of an untied head: after resizing,
    the loaded adapter then has a head row of chance (measured with PEFT 0.21: logits off by 0.4). So an untied head
    is named too; a tied one must not be, PEFT follows the tie itself. Save with ``save_embedding_layers=False``, or
    PEFT adds the whole embedding. The model must already have the rows and must not be wrapped by PEFT yet.

    Raises InputError for an untied head with a bias whose row is new: PEFT leaves the bias out of such a head.
    """
    ids = list(added.ids)
    names = [_name_of(model, model.get_input_embeddings())]
    if model.config.is_encoder_decoder:
        return dict.fromkeys(names, ids)  # PEFT has the head follow, tied or not, as it does wherever it is loaded
    head = model.get_output_embeddings()
    tied = is_tied(model)
    if head is not None and tied != bool(model.config.get_text_config().tie_word_embeddings):
        raise InputError(
            "config.json and the weights disagree on whether the output head is the input embedding",
            where=model.config.name_or_path,
            fix="set data.eoi: text, or correct tie_word_embeddings in config.json",
        )
    if head is not None and not tied:
        if getattr(head, "bias", None) is None:
            names.append(_name_of(model, head))
        elif added.resized:
            raise InputError(
                f"an adapter cannot carry an added token of {model.config.model_type}: its output head has a bias",
                where=model.config.name_or_path,
                fix="set data.eoi: text",
            )
    return dict.fromkeys(names, ids)


def _name_of(model: PreTrainedModel, module: Any) -> str:
    return next(str(name) for name, one in model.named_modules() if one is module)
