"""Who runs against whom: one table of contenders for each kind of training, and what a run of one of them tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ceiling import Peak
from material import ALPHA, RANK


@dataclass(frozen=True, eq=False)
class Contender:
    """A way to train. ``options`` are overrides of lft's recipe, or arguments of the bare script's trainer."""

    name: str
    data: str
    options: dict[str, object] | tuple[str, ...]
    method: str = "lora"
    model: str = "llama"
    processes: int = 1

    @property
    def is_ours(self) -> bool:
        return isinstance(self.options, tuple)

    @property
    def work(self) -> tuple[str, str]:
        """What it shares with those it is compared with."""
        return self.data, self.method


@dataclass(frozen=True)
class Figures:
    """One run: ``seconds`` of training; from the start of the process, ``start`` to the beginning of the first step
    (imports, tokens, model) and ``first_step`` to its end; ``step``, the median of the later ones.

    With ``_cpu`` they are processor seconds. ``cpu`` is those a second of the later steps: well below the threads,
    others had the machine. ``flops`` and ``peak`` are told by lft alone.
    """

    supervised: float
    steps: int
    seconds: float
    final_loss: float
    memory: int
    start: float
    start_cpu: float
    first_step: float
    first_step_cpu: float
    cpu: float
    step: float
    step_cpu: float
    flops: float = 0.0
    peak: Peak | None = None

    @property
    def rate(self) -> float:
        return self.supervised / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Supervised tokens a processor second."""
        return self.rate / self.cpu


@dataclass(frozen=True)
class Profile:
    """Seconds of a step under the profiler, and each group's share of them."""

    step: float
    shares: dict[str, float]


# lft's overrides for a method; the bare scripts know the methods by these names.
METHODS = {"lora": (), "qlora": ("base.quantize=nf4",), "full": ("method.kind=full",)}
BARE = {"llama": "bare_trl.py", "t5": "bare_seq2seq.py"}
UNPACKED = ("data.packing=false", "train.micro_batch_size=4", "train.global_batch_size=8")
PADDED: dict[str, object] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
ENGINES = ("ddp", "zero1", "zero2", "zero3")


def decoder(method: str) -> tuple[Contender, ...]:
    """lft and TRL on rows of even and of long-tailed lengths."""
    return (
        Contender("lft, no packing", "even", UNPACKED, method),
        Contender("TRL, padded", "even", PADDED, method),
        Contender(
            "lft, packed",
            "long-tail",
            ("data.packing=true", "train.micro_batch_size=1", "train.global_batch_size=2"),
            method,
        ),
        Contender(
            "TRL, padded", "long-tail", {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}, method
        ),
        Contender(
            "TRL, bfd packing",
            "long-tail",
            {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "packing": True},
            method,
        ),
    )


def encoder_decoder(method: str) -> tuple[Contender, ...]:
    """lft and transformers on T5; the text marker for line breaks adds no token, so both train the same weights."""
    ours = ("data.prompt=plain", "data.newlines=marker", *UNPACKED)
    return (
        Contender("lft", "even", ours, method, model="t5"),
        Contender("transformers", "even", PADDED, method, model="t5"),
    )


def processes(method: str, engines: Iterable[str]) -> tuple[Contender, ...]:
    """lft's engines, the first of which the others are compared with, and TRL under torchrun, on two processes."""
    theirs = {**PADDED, "gradient_accumulation_steps": 1, "ddp_backend": "gloo"}
    return (
        *(
            Contender(
                f"lft, {engine}",
                "even",
                (*UNPACKED, f"launch.engine={engine}", "launch.gpus=2"),
                method,
                processes=2,
            )
            for engine in engines
        ),
        Contender("TRL, torchrun", "even", theirs, method, processes=2),
    )


PADDING_FREE = Contender(
    "TRL, padding-free",
    "long-tail",
    {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "padding_free": True, "max_length": None},
)

KINDS: dict[str, tuple[Contender, ...]] = {
    "lora": (*decoder("lora"), PADDING_FREE),
    "qlora": decoder("qlora"),
    "full": decoder("full"),
    "t5": (*encoder_decoder("lora"), *encoder_decoder("full")),
    "zero": (*processes("full", ENGINES), *processes("lora", ENGINES[:1])),
}


def grouped(contenders: Iterable[Contender]) -> list[tuple[Contender, Contender]]:
    """Each contender beside the first lft run of the same work."""
    ours: dict[tuple[str, str], Contender] = {}
    for contender in contenders:
        if contender.is_ours:
            ours.setdefault(contender.work, contender)
    return [(contender, ours[contender.work]) for contender in contenders]


def recipe_for(folder: Path, model: Path, data: Path) -> Path:
    """lft's recipe before a contender's overrides."""
    path = folder / f"{model.name}-{data.stem}.yaml"
    path.write_text(
        f"""name: bench
base: {{model: {model}, dtype: float32}}
data:
  {{train: {data}, split: {{train: train, validation: null}}, format: prompt-completion, eoi: text, max_length: 512}}
method: {{kind: lora, r: {RANK}, alpha: {ALPHA}, dropout: 0.0, target_modules: all-linear}}
train: {{epochs: 1, learning_rate: 1.0e-3, schedule: cosine, warmup_ratio: 0.03, save_every: end}}
output: {{runs: {folder / "runs"}}}
"""
    )
    return path
