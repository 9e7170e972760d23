"""Names, versions and what people write to mean one of them: ``name[@alias|:version|@sha256:..]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lft.errors import InputError

LOCAL: Final = "local"  # the namespace of a name that is written without one
DEFAULT: Final = "default"  # the alias that a bare name means, where it is set
LONGEST: Final = 96
DIGEST: Final = "sha256:"
_PART: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_NAME: Final = re.compile(rf"(?:({_PART})/)?({_PART})")
_VERSION: Final = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_ALIAS: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_HEX: Final = re.compile(r"[0-9a-f]{8,64}")
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Reference:
    """What was written: a name (``ns/name``; empty for a digest alone) and at most one of the others.

    ``digest`` is the whole sha256 of a manifest or at least its first eight letters.
    """

    name: str
    version: str = ""
    alias: str = ""
    digest: str = ""

    def __str__(self) -> str:
        after = (self.version and f":{self.version}") or (self.alias and f"@{self.alias}")
        return f"{self.name}{after}" if not self.digest else f"{self.name}{'@' * bool(self.name)}{DIGEST}{self.digest}"


def full_name(written: str) -> str:
    """``ns/name`` of what was written; without a namespace it is in ``local``.

    Raises:
        InputError: it cannot be a name.
    """
    found = _NAME.fullmatch(written)
    if not found or len(written) > LONGEST:
        raise InputError(
            f"{written[:LONGEST]!r} cannot be a name in the registry",
            fix="write namespace/name in letters, digits, dot, - and _, at most 96 of them",
        )
    return f"{found[1] or LOCAL}/{found[2]}"


def version_key(written: str) -> tuple[int, int, int]:
    """A version as three numbers, to compare by.

    Raises:
        InputError: it is no version.
    """
    found = _VERSION.fullmatch(written)
    if not found:
        raise InputError(f"{written[:40]!r} is no version", fix="write three numbers with dots, such as 1.0.0")
    return int(found[1]), int(found[2]), int(found[3])


def is_version(written: str) -> bool:
    """Whether this is three numbers with dots."""
    return _VERSION.fullmatch(written) is not None


def alias_name(written: str) -> str:
    """The alias as written.

    Raises:
        InputError: it cannot be an alias.
    """
    if not _ALIAS.fullmatch(written) or written.startswith("sha256"):
        raise InputError(
            f"{written[:64]!r} cannot be an alias", fix="begin with a letter; then letters, digits, dot, - and _"
        )
    return written


def reference(written: str) -> Reference:
    """What somebody means with ``name``, ``name:1.0.0``, ``name@alias``, ``name@sha256:..`` or ``sha256:..``.

    Raises:
        InputError: it is none of these.
    """
    if written.startswith(DIGEST):
        return Reference("", digest=_hex(written.removeprefix(DIGEST)))
    name, at, after = written.partition("@")
    if at and after.startswith(DIGEST):
        return Reference(full_name(name), digest=_hex(after.removeprefix(DIGEST)))
    if at:
        return Reference(full_name(name), alias=alias_name(after))
    name, colon, version = written.partition(":")
    if colon:
        version_key(version)
    return Reference(full_name(name), version=version)


def _hex(written: str) -> str:
    if not _HEX.fullmatch(written):
        raise InputError(f"sha256:{written[:64]} is no digest", fix="give 8 to 64 letters of 0-9a-f")
    return written


def is_tag(written: str) -> bool:
    """Whether this can be a tag's key, in a recipe (output.tags) and here."""
    return _TAG.fullmatch(written) is not None
