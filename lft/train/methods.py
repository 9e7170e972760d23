"""What is trained: a recipe's method put on a base with PEFT, and the promise that all of it is saved."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lft.base.attach import TRAINED, Lower, put_below
from lft.base.quantize import is_quantized
from lft.data.tokens import IGNORE
from lft.errors import RecipeError
from lft.recipe.kinds import KINDS
from lft.recipe.schema import Method
from lft.train.peft_config import (
    Notify,
    TokenRows,
    carries_rows,
    peft_config,
    peft_errors,
    require_patterns,
    targets_of,
    unused_keys,
)
from lft.train.starts import begin, begin_again
from lft.train.targets import matched_modules
from lft.train.weights import load_initial, restore

__all__ = ["Tuned", "matched_modules", "require_saved", "tune"]


@dataclass(frozen=True, slots=True)
class Tuned:
    """A model with its adapter: which modules it sits on, and how much of it is trained.

    ``initial`` holds the matrices by which PiSSA, OLoRA and CorDA changed the base (for ``save_weights``).
    ``after_step`` is to be called with the step's number (from 1) after each optimizer step, before gradients are
    cleared; None where the method has nothing to do there.
    """

    model: Any
    modules: tuple[str, ...]
    trainable: int
    total: int
    initial: Mapping[str, torch.Tensor] = field(default_factory=dict)
    after_step: Callable[[int], None] | None = None

    def __str__(self) -> str:
        share = 100 * self.trainable / self.total
        size = f"{self.trainable:,} of {self.total:,} parameters ({share:.2f} %)"
        if not self.modules:
            return size
        kinds = Counter(name.rsplit(".", 1)[-1] for name in self.modules)
        listed = ", ".join(f"{kind} x{count}" for kind, count in sorted(kinds.items()))
        return f"{len(self.modules)} modules ({listed}); {size}"


def tune(
    model: Any,
    method: Method,
    token_rows: TokenRows,
    *,
    steps: int | None = None,
    rows: Sequence[Sequence[int]] = (),
    below: Sequence[Lower] = (),
    tokenizer: Any = None,
    resume: Path | None = None,
    notify: Notify = lambda _: None,
) -> Tuned:
    """Put what a recipe trains on a base, which is changed in place.

    Args:
        model: the base, in full precision or quantized.
        method: the recipe's; any kind but full.
        token_rows: rows of embedding layers that are trained and travel in the adapter (``base.tokens``).
        steps: optimizer steps of the whole run.
        rows: sequences of token ids for starts that look at data (``train.calibrate``).
        below: adapters kept active and frozen under this one; ``tokenizer`` is then needed.
        tokenizer: with the added tokens.
        resume: a checkpoint folder: the very training state that was saved there.
        notify: told what the recipe says and the method does not use.

    Raises:
        RecipeError: the method cannot be trained, or not on this model, or a target matches nothing.
        InputError: an adapter below does not fit, or the checkpoint is of another adapter.
        MachineError: a package is missing.
    """
    _require_trainable(method, model)
    if idle := unused_keys(method):
        notify(f"{method.kind} has no use for method.{', method.'.join(idle)}")
    if token_rows and not carries_rows(method):
        notify(f"{method.kind} cannot train the rows of added tokens: they stay the mean of all rows")
        token_rows = {}
    config = _config(model, method, token_rows, steps, resume)
    stack = put_below(model, below, tokenizer)
    tuned = _tuned(stack, method, config, rows, resume)
    require_saved(tuned.model, method)
    if resume:
        restore(tuned.model, resume)
    return tuned


def _require_trainable(method: Method, model: Any) -> None:
    """What the check of the recipe says too, for whoever made a ``Method`` without it."""
    kind = KINDS[method.kind]
    if kind.refused:
        raise RecipeError(f"method.kind {method.kind} cannot be trained: {kind.refused}")
    if is_quantized(model) and not kind.quantized:
        raise RecipeError(f"method.kind {method.kind} cannot be put on a quantized base", fix="remove base.quantize")
    if method.kind == "loftq" and not getattr(model, "is_loaded_in_4bit", False):
        raise RecipeError("method.kind loftq needs a base in 4 bit", fix="set base.quantize: nf4")


def _config(model: Any, method: Method, token_rows: TokenRows, steps: int | None, resume: Path | None) -> Any:
    if resume is None:
        targets = targets_of(model, method)
        require_patterns(method, targets or ())
        return peft_config(model, method, token_rows, steps, targets)
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(resume))
    config.inference_mode = False
    if method.kind == "adalora":
        config.rank_pattern = None  # the layers are made whole; ``restore`` brings the masked ranks back
    return config


def _tuned(model: Any, method: Method, config: Any, rows: Sequence[Sequence[int]], resume: Path | None) -> Tuned:
    wanted = set(config.target_modules or ()) if KINDS[method.kind].targets == "linear" else None
    with peft_errors(method.kind):
        if resume is None:
            tuned, initial = begin(model, method.kind, config, rows)
        else:
            initial = load_initial(resume)
            tuned = begin_again(model, config, initial)
    modules = tuple(getattr(tuned.base_model, "targeted_module_names", ()))
    if wanted is not None and resume is None and method.kind != "eva" and set(modules) != wanted:
        odd = sorted(wanted ^ set(modules))
        raise RecipeError(f"PEFT's {method.kind} does not adapt the layers it was told, first {odd[0]}")
    after_step = _prepared(tuned, method.kind)
    trainable, total = tuned.get_nb_trainable_parameters()
    return Tuned(tuned, modules, trainable, total, initial, after_step)


def _prepared(tuned: Any, kind: str) -> Callable[[int], None] | None:
    """Where a method's wrapper does not pass on the forward that the trainer gives the base, or wants to be called."""
    inner = tuned.base_model
    if kind == "adaption_prompt":  # it keeps the forward of the moment it was made, so the trainer's would never run
        inner.forward = lambda *args, **kwargs: inner.model.forward(*args, **kwargs)
    if kind == "adalora":
        inner.forward = types.MethodType(_adalora_forward, inner)
        step: Callable[[int], None] = inner.update_and_allocate
        return step
    return None


