"""The recipe as frozen, typed objects: each key with its type, default and meaning beside it.

The schema is closed: a key that is not named here is an error. Keys whose behaviour is not built yet are named here
too, so that the recipe of ``design.md`` parses; ``unsupported.py`` rejects them by name.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
TAG_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # no dot: a tag is a key of overrides (output.tags.lang=[en])
OPTION_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=96, pattern=NAME_PATTERN)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=TAG_PATTERN)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
# Strict, so that '3' in quotes, true for 1 or "yes" for true are mistakes and not guesses.
Option = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=OPTION_PATTERN)]
Real = Annotated[float, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
_Scalar = Flag | Annotated[int, Field(strict=True)] | Real | str | None
OptionValue = _Scalar | tuple[_Scalar, ...] | dict[str, _Scalar]

# Full fine-tuning, LoRA and its variants, then PEFT's other methods by PEFT's own names.
MethodKind = Literal[
    "lora", "full", "dora", "rslora", "pissa", "olora", "eva", "corda", "loftq", "lora+",
    "adalora", "adamss", "adaption_prompt", "beft", "boft", "c3a", "cartridge", "cpt", "deft", "delora", "fourierft",
    "frod", "glora", "gralora", "hira", "hra", "ia3", "lily", "ln_tuning", "loha", "lokr", "miss",
    "multitask_prompt_tuning", "oft", "osf", "p_tuning", "peanut", "poly", "prefix_tuning", "prompt_tuning", "psoft",
    "pvera", "randlora", "road", "shadow", "shira", "supertuning", "tinylora", "trainable_tokens", "unilora", "vblora",
    "vera", "waveft", "xlora",
]  # fmt: skip
Optimizer = Literal[
    "adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "lion", "lion_8bit", "paged_lion_8bit", "adafactor",
]  # fmt: skip


class _Closed(BaseModel):
    # The validators are built at the first use: importing the schema costs half as much (start-up budget: 0.3 s).
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Base(_Closed):
    """The model that is tuned."""

    model: NonEmpty = Field(description="hub id, folder, file.gguf or package://name")
    revision: NonEmpty | None = Field(None, description="hub commit, tag or branch; pinned to a commit in lock.json")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="weights in memory; auto is bfloat16 where the device computes it fast, else float32"
    )
    quantize: Literal["nf4", "fp4", "int8"] | None = Field(None, description="load the frozen base in 4 or 8 bit")
    double_quant: Flag = Field(True, description="nf4 and fp4: quantize their constants too, 0.4 bit a weight less")
    compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="nf4 and fp4: precision of the matrix products; auto is that of base.dtype"
    )
    trust_remote_code: Flag = Field(False, description="run code from the model's repository; needs a pinned revision")


class Source(_Closed):
    """One source of a mixture."""

    path: NonEmpty = Field(description="hub id, folder, or .json / .jsonl / .parquet file")
    weight: Real = Field(1.0, gt=0, description="share of this source in the mixture, relative to the others")
    revision: NonEmpty | None = Field(None, description="hub commit, tag or branch of the data set")


class Split(_Closed):
    """Which split of the source plays which part."""

    train: NonEmpty = Field("train", description="split that is trained on")
    validation: NonEmpty | None = Field("validation", description="split that is evaluated; null trains without one")


class Data(_Closed):
    """Examples and how they become tokens."""

    train: NonEmpty | tuple[Source, ...] = Field(description="a source, or a list of {path, weight} for a mixture")
    split: Split = Field(default_factory=Split, description="names of the splits")
    format: Literal["auto", "longform", "alpaca", "messages", "prompt-completion"] = Field(
        "auto", description="columns of the source; auto looks at them and prints its verdict"
    )
    prompt: Literal["longform-eoi", "plain", "alpaca", "chat"] = Field(
        "longform-eoi", description="how instruction and output are written; longform-eoi is '{input} [EOI]' + output"
    )
    eoi: Literal["token", "text"] = Field(
        "token", description="[EOI] as one added token (the adapter carries its row) or as plain text"
    )
    newlines: Literal["auto", "token", "marker"] = Field(
        "auto", description="for tokenizers without a line break (T5): one added token, or a text marker; auto is token"
    )
    max_length: PositiveInt = Field(
        2048, description="tokens in one sequence, prompt and output together; in each for T5"
    )
    overlong: Literal["error", "drop", "truncate", "split"] = Field(
        "error", description="examples longer than max_length; whatever is done is counted and printed"
    )
    packing: Flag = Field(True, description="put several examples into one sequence; they never see each other")
    streaming: Flag = Field(False, description="read examples as they come instead of first preparing them all")


class Method(_Closed):
    """What is trained."""

    kind: MethodKind = Field("lora", description="lora, full, dora, ... by PEFT's own names")
    r: PositiveInt = Field(16, description="rank of the update")
    alpha: Real = Field(32.0, gt=0, description="scale: the update is alpha / r * B A")
    dropout: Real = Field(0.0, ge=0, lt=1, description="dropout before A")
    target_modules: NonEmpty | tuple[NonEmpty, ...] = Field(
        "all-linear", description="all-linear, a module name, a regular expression, or a list of names"
    )
    on_top_of: tuple[NonEmpty, ...] = Field((), description="adapters kept active and frozen below this one")
    loraplus_lr_ratio: Real = Field(16.0, ge=1, description="lora+: learning rate of B over that of A")
    calibration_rows: PositiveInt = Field(32, description="eva, corda: rows that the initialisation looks at")
    options: dict[Option, OptionValue] = Field(
        default_factory=dict, description="further options of the kind, by PEFT's own names"
    )


class Train(_Closed):
    """How it is trained."""

    epochs: Real = Field(3.0, gt=0, description="passes over the training split")
    max_steps: PositiveInt | None = Field(
        None, description="stop after this many optimizer steps, whatever epochs says"
    )
    learning_rate: Real = Field(2.0e-4, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    warmup_ratio: Real = Field(0.03, ge=0, lt=1, description="share of the steps over which the rate rises")
    optimizer: Optimizer = Field("adamw", description="8bit and paged ones are bitsandbytes' and need it installed")
    weight_decay: Real = Field(0.0, ge=0, description="decoupled weight decay (AdamW)")
    max_grad_norm: Real = Field(1.0, gt=0, description="gradients are clipped to this norm")
    global_batch_size: PositiveInt = Field(
        128, description="sequences (after packing) per optimizer step, over all devices"
    )
    micro_batch_size: PositiveInt | Literal["auto"] = Field("auto", description="sequences per device and pass")
    gradient_checkpointing: Flag | Literal["auto"] = Field(
        "auto", description="recompute activations to save memory; auto is on for CUDA, off on CPU"
    )
    log_every: PositiveInt = Field(1, description="optimizer steps between two lines of metrics.jsonl")
    eval_every: PositiveInt | Literal["epoch", "end"] = Field("epoch", description="steps between evaluations")
    save_every: PositiveInt | Literal["epoch", "end"] = Field("epoch", description="steps between checkpoints")
    keep_last: PositiveInt = Field(2, description="checkpoints kept; older ones are removed")
    keep_best: Flag = Field(False, description="keep the checkpoint with the lowest validation loss as well")
    sample_prompts: tuple[NonEmpty, ...] = Field((), description="instructions answered before and after training")
    sample_tokens: PositiveInt = Field(96, description="new tokens per sample")
    eval_answers: Annotated[int, Field(ge=0, strict=True)] = Field(
        0, description="validation examples answered by generation, sample_tokens each, at every evaluation"
    )
    seed: int = Field(42, ge=0, lt=2**32, strict=True, description="seed of initialisation, data order and sampling")


class Launch(_Closed):
    """Where it runs."""

    engine: Literal["none", "ddp", "zero1", "zero2", "zero3", "zero3-offload"] = Field(
        "none", description="parallel engine"
    )
    gpus: PositiveInt = Field(1, description="devices per node")
    nodes: PositiveInt = Field(1, description="machines")
    max_restarts: Annotated[int, Field(ge=0, strict=True)] = Field(
        0, description="times a run that lost a process goes on by itself from its newest whole checkpoint"
    )
    timeout_minutes: Real = Field(30.0, gt=0, description="processes that wait longer for each other end the run")


class Output(_Closed):
    """What comes out and under which name."""

    adapter: Name | None = Field(None, description="name in the registry; the recipe's name when null")
    tags: dict[Tag, tuple[str, ...]] = Field(default_factory=dict, description="free labels, e.g. lang: [en]")
    runs: NonEmpty = Field("runs", description="folder under which runs/<name>/<time>/ is made")


class Recipe(_Closed):
    """One file says everything about a run."""

    name: Name = Field(description="name of the recipe and of its run folder")
    base: Base = Field(description="the model that is tuned")
    data: Data = Field(description="examples and how they become tokens")
    method: Method = Field(default_factory=Method, description="what is trained")
    train: Train = Field(default_factory=Train, description="how it is trained")
    launch: Launch = Field(default_factory=Launch, description="where it runs")
    output: Output = Field(default_factory=Output, description="what comes out and under which name")
