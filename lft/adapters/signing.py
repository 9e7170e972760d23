"""Signing adapters and checking signatures, with `model-signing` (https://github.com/sigstore/model-transparency).

    files of a version ──▶ statement: sha256 of each ──▶ signed by a key, or by a Sigstore identity ──▶ model.sig
    folder, signatures, trust ──▶ one signature by somebody trusted, over exactly these files; else an InputError

Who is trusted is said by whoever checks, never read from a signature. What a signature leaves out is no secret way in:
a file that it does not name is an extra file, but for those that no program uses (``UNSIGNED``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from lft.adapters.folder import KNOWN
from lft.adapters.hub_fetch import PARENTS, RECORD, RUN_FILES
from lft.adapters.signature import SIGNATURE_FILE, Signature, read_signature
from lft.errors import InputError, LftError, MachineError, RecipeError
from lft.files import sha256

# May lie beside signed files without being signed: cards and records that no number depends on, and what git keeps.
UNSIGNED: Final = frozenset(
    {name for name, (role, _) in KNOWN.items() if role in ("card", "manifest")}
    | {RECORD, PARENTS, *RUN_FILES, SIGNATURE_FILE, ".gitattributes", ".gitignore"}
)
PASSWORD: Final = "LFT_KEY_PASSWORD"
_CURVES: Final = "secp256r1", "secp384r1", "secp521r1"
_KIND: Final = "an elliptic-curve key (P-256, P-384 or P-521) in PEM form"


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is trusted: public keys, or a Sigstore identity (an e-mail address, a workflow) of an issuer."""

    keys: tuple[Path, ...] = ()
    identity: str | None = None
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that holds, and whose it is in words."""

    signature: Signature
    signer: str


def sign_with_key(folder: Path, files: Collection[str], key: Path) -> Signature:
    """Sign files of a folder with a private key; its password, where it has one, is in $LFT_KEY_PASSWORD.

    Raises:
        InputError: it is no private key of an elliptic curve, or it cannot be read.
        MachineError: a package is missing.
    """
    library = _library()
    word = os.environ.get(PASSWORD)
    _require_private(key, word.encode() if word else None)
    config = library.signing.Config()
    config.use_elliptic_key_signer(private_key=key, password=word.encode() if word else None)
    return _signed(config, folder, files)


def sign_with_sigstore(folder: Path, files: Collection[str]) -> Signature:
    """Sign files of a folder as whoever logs in: with the identity of a CI job where there is one, else in a browser.

    Raises:
        InputError: Sigstore cannot be reached, or does not let us in.
        MachineError: a package is missing.
    """
    library = _library()
    with _sigstore_errors("Sigstore did not sign it"):
        config = library.signing.Config().use_sigstore_signer(use_ambient_credentials=True)
        return _signed(config, folder, files)


def require_signed(folder: Path, signatures: Sequence[Signature], trust: Trust, where: str) -> Verified:
    """The signature of somebody trusted over exactly the files of a folder.

    Args:
        folder: the adapter's.
        signatures: all that are known of it; one that holds is enough.
        trust: who is trusted.
        where: what the adapter is called in messages.

    Raises:
        InputError: there is none; nobody trusted made one; or a file was changed, added or removed since.
        RecipeError: nobody is trusted.
        MachineError: a package is missing.
    """
    if not signatures:
        raise InputError(
            "it is not signed", where=where, fix="ask its maker for a signature; --policy warn goes on without one"
        )
    _require_somebody(trust)
    known = {_fingerprint(path): path for path in trust.keys} if trust.keys else {}
    claimed = [one for one in signatures if (one.key in known if known else one.key is None)]
    if not claimed:
        wanted = f"{trust.identity} is wanted" if trust.identity else "that key is not trusted"
        raise InputError(
            f"it is signed by {', '.join(one.signer for one in signatures)}, and {wanted}",
            where=where,
            fix="if you know whose key it is: --key PUB.pem, or put that file into $LFT_HOME/trust",
        )
    for number, one in enumerate(claimed, 1):
        try:
            _require_holds(folder, one, known.get(one.key or ""), trust, where)
        except InputError:
            if number == len(claimed):
                raise
        else:
            break
    return Verified(one, f"key {one.key[:12]} ({known[one.key].name})" if one.key else str(trust.identity))


def trusted_keys(folder: Path) -> tuple[Path, ...]:
    """The public keys that a user trusts: ``*.pem`` of a folder, which need not be there."""
    return tuple(sorted(path for path in folder.glob("*.pem") if path.is_file()))


def _signed(config: Any, folder: Path, files: Collection[str]) -> Signature:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / SIGNATURE_FILE
        config.set_hashing_config(_hashing(UNSIGNED - set(files))).sign(folder, path)
        return read_signature(path.read_bytes())


def _require_holds(folder: Path, signature: Signature, key: Path | None, trust: Trust, where: str) -> None:
    """Raise InputError unless this signature is by whom it claims to be, over exactly these files."""
    _require_no_links(folder, where)
    config = _library().verifying.Config().set_hashing_config(_hashing(UNSIGNED - set(signature.files)))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / SIGNATURE_FILE
        path.write_text(signature.text, encoding="utf-8")
        if key is not None:
            config.use_elliptic_key_verifier(public_key=key)
            _require_valid(config, folder, path, signature, where)
        else:
            with _sigstore_errors(f"it is not signed by {trust.identity} of {trust.issuer}", where):
                config.use_sigstore_verifier(identity=trust.identity, oidc_issuer=trust.issuer)
                _require_valid(config, folder, path, signature, where)
    _require_same(folder, signature, where, hashed=False)  # a signature may tell model-signing to look away


def _require_valid(config: Any, folder: Path, path: Path, signature: Signature, where: str) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        config.verify(folder, path)
    except InvalidSignature:
        raise InputError(
            f"its signature names {signature.signer} but was not made with that key: damaged, or forged",
            where=where,
            fix="do not use it; fetch the adapter and its signature again from its maker",
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        _require_same(folder, signature, where, hashed=True)
        raise InputError(f"its signature is refused: {error}", where=where) from None


def _require_same(folder: Path, signature: Signature, where: str, *, hashed: bool) -> None:
    """Raise InputError unless the files of a folder are those of a signature; ``hashed``: each with its content."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    signed = set(signature.files)
    found = {
        "missing": signed - there,
        "changed": {n for n in signed & there if hashed and sha256(folder / n) != signature.files[n]},
        "added": {n for n in there - signed - UNSIGNED if not n.startswith((".git/", ".github/"))},
    }
    odd = [f"{name} is {what}" if what == "missing" else f"{name} was {what}" for what in found for name in found[what]]
    if odd:
        more = f", and {len(odd) - 5} more" if len(odd) > 5 else ""
        raise InputError(
            f"it is not what was signed by {signature.signer}: {'; '.join(sorted(odd)[:5])}{more}",
            where=where,
            fix="do not use it; fetch the adapter again from its maker",
        )


