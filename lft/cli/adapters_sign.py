"""`lft adapters sign`, and what `lft adapters verify` asks of signatures."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lft.cli.adapters_common import WIDTH, counted, folder_of, lock_of, opened, printable, version_of

if TYPE_CHECKING:
    from lft.adapters.signature import Signature
    from lft.adapters.signing import Trust, Verified
    from lft.adapters.store.layout import Store
    from lft.adapters.store.lockfile import Lock
    from lft.adapters.store.versions import Stored

POLICIES: Final = ("none", "warn", "require")
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", metavar="|".join(POLICIES), help="of signatures; require where --key or --identity is"),
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="PUB.pem", help="the public key to trust; else those in $LFT_HOME/trust/*.pem"),
]
IdentityOption = Annotated[
    str | None, typer.Option(metavar="WHO", help="the Sigstore identity to trust: an e-mail address or a workflow")
]
IssuerOption = Annotated[
    str | None, typer.Option(metavar="URL", help="who vouches for it: https://accounts.google.com, ...")
]


def sign(
    adapter: Annotated[
        str,
        typer.Argument(metavar="ADAPTER", help="name, name:1.0.0, name@alias or name@sha256:..", show_default=False),
    ],
    key: Annotated[
        Path | None,
        typer.Option(metavar="KEY.pem", help="private elliptic-curve key; its password: $LFT_KEY_PASSWORD"),
    ] = None,
    sigstore: Annotated[bool, typer.Option("--sigstore", help="sign as whoever logs in; needs the network")] = False,
) -> None:
    """Sign the files of a version, so that others can tell that they come from you and were not changed.

    The signature lies beside the version and goes to the hub with it (model.sig); the version stays what it is.
    """
    from lft.adapters.signing import sign_with_key, sign_with_sigstore
    from lft.adapters.store.checkout import materialise
    from lft.adapters.store.leases import leased
    from lft.adapters.store.lookup import resolve
    from lft.adapters.store.marks import keep_signature
    from lft.errors import RecipeError

    if (key is None) == (not sigstore):
        raise RecipeError("who signs?", fix="give one of --key KEY.pem and --sigstore")
    store = opened()
    stored = resolve(store, adapter)
    folder = materialise(store, stored.digest)
    files = [file.path for file in stored.manifest.files]
    made = sign_with_key(folder, files, key) if key else sign_with_sigstore(folder, files)
    _require_of(made, stored)
    with leased(store) as lease:
        keep_signature(lease, stored, made, renewed=True)
    print(f"{stored}: signed by {made.signer}, {counted(len(made.files), 'file')}")
    trusted = "--key PUB.pem" if key else "--identity WHO --issuer URL"
    print(f"  lft adapters verify {stored} {trusted}")


def _require_of(made: Signature, stored: Stored) -> None:
    """Raise InputError where the folder that was signed is not the version: nobody should vouch for damage."""
    from lft.errors import InputError

    if made.files != {file.path: file.sha256 for file in stored.manifest.files}:
        raise InputError(f"{stored} is damaged in the registry, so it was not signed", fix="lft adapters fsck")


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of signatures: ``none``, ``warn`` or ``require``, and of whom; see ``policy_of``."""

    word: str = "none"
    key: Path | None = None
    identity: str | None = None
    issuer: str | None = None


def policy_of(policy: str | None, key: Path | None, identity: str | None, issuer: str | None) -> Policy:
    """What ``--policy``, ``--key``, ``--identity`` and ``--issuer`` ask for.

    Args:
        policy: ``none``, ``warn``, ``require``; None is ``require`` where somebody to trust is named, else ``none``.
        key: the public key to trust; None trusts those in $LFT_HOME/trust.
        identity: a Sigstore identity to trust instead; ``issuer`` belongs to it.

    Raises:
        RecipeError: the options do not fit together.
    """
    return Policy(_chosen(policy, key, identity, issuer), key, identity, issuer)


