"""A recipe's method as the configuration object that PEFT takes, with nothing left to a name that is not there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lft.errors import MachineError, RecipeError
from lft.recipe.kinds import CALIBRATED, KINDS, Kind
from lft.recipe.patterns import matching
from lft.recipe.schema import Method
from lft.train.targets import ALL_LINEAR, matched_modules, matched_norms

TokenRows = Mapping[str, Sequence[int]]
Notify = Callable[[str], None]


@contextmanager
def peft_errors(kind: str) -> Iterator[None]:
    """Turn what PEFT says about a method and a model into one message."""
    try:
        yield
    except ImportError as error:
        raise MachineError(f"method.kind {kind} needs a package: {_reason(error)}") from error
    except (ValueError, TypeError, NotImplementedError, RuntimeError, AssertionError, KeyError) as error:
        raise RecipeError(
            f"method.kind {kind} does not work with this model and these options: {_reason(error)}",
            fix="change method.options or method.target_modules, or choose another method.kind",
        ) from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text[:297] + "..." if len(text) > 300 else text) or type(error).__name__


def unused_keys(method: Method) -> tuple[str, ...]:
    """Keys that the recipe writes and this kind has no use for.

    A note and no error: a recipe is inherited and overridden, and must stay one when only ``method.kind`` changes.
    """
    kind = KINDS[method.kind]
    idle = {
        "r": kind.rank is None,
        "alpha": kind.alpha is None,
        "dropout": kind.dropout is None,
        "target_modules": kind.targets == "none",
        "loraplus_lr_ratio": method.kind != "lora+",
        "calibration_rows": method.kind not in CALIBRATED,
    }
    written = [key for key, unused in idle.items() if unused and key in method.model_fields_set]
    # A run's own recipe.yaml writes every key; one that stands at its default asks for nothing.
    return tuple(key for key in written if getattr(method, key) != Method.model_fields[key].default)


def targets_of(model: Any, method: Method) -> tuple[str, ...] | None:
    """The layers that get an adapter; None leaves them to the method's own choice for this family."""
    kind, wanted = KINDS[method.kind], method.target_modules
    if kind.targets == "none" or (kind.targets != "linear" and wanted == ALL_LINEAR):
        return None
    return matched_norms(model, wanted) if kind.targets == "own-norm" else matched_modules(model, wanted)


def peft_config(
    model: Any, method: Method, token_rows: TokenRows, steps: int | None, targets: tuple[str, ...] | None
) -> Any:
    """PEFT's configuration of a method on a model.

    Args:
        model: the base.
        method: the recipe's.
        token_rows: rows of embedding layers that are trained too; only kinds that have them keep them.
        steps: optimizer steps of the run (AdaLoRA's schedule).
        targets: from ``targets_of``.

    Raises:
        RecipeError: PEFT refuses a value, or there would be nothing to train.
    """
    kind = KINDS[method.kind]
    config = _config_class(kind)
    fields = {field.name for field in dataclasses.fields(config)}
    values: dict[str, Any] = {"task_type": "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"}
    values |= {name: value for name, value in kind.fixed.items() if value != "loftq"}
    values |= _sizes(kind, method)
    values |= {name: _as_peft(name, value) for name, value in method.options.items()}
    if targets is not None:
        values["target_modules"] = list(targets)
    if token_rows and "trainable_token_indices" in fields:
        values["trainable_token_indices"] = {name: list(ids) for name, ids in token_rows.items()}
    if "total_step" in fields:
        values["total_step"] = steps
    if values.get("prompt_tuning_init") == "TEXT":
        values["tokenizer_name_or_path"] = model.config.name_or_path
    if method.kind == "trainable_tokens":
        values |= _tokens(model, method, token_rows)
    with peft_errors(method.kind):
        return config(**values)


def carries_rows(method: Method) -> bool:
    """Whether a kind trains the rows of added tokens and saves them."""
    fields = {field.name for field in dataclasses.fields(_config_class(KINDS[method.kind]))}
    return method.kind == "trainable_tokens" or "trainable_token_indices" in fields


def _config_class(kind: Kind) -> Any:
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind.peft.upper())]


def _sizes(kind: Kind, method: Method) -> dict[str, int | float]:
    alpha = int(method.alpha) if method.alpha == int(method.alpha) else method.alpha
    named = {kind.rank: method.r, kind.alpha: alpha, kind.dropout: method.dropout}
    return {name: value for name, value in named.items() if name is not None}


def _as_peft(name: str, value: Any) -> Any:
    if name in ("eva_config", "corda_config") and value is not None:
        from peft.tuners.lora import config as lora

        return getattr(lora, "EvaConfig" if name == "eva_config" else "CordaConfig")(**value)
    return list(value) if isinstance(value, tuple) else value


def _tokens(model: Any, method: Method, token_rows: TokenRows) -> dict[str, Any]:
    embedding = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding)
    written = method.options.get("token_indices") or ()
    chosen = {*(written if isinstance(written, tuple) else ()), *(n for ids in token_rows.values() for n in ids)}
    if not chosen:
        raise RecipeError(
            "method.kind trainable_tokens has no token to train",
            fix="set data.eoi: token with data.prompt: longform-eoi, or method.options.token_indices",
        )
    return {"token_indices": sorted(chosen), "target_modules": [name]}


def require_patterns(method: Method, modules: Sequence[str]) -> None:
    """Refuse keys of ``rank_pattern`` and the like that would not mean what they say.

    Raises:
        RecipeError: one is no regular expression, names no adapted module (PEFT ignores it), or gives a module another
            value than a second one: PEFT trains with the first, and sorts them when it saves.
    """
    for option in ("rank_pattern", "alpha_pattern", "lambda_pattern", "n_frequency_pattern", "block_size_pattern"):
        patterns = method.options.get(option)
        if isinstance(patterns, dict):
            with _regex_errors(f"method.options.{option}"):
                _require_clear(f"method.options.{option}", patterns, modules)


def _require_clear(where: str, patterns: Mapping[str, Any], modules: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(matching([(pattern, None)], name) for name in modules):
            raise RecipeError(f"{where}: {pattern!r} matches no module that gets an adapter")
    for name in modules:
        (first, value), *others = matching(patterns.items(), name) or [("", None)]
        for pattern, other in others:
            if other != value:
                raise RecipeError(
                    f"{where}: {first!r} gives {name} {value} and {pattern!r} gives it {other}; which one counts is "
                    "lost when the adapter is saved",
                    fix="write them so that one pattern matches each module",
                )


@contextmanager
def _regex_errors(where: str) -> Iterator[None]:
    try:
        yield
    except re.error as error:
        raise RecipeError(f"{where}: {error.pattern!r} is not a regular expression: {error}") from None
