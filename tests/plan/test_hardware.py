"""Devices by name: spellings people use, nearest names, no question to the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft.errors import RecipeError
from lft.plan.hardware import DEVICES, GIB, MIB, cpu_device, nearest_device, parse_hardware


@pytest.mark.parametrize(
    ("text", "device", "gpus"),
    [
        ("8xA100-80GB", "A100-80GB", 8),
        ("8 x a100 80gb", "A100-80GB", 8),
        ("A100-40", "A100-40GB", 1),
        ("A100", "A100-80GB", 1),
        ("4090", "RTX4090", 1),
        ("2xrtx 3090", "RTX3090", 2),
        ("h100", "H100", 1),
        ("T4", "T4", 1),
        ("L40S", "L40S", 1),
    ],
)
def test_devices_are_found_as_people_write_them(text: str, device: str, gpus: int) -> None:
    if text == "4090":
        with pytest.raises(RecipeError, match="8xA100"):
            parse_hardware(text)
        return
    fleet = parse_hardware(text)
    assert (fleet.device.name, fleet.gpus, fleet.nodes) == (device, gpus, 1)


@given(st.sampled_from(DEVICES), st.integers(1, 64), st.integers(1, 32))
def test_every_device_of_the_table_is_found_by_its_name(device: object, gpus: int, nodes: int) -> None:
    fleet = parse_hardware(f"{gpus}x{device.name}", nodes)  # type: ignore[attr-defined]
    assert fleet.device == device
    assert fleet.world == gpus * nodes


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no device 'H10'; nearest: H100"):
        parse_hardware("H10")
    with pytest.raises(RecipeError, match="there are A100-40GB"):
        parse_hardware("banana")
    for text in ("", "8", "0xL4", "!"):
        with pytest.raises(RecipeError, match="is not a device"):
            parse_hardware(text)


def test_a_processor_has_the_memory_that_is_written() -> None:
    assert parse_hardware("cpu-64GB").device.memory == 64 * GIB
    assert parse_hardware("cpu").device.memory is None
    assert not parse_hardware("2xcpu-8").device.cuda
    with pytest.raises(RecipeError, match="cpu-64GB"):
        parse_hardware("cpu-big")


def test_a_driver_s_name_is_found_in_the_table() -> None:
    assert nearest_device("NVIDIA A100-SXM4-40GB", 40536 * MIB).name == "A100-40GB"
    assert nearest_device("NVIDIA A100 80GB PCIe", 81920 * MIB).name == "A100-80GB"
    assert nearest_device("NVIDIA GeForce RTX 4090", 24564 * MIB).name == "RTX4090"
    assert nearest_device("Tesla T4", 15360 * MIB).memory == 15360 * MIB
    assert nearest_device("NVIDIA H100 80GB HBM3", 81559 * MIB).name == "H100"
    unknown = nearest_device("Quadro P400", 2048 * MIB)
    assert (unknown.name, unknown.half) == ("Quadro P400", 0.0)


def test_a_processor_computes_float32_fastest() -> None:
    assert cpu_device(None, 4).single == 4 * cpu_device(None).single > cpu_device(None, 4).half
