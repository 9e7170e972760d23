"""DeepSpeed: its configuration made from the recipe, and what it needs of the machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

from lft.errors import MachineError
from lft.plan.engines import bucket_elements
from lft.recipe.schema import Launch
from lft.train.builds import build, on_cpu
from lft.train.events import Report

STAGES: Final = {"zero1": 1, "zero2": 2, "zero3": 3, "zero3-offload": 3}


def deepspeed_config(launch: Launch, trained: int, universal: bool = False) -> dict[str, Any] | None:
    """DeepSpeed's configuration, or None for an engine without it.

    What is "auto" transformers fills from its arguments, so it cannot disagree with the recipe.

    Args:
        launch: the recipe's.
        trained: number of parameters that are trained.
        universal: whether the checkpoint to go on from was converted for another number of processes.
    """
    if launch.engine not in STAGES:
        return None
    # DeepSpeed allocates its bucket whole: 5e8 elements of its default are 2 GB beside an adapter of some MB.
    zero: dict[str, Any] = {"stage": STAGES[launch.engine], "reduce_bucket_size": bucket_elements(trained)}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
        zero["memory_efficient_linear"] = False  # it replaces torch's linear, for every caller, by one of its own
    config: dict[str, Any] = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_optimization": zero,
        "checkpoint": {"load_universal": universal},
    }
    if launch.engine == "zero3-offload":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": not on_cpu()}
        zero["offload_param"] = {"device": "cpu", "pin_memory": not on_cpu()}
        # Named here, DeepSpeed takes its own AdamW for the CPU: torch's would be an order of magnitude slower.
        config["optimizer"] = {"type": "AdamW", "params": dict.fromkeys(("lr", "betas", "eps", "weight_decay"), "auto")}
    return config


def join_deepspeed(device: str) -> None:
    """Tell DeepSpeed of the process group that is there; left to itself it looks for MPI."""
    import deepspeed

    deepspeed.init_distributed("gloo" if device == "cpu" else "nccl", auto_mpi_discovery=False)


def declare_outside(model: Any) -> None:
    """Tell ZeRO-3 which parameters a layer reads that are not its own, as PEFT's rows of added tokens.

    DeepSpeed puts a layer's own parameters together before its forward. Others it discovers, but only in the engine's
    forward and only while they are in parts: after a checkpoint is loaded small ones are whole, so they would stay
    unknown, and be missed by a generation (which goes past the engine) once a save has taken them apart.
    """
    import deepspeed
    import torch

    declare = deepspeed.zero.register_external_parameter
    for layer in model.modules():
        for held in layer.children():
            if isinstance(held, torch.nn.ParameterDict | torch.nn.ParameterList):
                for parameter in held.parameters():
                    declare(layer, parameter)
        if hasattr(layer, "trainable_tokens_delta"):  # it looks its rows up itself, in the embedding under it
            declare(layer, layer.get_base_layer().weight)


def require_engine(launch: Launch) -> None:
    """Check that the engine can run here, before any process of the run is started.

    Raises:
        MachineError: DeepSpeed is missing, or there are too few GPUs.
    """
    import torch

    if not on_cpu() and launch.gpus > (found := torch.cuda.device_count()):
        raise MachineError(f"launch.gpus is {launch.gpus}, this machine has {found}", fix=f"launch.gpus={found}")
    if launch.engine in STAGES and find_spec("deepspeed") is None:
        raise MachineError(
            f"launch.engine {launch.engine} needs DeepSpeed", fix="pip install 'lft[deepspeed]', or launch.engine: ddp"
        )


def build_engine(launch: Launch, report: Report) -> None:
    """Build what DeepSpeed would otherwise build in the middle of the run; at once where it is there already.

    Raises:
        MachineError: the build failed or took too long.
    """
    if launch.engine in STAGES and on_cpu():  # DeepSpeed takes it into every process group, also of one process
        build("ShareMemCommBuilder", report)
    if launch.engine == "zero3-offload":
        build("CPUAdamBuilder", report)
