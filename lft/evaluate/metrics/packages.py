"""Packages of the extra ``evaluate``, imported where they are used."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from types import ModuleType

from lft.errors import MachineError


def package(name: str) -> ModuleType:
    """A module of a package that only metrics need.

    Raises:
        MachineError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MachineError(
            f"this metric needs a package that is not installed: {error.name}", fix="pip install 'lft[evaluate]'"
        ) from None


def release(name: str) -> str:
    """``name`` and its version, as a variant states it."""
    return f"{name} {version(name)}"
