"""`lft adapters stack` and what takes a stack for an adapter, as people type it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lft.adapters.store.layout import open_store
from lft.cli.main import run
from tests.adapters.test_stacks import put
from tests.tiny import save_tiny

SHORT = ["--greedy", "--max-new-tokens", "4", "a red cat"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a registry with two adapters, and one with a row of a token."""
    folder = tmp_path_factory.mktemp("home")
    save_tiny(folder / "base", "llama", hidden=64)
    store = open_store(folder / "registry")
    put(store, folder, "de", 1, tokens=())
    put(store, folder, "en", 2, tokens=())
    put(store, folder, "task", 3, below=("de",), tokens=())
    return folder


@pytest.fixture(autouse=True)
def place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFT_HOME", str(home))
    monkeypatch.setenv("LFT_CACHE", str(home / "cache"))


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What a command prints, errors too."""
    found = run(list(words))
    out = capsys.readouterr()
    assert found == code, out.err
    return out.out + (out.err if code else "")


def test_a_stack_is_made_shown_and_asked_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "adapters", "stack", "0.7*lft/de[1] - 0.3*lft/en", "--name", "lft/both")
    assert text.startswith("lft/both:1.0.0: added (stack, sha256:")
    assert "  0.7[1] x lft/de:1.0.0\n" in text
    assert "was there already" in said(
        capsys, "adapters", "stack", "--name", "lft/both", "--", "-0.3*lft/en + 0.7*lft/de[1]"
    )
    shown = said(capsys, "adapters", "show", "lft/both")
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "0.7 x lft/de:1.0.0 in layers 1\n" in shown
    assert "-0.3 x lft/en:1.0.0\n" in shown
    assert "LAYERS" in shown
    assert "stack" in said(capsys, "adapters", "list", "both")
    assert said(capsys, "generate", "--adapter", "lft/both", *SHORT).strip()


def test_several_adapters_answer_as_the_stack_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "adapters", "stack", "0.7*lft/de + 0.3*lft/en", "--name", "lft/sum")
    alone = said(capsys, "generate", "--adapter", "lft/sum", *SHORT)
    assert said(capsys, "generate", "--adapter", "lft/de*0.7", "--adapter", "lft/en*0.3", *SHORT) == alone
    said(capsys, "adapters", "stack", "--chain", "lft/de", "lft/en", "--name", "lft/way")
    chained = said(capsys, "generate", "--adapter", "lft/way", *SHORT)
    assert said(capsys, "generate", "--adapter", "lft/de", "--adapter", "lft/en", *SHORT) == chained


def test_a_stack_is_no_adapter_and_is_not_pushed_before_its_adapters(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "adapters", "stack", "0.7*lft/de + 0.3*lft/en", "--name", "lft/local")
    from lft.adapters.adapter import open_adapter
    from lft.adapters.hub_access import hub_ref
    from lft.adapters.hub_push import prepare
    from lft.adapters.store.checkout import adapter_folder_of
    from lft.adapters.store.leases import leased
    from lft.adapters.store.lookup import resolve
    from lft.cli.common import registry_folder
    from lft.errors import InputError

    store = open_store(registry_folder())
    with leased(store) as lease, pytest.raises(InputError, match=r"is made of lft/.*, which is on no hub"):
        prepare(lease, resolve(store, "lft/local"), hub_ref("me/local"), None)
    with pytest.raises(InputError, match="this may be a stack of adapters"):
        open_adapter(adapter_folder_of("lft/local", store))


def test_show_says_what_lies_below_an_adapter_in_which_layer(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "adapters", "show", "lft/task")
    assert "[1] 1 x lft/de:1.0.0\n" in shown
    assert "[2] 1 x lft/task:1.0.0 (itself)\n" in shown
    assert "  0-1     " in shown


@pytest.mark.parametrize("form", ["merged", "peft", "gguf-lora"])
def test_a_stack_is_exported_by_its_name(capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str) -> None:
    said(capsys, "adapters", "stack", "0.7*lft/de - 0.3*lft/en", "--name", "lft/out")
    text = said(capsys, "adapters", "export", "lft/out", "--to", form, "--out", str(tmp_path / "out"))
    assert "adapter in it" in text
    assert (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["lft/de", "lft/en"], 2, "2 words, and a weighted sum is one"),
        (["0.5*lft/de + 0.5*lft/task"], 3, None),
        (["0.5*lft/en + 0.5*lft/task"], 3, "trained on top of different adapters"),
        (["--rows", "odd", "lft/de"], 2, "exact or mean"),
        (["--files-of", "x", "lft/de"], 2, "x is not among them"),
        (["--chain", "lft/de", "lft/de:1.0.0"], 2, "stands in the stack twice"),
        (["0*lft/de"], 2, "nothing is left of this sum"),
        (["0.5*lft/none"], 3, "neither a folder nor a name in the registry"),
    ],
)
def test_what_cannot_be_stacked_is_said(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, says: str | None
) -> None:
    if says is None:
        said(capsys, "adapters", "stack", *words, "--name", "lft/fine")
    else:
        assert says in said(capsys, "adapters", "stack", *words, "--name", "lft/odd", code=code)