def _adalora_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    """AdaLoRA's forward with its regulariser weighed right.

    PEFT adds it to any loss, also to validation losses, and to lft's sum over tokens as if that were a mean.
    """
    outputs = self.model.forward(*args, **kwargs)
    weight = self.peft_config[TRAINED].orth_reg_weight
    labels = kwargs.get("labels")
    if self.training and weight and labels is not None:
        tokens = (labels[:, 1:] != IGNORE).sum() if kwargs.get("supervised") else 1
        outputs.loss = outputs.loss + weight * tokens * _orthogonality(self)
    return outputs


def _orthogonality(model: Any) -> torch.Tensor:
    """Mean of |A·Aᵀ - 1| and |Bᵀ·B - 1| over the adapter's matrices (AdaLoRA, arXiv 2303.10512, eq. 4)."""
    norms = []
    for name, matrix in model.named_parameters():
        if f".lora_A.{TRAINED}" in name or f".lora_B.{TRAINED}" in name:
            square = matrix @ matrix.T if "lora_A" in name else matrix.T @ matrix
            norms.append(torch.linalg.matrix_norm(square - torch.eye(len(square), device=square.device)))
    return torch.stack(norms).mean()


def require_saved(model: Any, method: Method) -> None:
    """Raise RecipeError when something would be trained and not saved, or nothing would be trained."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise RecipeError(f"method.kind {method.kind} with these options trains nothing")
    if KINDS[method.kind].packs:  # virtual tokens are saved as what their network makes of them
        saved = _saved_places(model)
        if lost := [name for name, p in trained.items() if p.data_ptr() not in saved]:
            raise RecipeError(
                f"method.kind {method.kind} would train {lost[0]} and {len(lost) - 1} more, which PEFT does not save",
                fix="change method.options (bias, modules_to_save)",
            )


def _saved_places(model: Any) -> set[int]:
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(model, adapter_name=TRAINED, save_embedding_layers=False)
    return {tensor.data_ptr() for tensor in found.values()}
