"""Devices as data: memory and peak speed by name. Nothing here asks the machine that it runs on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lft.errors import RecipeError
from lft.recipe.problems import listed, nearest, shown

GIB: Final = 2**30
MIB: Final = 2**20
# A device is planned up to this share of its memory: the allocator's fragments need the rest.
USABLE: Final = 0.95
_CORE_TERAFLOPS: Final = 0.09  # float32, one core with 256-bit fused multiply-add at 2.8 GHz


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    ``memory`` in bytes as its driver reports it, None where nothing is known. Peaks are dense, in teraflops, with
    float32 accumulation; ``half`` is bfloat16 where the device computes it, else float16.
    """

    name: str
    memory: int | None
    half: float
    single: float
    bfloat16: bool = True
    cuda: bool = True


@dataclass(frozen=True, slots=True)
class Fleet:
    """Equal devices: so many on each of so many machines. ``host`` is the memory of one machine, where known."""

    device: Device
    gpus: int = 1
    nodes: int = 1
    host: int | None = None

    @property
    def world(self) -> int:
        """Devices in all."""
        return self.gpus * self.nodes

    def __str__(self) -> str:
        each = f"{self.gpus} x {self.device.name}" if self.gpus > 1 else self.device.name
        return f"{self.nodes} x {each}" if self.nodes > 1 else each


def _gpu(name: str, mib: int, half: float, single: float, bfloat16: bool = True) -> Device:
    return Device(name, mib * MIB, half, single, bfloat16)


# Memory as nvidia-smi (rocm-smi) reports it; peaks from the makers' data sheets, dense.
DEVICES: Final = (
    _gpu("A100-40GB", 40536, 312, 19.5),
    _gpu("A100-80GB", 81251, 312, 19.5),
    _gpu("H100", 81559, 989, 67),
    _gpu("H200", 143771, 989, 67),
    _gpu("B200", 183359, 2250, 80),
    _gpu("L4", 23034, 121, 30.3),
    _gpu("L40S", 46068, 362, 91.6),
    _gpu("A10G", 23028, 70, 31.5),
    _gpu("A10", 23028, 125, 31.2),
    _gpu("A6000", 49140, 155, 38.7),
    _gpu("RTX3090", 24576, 71, 35.6),
    _gpu("RTX4090", 24564, 165, 82.6),
    _gpu("RTX5090", 32607, 210, 105),
    _gpu("V100-16GB", 16160, 125, 15.7, bfloat16=False),
    _gpu("V100-32GB", 32510, 125, 15.7, bfloat16=False),
    _gpu("T4", 15109, 65, 8.1, bfloat16=False),
    _gpu("MI300X", 196592, 1307, 163),
)
_ALIASES: Final = {"A100": "A100-80GB", "V100": "V100-32GB", "H100-80GB": "H100", "H200-141GB": "H200"}


def parse_hardware(text: str, nodes: int = 1) -> Fleet:
    """``8xA100-80GB``, ``rtx 4090``, ``cpu``, ``cpu-64GB`` or ``2xcpu-16GB`` as devices.

    Raises:
        RecipeError: a device that the table does not have, with the nearest one.
    """
    count, name = _split(text)
    device = _cpu(name) if _plain(name).startswith("cpu") else _known(name)
    return Fleet(device, count, nodes)


def cpu_device(memory: int | None, cores: int = 1) -> Device:
    """A processor as a device; its peak is a rough figure, float32 being what a CPU computes fastest."""
    peak = _CORE_TERAFLOPS * cores
    return Device("cpu", memory, peak / 2.5, peak, bfloat16=True, cuda=False)


def nearest_device(name: str, memory: int) -> Device:
    """A device by the name that its driver gives; one that is not in the table has its memory and no speed."""
    plain = _plain(re.sub(r"nvidia|geforce|tesla|amd|instinct|pcie|sxm\d?|hbm\d\w?|generation|ada", "", name.lower()))
    fits = [d for d in DEVICES if _plain(d.name) in plain or plain in _plain(d.name)]
    best = min(fits, key=lambda d: abs((d.memory or 0) - memory), default=None)
    if best is None:
        return Device(name, memory, 0.0, 0.0)
    return Device(best.name, memory, best.half, best.single, best.bfloat16)


def _split(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"\s*(?:(\d+)\s*[xX*]?\s*(?=[A-Za-z]))?([A-Za-z].*?)\s*", text)
    if found is None or found[1] == "0":
        raise RecipeError(f"--hardware {shown(text)} is not a device", fix="write for example 8xA100-80GB, L4 or cpu")
    return int(found[1] or 1), found[2]


def _cpu(name: str) -> Device:
    found = re.fullmatch(r"cpu[\s_-]*(?:(\d+)\s*(?:gi?b)?)?", name.strip().lower())
    if found is None:
        raise RecipeError(f"--hardware {shown(name)} is not a device", fix="write cpu, or cpu-64GB for its memory")
    return cpu_device(int(found[1]) * GIB if found[1] else None)


def _known(name: str) -> Device:
    table = {_plain(device.name): device for device in DEVICES}
    table |= {_plain(alias): table[_plain(device)] for alias, device in _ALIASES.items()}
    plain = _plain(name)
    for spelling in (plain, plain.removesuffix("gb"), f"rtx{plain}", f"{plain}gb"):
        if spelling in table:
            return table[spelling]
    close = nearest(name, [device.name for device in DEVICES])
    hint = f"nearest: {close}" if close else f"there are {listed([d.name for d in DEVICES], 30)} and cpu"
    raise RecipeError(
        f"--hardware: no device {shown(name)}; {hint}", fix="name a device of the table in docs/memory.md"
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
