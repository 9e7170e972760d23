"""Errors that a user can act on: what was wrong, where, and what to do next.

Exit codes (the CLI's contract, listed in the README):
0 done · 1 a fault of lft itself · 2 the recipe or the command line · 3 an input (data, base, adapter, hub)
· 4 the machine (disk, memory, missing package) · 5 training stopped itself · 130 / 143 interrupted, state saved.
"""

from __future__ import annotations


class LftError(Exception):
    """An error with one message for the user; the CLI prints it without a traceback."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.fix:
            parts.append(f"  fix: {self.fix}")
        return "\n".join(parts)


class RecipeError(LftError):
    """The recipe or the command line asks for something that cannot be."""

    exit_code = 2


class InputError(LftError):
    """Data, a base model, an adapter or the hub is missing, unreadable or not what it should be."""

    exit_code = 3


class MachineError(LftError):
    """The machine lacks something: disk, memory, a device or a package."""

    exit_code = 4


class TrainingError(LftError):
    """Training stopped itself because going on would waste the run (for example a non-finite loss)."""

    exit_code = 5
