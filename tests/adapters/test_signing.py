"""`lft adapters sign` and `verify --policy`, with model-signing itself: who is trusted is said by the user alone."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lft.adapters.signature import SIGNATURE_FILE, Signature, read_signature
from lft.adapters.signing import PASSWORD
from lft.adapters.store.checkout import materialise
from lft.adapters.store.layout import Store, open_store
from lft.adapters.store.leases import leased
from lft.adapters.store.marks import keep_signature, signatures
from lft.adapters.store.versions import Stored, version
from tests.cli.test_adapters_commands import Lft, bad, good, lft
from tests.registry import NAME, added
from tests.signing import Keys, bundle, claimed, keys

__all__ = ["lft"]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The registry that the commands use, with one version."""
    made = open_store(tmp_path / "registry")
    added(made, tmp_path / "made")
    return made


@pytest.fixture
def pair(tmp_path: Path) -> Keys:
    pytest.importorskip("model_signing", reason="pip install 'lft[sign]'", exc_type=ImportError)
    return keys(tmp_path)


def only(store: Store) -> Stored:
    return version(store, NAME, "1.0.0")


def checkout(store: Store) -> Path:
    return materialise(store, only(store).digest)


def signed(lft: Lft, store: Store, pair: Keys) -> Signature:
    good(lft("sign", NAME, "--key", str(pair.private)))
    return signatures(store, only(store).manifest)[-1]


def copied(store: Store, signature: Signature | None, folder: Path) -> Path:
    """A signed adapter as a folder that may be written."""
    shutil.copytree(checkout(store), folder, copy_function=shutil.copyfile)
    if signature:
        (folder / SIGNATURE_FILE).write_text(signature.text)
    return folder


def keep(store: Store, signature: Signature) -> None:
    with leased(store) as lease:
        keep_signature(lease, only(store), signature)


def verdict(lines: list[str]) -> str:
    """What `verify` says about signatures, on one line."""
    end = next(number for number, line in enumerate(lines) if line.startswith("adapter"))
    assert lines[0].startswith(("signed", "warning"))
    return " ".join(" ".join(lines[:end]).split())


# --- what holds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curve", ["SECP256R1", "SECP384R1", "SECP521R1"])
def test_a_signed_version_is_verified_with_the_public_key(lft: Lft, store: Store, tmp_path: Path, pair: Keys, curve):
    pair = keys(tmp_path, curve, curve)
    before = only(store)
    good(lft("sign", NAME, "--key", str(pair.private)))
    assert only(store) == before
    said = good(lft("verify", NAME, "--key", str(pair.public)))
    assert verdict(said).endswith(f"{len(before.manifest.files)} files, none changed")
    assert [line for line in said if line.startswith("tensors")]


def test_the_signature_is_over_every_file_with_its_sha256(lft: Lft, store: Store, pair: Keys):
    stored = only(store)
    found = signed(lft, store, pair)
    assert found.files == {file.path: file.sha256 for file in stored.manifest.files}
    assert found.subject == stored.digest


