"""What a signature says, read without any package: who claims to have signed, and which files with which content.

A signature is a Sigstore bundle around an in-toto statement, as `model-signing` writes it. Nothing that is read here is
proof of anything: whether a key that somebody trusts made it is found out in ``signing``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

SIGNATURE_FILE: Final = "model.sig"  # what model-signing calls it beside a model
LARGEST: Final = 1_000_000  # bytes
_PAYLOAD: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it lies on the disk.

    ``text`` is the bundle on one line; ``key`` the sha256 of the public key's PEM text, None where a certificate takes
    its place (Sigstore); ``subject`` what the signer called the folder, which for lft is the digest of the version's
    manifest; ``files`` the sha256 of each signed file.
    """

    text: str
    key: str | None
    subject: str
    files: Mapping[str, str]

    @property
    def signer(self) -> str:
        """Who claims to have made it, in words."""
        return f"key {self.key[:12]}" if self.key else "a Sigstore identity"


def read_signature(text: bytes) -> Signature:
    """A signature from its file.

    Raises:
        ValueError: it is none, or one over something else than whole files with their sha256.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text):,} bytes; {LARGEST:,} are allowed")
    try:
        bundle = json.loads(text)
        envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
        statement = json.loads(base64.b64decode(envelope["payload"], validate=True))
        said = (envelope["payloadType"], statement["_type"], statement["predicateType"])
        if said != (_PAYLOAD, _STATEMENT, _PREDICATE) or len(envelope["signatures"]) != 1:
            raise ValueError("it is no signature of model-signing 1.0 or newer")
        (subject,) = statement["subject"]
        line = json.dumps(bundle, ensure_ascii=True, separators=(",", ":"))
        return Signature(line, _key(material), str(subject["name"])[:200], _files(statement["predicate"]))
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no signature ({type(error).__name__})") from None


def _key(material: Any) -> str | None:
    if "certificate" in material and not isinstance(material, str):
        return None
    hint = material["publicKey"]["hint"]
    if not isinstance(hint, str) or not _SHA256.fullmatch(hint):
        raise ValueError("it does not say which key made it; sign again with model-signing 1.1 or newer")
    return hint


def _files(predicate: Any) -> dict[str, str]:
    form = predicate["serialization"]
    if (form["method"], form["hash_type"]) != ("files", "sha256"):
        raise ValueError(f"it is over {form['method']} by {form['hash_type']}, not over files by sha256")
    found: dict[str, str] = {}
    for one in predicate["resources"]:
        name, digest = one["name"], one["digest"]
        if one["algorithm"] != "sha256" or not _SHA256.fullmatch(digest) or not _is_inside(name) or name in found:
            raise ValueError("the list of its files is not sound")
        found[name] = digest
    if not found:
        raise ValueError("it is over no file")
    return dict(sorted(found.items()))


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and str(path) == name
