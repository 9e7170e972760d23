"""`--policy` where an adapter is used: an unsigned one is refused before its base is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.signing import Keys, keys
from tests.typed import Typed, registry_of, typed_once

pytest.importorskip("model_signing")

SHORT = ("--greedy", "--max-new-tokens", "2")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with lft/de, which is signed, lft/en, which is not, and a stack of both, which is."""
    folder = tmp_path_factory.mktemp("home")
    registry_of(folder, "de", "en")
    key = keys(folder).private
    typed_once(
        folder,
        ("adapters", "stack", "0.5*lft/de + 0.5*lft/en", "--name", "lft/both"),
        *(("adapters", "sign", name, "--key", key) for name in ("lft/de", "lft/both")),
    )
    return folder


@pytest.fixture
def pair(home: Path) -> Keys:
    return Keys(home / "mine.pem", home / "mine.pub.pem")


@pytest.fixture
def says(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(home, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("name", ["lft/de", "lft/both"])
def test_what_is_signed_answers_and_who_signed_is_said_beside_the_answer(says: Typed, pair: Keys, name: str) -> None:
    plain, _ = says("generate", "--adapter", name, *SHORT, "a red cat")
    out, err = says("generate", "--adapter", name, "--policy", "require", "--key", pair.public, *SHORT, "a red cat")
    assert out == plain
    assert "signed     by key" in err
    assert "mine.pub.pem" in err


USES = {
    "generate": ("generate", "--adapter", "lft/en", "a red cat"),
    "together": ("generate", "--adapter", "lft/de*0.5", "--adapter", "lft/en*0.5", "a red cat"),
    "chat": ("chat", "--adapter", "lft/en"),
    "export": ("adapters", "export", "lft/en", "--to", "peft", "--out", "out"),
    "merge": ("adapters", "export", "0.5*lft/de + 0.5*lft/en", "--to", "merged", "--out", "out"),
}


@pytest.mark.parametrize("use", USES)
def test_what_is_not_signed_is_refused(says: Typed, pair: Keys, use: str, tmp_path: Path) -> None:
    for more in (("--policy", "require", "--key", pair.public), ("--key", pair.public)):
        _, err = says(*USES[use], *more, code=3)
        assert "lft/en:1.0.0: it is not signed" in err
        assert not list(tmp_path.iterdir())


def test_a_warning_goes_on(says: Typed, home: Path, pair: Keys, tmp_path: Path) -> None:
    more = ("--policy", "warn", "--key", pair.public)
    out, _ = says(*USES["export"], "--base", home / "base", *more)
    assert "warning    lft/en:1.0.0: it is not signed" in out
    assert (tmp_path / "out/adapter_config.json").is_file()
    _, err = says("generate", "--adapter", "lft/en", *SHORT, *more, "a red cat")
    assert "warning    lft/en:1.0.0: it is not signed" in err


def test_a_signed_stack_in_an_exported_merge_covers_its_adapters(says: Typed, home: Path, pair: Keys) -> None:
    words = ("adapters", "export", "0.5*lft/both + 0.5*lft/de", "--to", "merged", "--base", home / "base")
    out, _ = says(*words, "--out", "out", "--policy", "require", "--key", pair.public)
    assert out.count("signed     by key") == 2


def test_another_key_is_nobody_trusted(says: Typed, tmp_path: Path) -> None:
    other = keys(tmp_path, "other")
    assert "that key is not trusted" in says("generate", "--adapter", "lft/de", "--key", other.public, "x", code=3)[1]


def test_a_folder_is_signed_by_the_file_beside_it(says: Typed, home: Path, pair: Keys) -> None:
    words = ("generate", "--adapter", home / "en", "--policy", "require", "--key", pair.public, "a red cat")
    assert "it is not signed" in says(*words, code=3)[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--policy", "maybe"), "give one of none, warn, require"),
        (("--policy", "require"), "nobody is trusted"),
        (("--identity", "me@example.org"), "--identity and --issuer belong together"),
        (("--policy", "none", "--key", "pub.pem"), "with --policy none nothing is checked"),
    ],
)
@pytest.mark.parametrize("use", ["generate", "chat", "export"])
def test_options_that_do_not_go_together_are_a_mistake(
    says: Typed, use: str, more: tuple[str, ...], message: str
) -> None:
    words = tuple(word.replace("lft/en", "lft/de") for word in USES[use])
    assert message in says(*words, *more, code=2)[1]


def test_a_run_is_not_signed(says: Typed, pair: Keys) -> None:
    assert "a run is not signed" in says("generate", "--run", "runs/x", "--key", pair.public, "x", code=2)[1]