def test_keys_in_the_trust_folder_are_trusted_any_of_them(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    signed(lft, store, pair)
    (tmp_path / "trust").mkdir()
    keys(tmp_path / "trust", "a-stranger").private.unlink()
    shutil.copy(pair.public, tmp_path / "trust" / "me.pem")
    assert "me.pem" in verdict(good(lft("verify", NAME, "--policy", "require")))


def test_one_of_several_signatures_is_enough(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    other = keys(tmp_path, "other")
    for one in (pair, other):
        signed(lft, store, one)
    assert len(signatures(store, only(store).manifest)) == 2
    for one in (pair, other):
        good(lft("verify", NAME, "--key", str(one.public)))


def test_show_lists_who_signed_and_says_that_it_did_not_check(lft: Lft, store: Store, pair: Keys):
    key = signed(lft, store, pair).key
    assert key
    line = next(line for line in good(lft("show", NAME)) if line.startswith("signed by"))
    assert f"key {key[:12]}" in line
    assert "as it says" in line
    said = json.loads("\n".join(good(lft("show", NAME, "--json"))))
    assert said["signatures"] == [{"key": key, "subject": only(store).digest, "checked": False}]


def test_a_key_with_a_password_takes_it_from_the_environment(
    lft: Lft, store: Store, tmp_path: Path, pair: Keys, monkeypatch: pytest.MonkeyPatch
):
    locked = keys(tmp_path, "locked", password=b"open sesame")
    assert PASSWORD in bad(lft("sign", NAME, "--key", str(locked.private)), 3)
    monkeypatch.setenv(PASSWORD, "open sesame")
    signed(lft, store, locked)
    good(lft("verify", NAME, "--key", str(locked.public)))


def test_model_signing_itself_agrees_about_a_folder(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    from model_signing import verifying

    folder = copied(store, signed(lft, store, pair), tmp_path / "folder")
    (folder / "README.md").write_text("a card, which no program uses")

    def check() -> None:
        verifying.Config().use_elliptic_key_verifier(public_key=pair.public).verify(folder, folder / SIGNATURE_FILE)

    check()
    good(lft("verify", str(folder), "--key", str(pair.public)))
    (folder / CONFIG).write_text((folder / CONFIG).read_text() + " ")
    with pytest.raises(ValueError, match=CONFIG):
        check()


def test_a_signature_by_model_signing_itself_is_verified(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    from model_signing import signing

    folder = copied(store, None, tmp_path / "folder")
    (folder / "manifest.json").unlink()
    config = signing.Config().use_elliptic_key_signer(private_key=pair.private)
    config.sign(folder, folder / SIGNATURE_FILE)
    good(lft("verify", str(folder), "--key", str(pair.public)))
    keep(store, read_signature((folder / SIGNATURE_FILE).read_bytes()))
    assert "another name" in verdict(good(lft("verify", NAME, "--key", str(pair.public))))


def test_under_policy_none_nothing_is_asked(lft: Lft, store: Store):
    plain = good(lft("verify", NAME))
    assert good(lft("verify", NAME, "--policy", "none")) == plain
    assert not [line for line in plain if "sign" in line]


# --- what does not ---------------------------------------------------------------------------------------------------


def both(lft: Lft, what: str, pair: Keys, *words: str) -> None:
    """One message with these words and exit 3 under require; a line with them and exit 0 under warn."""
    message = bad(lft("verify", what, "--key", str(pair.public)), 3)
    warned = verdict(good(lft("verify", what, "--key", str(pair.public), "--policy", "warn")))
    for word in words:
        assert word in message
        assert word in warned


def test_without_a_signature_require_refuses_and_warn_goes_on(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    both(lft, NAME, pair, "it is not signed")
    both(lft, str(copied(store, None, tmp_path / "folder")), pair, "it is not signed")


def test_a_key_that_is_not_trusted_is_refused(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    found = signed(lft, store, pair)
    assert found.key
    both(lft, NAME, keys(tmp_path, "stranger"), found.key[:12], "not trusted")


def test_a_changed_an_extra_and_a_missing_file_are_each_named(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    found = signed(lft, store, pair)
    for name, change, words in (
        ("changed", lambda folder: flip(folder / WEIGHTS), f"{WEIGHTS} was changed"),
        ("extra", lambda folder: (folder / "chat_template.jinja").write_text("x"), "chat_template.jinja was added"),
        ("missing", lambda folder: (folder / "lft.json").unlink(), "lft.json is missing"),
    ):
        folder = copied(store, found, tmp_path / name)
        (folder / "manifest.json").unlink()
        change(folder)
        message = bad(lft("verify", str(folder), "--key", str(pair.public)), 3)
        assert words in message
        assert message.partition("\n")[0].endswith(words)
        assert ";" not in message.partition("\n")[0]  # nothing else is said to be odd


def flip(path: Path) -> None:
    """The last bit of a file, which is a tensor's."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_file_changed_in_the_registry_is_found(lft: Lft, store: Store, pair: Keys):
    signed(lft, store, pair)
    path = checkout(store) / WEIGHTS
    path.chmod(0o644)
    flip(path)
    assert f"{WEIGHTS} was changed" in bad(lft("verify", NAME, "--key", str(pair.public)), 3)


def test_damage_is_not_signed(lft: Lft, store: Store, pair: Keys):
    path = checkout(store) / WEIGHTS
    path.chmod(0o644)
    flip(path)
    assert "damaged" in bad(lft("sign", NAME, "--key", str(pair.private)), 3)
    assert signatures(store, only(store).manifest) == ()


def test_a_statement_changed_after_signing_is_refused(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    found = signed(lft, store, pair)
    folder = copied(store, None, tmp_path / "folder")
    (folder / "manifest.json").unlink()
    flip(folder / WEIGHTS)
    forged = json.loads(found.text)
    envelope = forged["dsseEnvelope"]
    statement = base64.b64decode(envelope["payload"]).decode()
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    envelope["payload"] = base64.b64encode(statement.replace(found.files[WEIGHTS], digest).encode()).decode()
    (folder / SIGNATURE_FILE).write_text(json.dumps(forged))
    both(lft, str(folder), pair, "was not made with that key")


def test_a_signature_that_only_names_a_trusted_key_is_refused(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    thief = keys(tmp_path, "thief")
    forged = json.loads(signed(lft, store, thief).text)
    forged["verificationMaterial"]["publicKey"]["hint"] = signed(lft, store, pair).key
    claim = read_signature(json.dumps(forged).encode())
    both(lft, str(copied(store, claim, tmp_path / "folder")), pair, "was not made with that key")
    keep(store, claim)
    good(lft("verify", NAME, "--key", str(pair.public)))  # the true one is still there


def test_a_signature_that_looks_away_from_the_weights_is_refused(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    from model_signing import hashing, signing

    folder = copied(store, None, tmp_path / "folder")
    away = hashing.Config().set_ignored_paths(paths=[WEIGHTS, "manifest.json"])
    config = signing.Config().set_hashing_config(away).use_elliptic_key_signer(private_key=pair.private)
    config.sign(folder, folder / SIGNATURE_FILE)
    both(lft, str(folder), pair, f"{WEIGHTS} was added")


def test_links_are_not_signed_files(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    folder = copied(store, signed(lft, store, pair), tmp_path / "folder")
    (folder / WEIGHTS).rename(folder / "weights")
    (folder / WEIGHTS).symlink_to("weights")
    both(lft, str(folder), pair, "is a link")


def test_with_nobody_to_trust_no_signature_helps(lft: Lft, store: Store, pair: Keys):
    signed(lft, store, pair)
    assert "nobody is trusted" in bad(lft("verify", NAME, "--policy", "require"), 2)
    assert "nobody is trusted" in verdict(good(lft("verify", NAME, "--policy", "warn")))


def test_what_is_no_key_is_refused_by_name(lft: Lft, store: Store, tmp_path: Path, pair: Keys):
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519

    other = ed25519.Ed25519PrivateKey.generate()
    plain = form.NoEncryption()
    (tmp_path / "ed.pem").write_bytes(other.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain))
    (tmp_path / "no.pem").write_text("no key")
    for name in ("ed.pem", "no.pem", "gone.pem", pair.public.name):
        message = bad(lft("sign", NAME, "--key", str(tmp_path / name)), 3)
        assert name in message
        assert "elliptic-curve key" in message
    signed(lft, store, pair)
    assert "openssl" in bad(lft("verify", NAME, "--key", str(pair.private)), 3)


# --- Sigstore, without its servers: what is asked of it, and what is compared then ------------------------------------


class Signs:
    """Stands for Sigstore's signer: writes a bundle with a certificate in the place of a key."""

    def __init__(self, **options: object) -> None:
        assert options["use_ambient_credentials"] is True

    def sign(self, payload: Any) -> Signs:
        from google.protobuf import json_format

        self.statement = json_format.MessageToJson(payload.statement.pb)
        return self

    def write(self, path: Path) -> None:
        made = bundle(key=None)
        made["dsseEnvelope"]["payload"] = base64.b64encode(self.statement.encode()).decode()
        path.write_text(json.dumps(made))


@pytest.fixture
def sigstore(pair: Keys, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Whom the verifier was asked to believe; it believes everybody."""
    from model_signing import signing, verifying
    from model_signing._signing import signing as base

    asked: list[tuple[str, str]] = []

    class Believes(base.Verifier):
        def __init__(self, *, identity: str, oidc_issuer: str, **_: object) -> None:
            asked.append((identity, oidc_issuer))

        def _verify_signed_content(self, signature: Any) -> tuple[str, bytes]:
            envelope = signature["dsseEnvelope"]
            return envelope["payloadType"], base64.b64decode(envelope["payload"])

    read = SimpleNamespace(read=lambda path: json.loads(path.read_text()))
    monkeypatch.setattr(signing, "sigstore", SimpleNamespace(Signer=Signs))
    monkeypatch.setattr(verifying, "sigstore", SimpleNamespace(Verifier=Believes, Signature=read))
    return asked


WHO = ("--identity", "me@example.org", "--issuer", "https://accounts.example.org")


def test_an_identity_is_trusted_with_its_issuer_alone(
    lft: Lft, store: Store, pair: Keys, sigstore: list[tuple[str, str]]
):
    good(lft("sign", NAME, "--key", str(pair.private)))
    assert "me@example.org is wanted" in bad(lft("verify", NAME, *WHO), 3)
    good(lft("sign", NAME, "--sigstore"))
    assert "by me@example.org" in verdict(good(lft("verify", NAME, *WHO)))
    assert sigstore == [("me@example.org", "https://accounts.example.org")]
    good(lft("verify", NAME, "--key", str(pair.public)))  # both signatures are kept


def test_what_an_identity_signed_must_be_these_files(
    lft: Lft, store: Store, tmp_path: Path, sigstore: list[tuple[str, str]]
):
    good(lft("sign", NAME, "--sigstore"))
    folder = copied(store, signatures(store, only(store).manifest)[-1], tmp_path / "folder")
    good(lft("verify", str(folder), *WHO))
    (folder / "manifest.json").unlink()
    flip(folder / WEIGHTS)
    assert f"{WEIGHTS} was changed" in bad(lft("verify", str(folder), *WHO), 3)


def test_sigstore_out_of_reach_is_one_message(
    lft: Lft, store: Store, tmp_path: Path, pair: Keys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))  # its cache of the trust root
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "Sigstore cannot be asked" in bad(lft("sign", NAME, "--sigstore"), 3)
    keep(store, claimed(key=None))
    assert "Sigstore cannot be asked" in bad(lft("verify", NAME, *WHO), 3)
    assert signatures(store, only(store).manifest) == (claimed(key=None),)


# --- the command line, and what may be missing -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ("sign", NAME),
        ("sign", NAME, "--key", "k.pem", "--sigstore"),
        ("verify", NAME, "--policy", "maybe"),
        ("verify", NAME, "--identity", "me@example.org"),
        ("verify", NAME, "--issuer", "https://accounts.example.org"),
        ("verify", NAME, "--key", "k.pem", "--identity", "me@example.org", "--issuer", "https://x.example.org"),
        ("verify", NAME, "--key", "k.pem", "--policy", "none"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_fit_together_are_refused(lft: Lft, store: Store, options: tuple[str, ...]):
    assert bad(lft(*options), 2)


def test_a_missing_package_is_one_message(lft: Lft, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    keep(store, claimed())
    (tmp_path / "k.pem").write_text("a key")
    for command in (("sign", NAME, "--key", "k.pem"), ("sign", NAME, "--sigstore"), ("verify", NAME, "--key", "k.pem")):
        assert "pip install 'lft[sign]'" in bad(lft(*command), 4)
    assert "not installed" in verdict(good(lft("verify", NAME, "--key", "k.pem", "--policy", "warn")))
    assert os.path.exists(checkout(store) / WEIGHTS)