def check_signatures(folder: Path, store: Store, policy: Policy, say: Callable[[str], None] = print) -> None:
    """Do with an adapter's signatures what a policy says, and say what was found.

    Args:
        folder: the adapter's; a checkout of the registry stands for its version.
        store: the registry.
        policy: from ``policy_of``.
        say: is given lines for people.

    Raises:
        InputError: the policy is ``require``, and no signature of somebody trusted holds.
        RecipeError: nobody is trusted.
        MachineError: a package is missing.
    """
    from lft.errors import LftError

    if policy.word == "none":
        return
    stored = version_of(folder, store)
    try:
        _say(_verified(folder, store, stored, _trust(store, policy)), stored, say)
    except LftError as error:
        if policy.word == "require":
            raise
        say(_row("warning", f"{error.where}: {error.what}" if error.where else error.what))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an adapter must be to be used: what the lock pins (where there is one), and signed as the policy says."""

    lock: Lock | None
    policy: Policy

    def __bool__(self) -> bool:
        """Whether anything is asked of it."""
        return self.lock is not None or self.policy.word != "none"

    def folder(self, written: str, store: Store) -> Path:
        """The folder of what is written; its signatures are not looked at."""
        return folder_of(written, store, self.lock)

    def signed(self, written: str, store: Store, say: Callable[[str], None]) -> Path:
        """The folder of what is written, once its signatures are checked."""
        found = self.folder(written, store)
        check_signatures(found, store, self.policy, say)
        return found


def wanted_of(
    locked: bool, lock_file: Path | None, policy: str | None, key: Path | None, identity: str | None, issuer: str | None
) -> Wanted:
    """What ``--locked`` and ``--lock-file``, and the four options of ``policy_of``, ask for together.

    Raises:
        InputError: the lock file is missing or damaged.
        RecipeError: the options do not fit together.
    """
    return Wanted(lock_of(locked, lock_file), policy_of(policy, key, identity, issuer))


def _chosen(policy: str | None, key: Path | None, identity: str | None, issuer: str | None) -> str:
    from lft.errors import RecipeError

    if policy is not None and policy not in POLICIES:
        raise RecipeError(f"--policy {policy!r}", fix=f"give one of {', '.join(POLICIES)}")
    if (identity is None) != (issuer is None):
        raise RecipeError("--identity and --issuer belong together", fix="give both")
    if key is not None and identity is not None:
        raise RecipeError("--key and --identity exclude each other", fix="give one of them")
    named = key is not None or identity is not None
    if named and policy == "none":
        raise RecipeError("with --policy none nothing is checked", fix="leave out --policy, or --key and --identity")
    return policy or ("require" if named else "none")


def _trust(store: Store, policy: Policy) -> Trust:
    from lft.adapters.signing import Trust, trusted_keys

    if policy.identity is not None:
        return Trust((), policy.identity, policy.issuer)
    return Trust((policy.key,) if policy.key else trusted_keys(store.root.parent / "trust"))


def _verified(folder: Path, store: Store, stored: Stored | None, trust: Trust) -> Verified:
    from lft.adapters.signature import SIGNATURE_FILE, read_signature
    from lft.adapters.signing import require_signed
    from lft.adapters.store.marks import signatures
    from lft.errors import InputError

    if stored is not None:
        return require_signed(folder, signatures(store, stored.manifest), trust, str(stored))
    path = folder / SIGNATURE_FILE
    try:
        found = (read_signature(path.read_bytes()),) if path.is_file() else ()
    except (OSError, ValueError) as error:
        raise InputError(f"no signature: {error}", where=str(path)) from None
    return require_signed(folder, found, trust, str(folder))


def _say(found: Verified, stored: Stored | None, say: Callable[[str], None]) -> None:
    subject = found.signature.subject
    say(_row("signed", f"by {found.signer}: {counted(len(found.signature.files), 'file')}, none changed"))
    if stored is not None and subject != stored.digest:
        say(_row("", f"made for {subject[:12]}, which has the same files under another name or record"))


def _row(name: str, text: str) -> str:
    """A line of what `verify` prints, as many as it takes."""
    start, rest = f"{name:<11}", " " * 11
    lines = textwrap.wrap(printable(text), WIDTH, initial_indent=start, subsequent_indent=rest, break_on_hyphens=False)
    return "\n".join(lines)