def _require_no_links(folder: Path, where: str) -> None:
    link = next((path for path in folder.rglob("*") if path.is_symlink()), None)
    if link is not None:
        raise InputError(
            f"{link.name} is a link, and links are not signed",
            where=where,
            fix="lft adapters pull USER/NAME, or add the folder; then verify the version",
        )


def _require_somebody(trust: Trust) -> None:
    if not trust.keys and trust.identity is None:
        raise RecipeError(
            "nobody is trusted, so no signature can be checked",
            fix="--key PUB.pem, or public keys in $LFT_HOME/trust/*.pem, or --identity with --issuer",
        )


def _hashing(ignored: Collection[str]) -> Any:
    config = _library().hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)
    return config.set_ignored_paths(paths=sorted(ignored))


def _fingerprint(path: Path) -> str:
    """What signatures call a public key: the sha256 of its PEM text."""
    import hashlib

    _library()
    from cryptography.hazmat.primitives import serialization as form

    try:
        public = form.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, LookupError) as error:
        why = f" ({error.strerror})" if isinstance(error, OSError) else ""
        raise InputError(
            f"no public key{why}", where=str(path), fix=f"give {_KIND}; of a private one: openssl pkey -in KEY -pubout"
        ) from None
    _require_curve(public, path)
    text = public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(text).hexdigest()


def _require_private(path: Path, password: bytes | None) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password)
    except (OSError, ValueError, TypeError, LookupError) as error:  # TypeError: with a password, and none given
        said = error.strerror if isinstance(error, OSError) else str(error).partition(".")[0]
        raise InputError(
            f"no private key that can be read ({said})",
            where=str(path),
            fix=f"give {_KIND}; ${PASSWORD} holds its password, where it has one",
        ) from None
    _require_curve(key, path)


def _require_curve(key: Any, path: Path) -> None:
    if getattr(getattr(key, "curve", None), "name", None) not in _CURVES:
        raise InputError("a key of another kind", where=str(path), fix=f"give {_KIND}")


def _library() -> ModuleType:
    """model-signing, which says nothing of pyOpenSSL although it needs it."""
    try:
        import model_signing
    except ImportError as error:
        raise MachineError(
            f"signatures need a package that is not installed: {error.name}", fix="pip install 'lft[sign]'"
        ) from None
    return model_signing  # type: ignore[no-any-return,unused-ignore]


@contextmanager
def _sigstore_errors(what: str, where: str | None = None) -> Iterator[None]:
    """Its many errors as one message; errors of lft go through."""
    from sigstore.errors import Error, NetworkError, TUFError
    from sigstore.oidc import IssuerError

    try:
        yield
    except LftError:
        raise
    except (NetworkError, TUFError, IssuerError, OSError) as error:
        raise InputError(
            f"Sigstore cannot be asked ({error})", where=where, fix="check the network, or use a key: --key"
        ) from None
    except (Error, ValueError) as error:
        raise InputError(f"{what}: {error}", where=where) from None
