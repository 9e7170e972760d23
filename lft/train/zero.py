"""DeepSpeed: its configuration made from the recipe, and its compiled parts built before anybody waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any, Final

from lft.errors import MachineError
from lft.recipe.schema import Launch
from lft.train.events import Note, Report

BUILD_MINUTES: Final = 15
STAGES: Final = {"zero1": 1, "zero2": 2, "zero3": 3, "zero3-offload": 3}


def deepspeed_config(launch: Launch, universal: bool = False) -> dict[str, Any] | None:
    """DeepSpeed's configuration, or None for an engine without it; ``universal`` is the form of the checkpoint.

    What is "auto" transformers fills from its arguments, so it cannot disagree with the recipe.
    """
    if launch.engine not in STAGES:
        return None
    zero: dict[str, Any] = {"stage": STAGES[launch.engine]}
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
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": not _on_cpu()}
        zero["offload_param"] = {"device": "cpu", "pin_memory": not _on_cpu()}
        # Named here, DeepSpeed takes its own AdamW for the CPU: torch's would be an order of magnitude slower.
        config["optimizer"] = {"type": "AdamW", "params": dict.fromkeys(("lr", "betas", "eps", "weight_decay"), "auto")}
    return config


def join_deepspeed(device: str) -> None:
    """Tell DeepSpeed of the process group that is there; left to itself it looks for MPI."""
    import deepspeed

    deepspeed.init_distributed("gloo" if device == "cpu" else "nccl", auto_mpi_discovery=False)


def require_engine(launch: Launch, device: str, report: Report) -> None:
    """Check that the engine can run here, and build what DeepSpeed would otherwise build in the middle of the run.

    Raises:
        MachineError: DeepSpeed is missing, there are too few GPUs, or the build failed or took too long.
    """
    _require_devices(launch, device)
    if launch.engine not in STAGES:
        return
    if find_spec("deepspeed") is None:
        raise MachineError(
            f"launch.engine {launch.engine} needs DeepSpeed", fix="pip install 'lft[deepspeed]', or launch.engine: ddp"
        )
    if device == "cpu" and launch.gpus * launch.nodes > 1:
        _build("ShareMemCommBuilder", report)
    if launch.engine == "zero3-offload":
        _build("CPUAdamBuilder", report)


def _require_devices(launch: Launch, device: str) -> None:
    import torch

    if device == "cpu":
        return
    found = torch.cuda.device_count()
    if launch.gpus > found:
        raise MachineError(f"launch.gpus is {launch.gpus}, this machine has {found}", fix=f"launch.gpus={found}")


def _build(builder: str, report: Report) -> None:
    """Compile one of DeepSpeed's operators in a process of its own, with a limit; at once when it is there already."""
    code = (
        "from deepspeed.accelerator import get_accelerator as accelerator\n"
        f"builder = accelerator().create_op_builder('{builder}')\n"
        "builder is None or builder.load(verbose=False)"
    )
    report(Note(f"DeepSpeed's {builder.removesuffix('Builder')}: building it once if needed (minutes)"))
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_MINUTES * 60,
            env={**os.environ, **({"DS_ACCELERATOR": "cpu"} if _on_cpu() else {})},
        )
    except subprocess.TimeoutExpired as error:
        raise MachineError(
            f"building DeepSpeed's {builder} took more than {BUILD_MINUTES} minutes",
            fix="remove torch's extension cache (~/.cache/torch_extensions or $TORCH_EXTENSIONS_DIR): a build that was "
            "killed leaves a lock there",
        ) from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or ["no message"]
        raise MachineError(
            f"building DeepSpeed's {builder} failed ({last[0][:200]})",
            fix="install g++ and ninja, or launch.engine: ddp",
        ) from error


def _on_cpu() -> bool:
    import torch

    return not torch.cuda.is_available()
