"""Keys, and signatures that nobody made: shaped like those of model-signing, worth nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft.adapters.signature import Signature, read_signature

NOTHING = {"adapter_config.json": "a" * 64, "adapter_model.safetensors": "b" * 64}


def bundle(files: Mapping[str, str] = NOTHING, key: str | None = "c" * 64, subject: str = "d" * 64) -> dict[str, Any]:
    """A bundle without a true signature; ``key`` None looks like Sigstore's."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": subject, "digest": {"sha256": "e" * 64}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": [{"name": name, "algorithm": "sha256", "digest": one} for name, one in files.items()],
        },
    }
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": key}} if key else {"certificate": {"rawBytes": "AAAA"}},
        "dsseEnvelope": {
            "payload": base64.b64encode(json.dumps(statement).encode()).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": "AAAA", "keyid": ""}],
        },
    }


def claimed(files: Mapping[str, str] = NOTHING, key: str | None = "c" * 64, subject: str = "d" * 64) -> Signature:
    """A signature that only claims to be one."""
    return read_signature(json.dumps(bundle(files, key, subject)).encode())


@dataclass(frozen=True)
class Keys:
    """Files of a private key and of its public one."""

    private: Path
    public: Path


def keys(folder: Path, name: str = "mine", curve: str = "SECP256R1", password: bytes | None = None) -> Keys:
    """A new pair, as `openssl ecparam -genkey` would make it."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(getattr(ec, curve)())
    lock = form.BestAvailableEncryption(password) if password else form.NoEncryption()
    made = Keys(folder / f"{name}.pem", folder / f"{name}.pub.pem")
    made.private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock))
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    made.public.write_bytes(public)
    return made
