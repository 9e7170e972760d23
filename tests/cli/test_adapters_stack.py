"""`lft adapters stack` and what takes a stack for an adapter, as people type it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lft.adapters.store.add import Origin, add_adapter
from lft.adapters.store.checkout import materialise
from lft.adapters.store.layout import open_store
from lft.adapters.store.lookup import resolve
from lft.base.binding import Binding
from tests.adapters.test_stacks import put
from tests.typed import Typed, bound_anew, registry_of

Says = Callable[..., str]
SHORT = ["--greedy", "--max-new-tokens", "4", "a red cat"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a registry with two adapters, and one with a row of a token."""
    folder = tmp_path_factory.mktemp("home")
    store = registry_of(folder, "de", "en")
    put(store, folder, "task", 3, below=("de",), tokens=())
    add_adapter(store, bound_anew(folder / "en", folder / "nf4", quantize="nf4"), Origin("lft/nf4"))
    return folder


@pytest.fixture
def said(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """Run lft: what it prints, with the errors where it is to fail."""
    typed = Typed(home, home, monkeypatch, capsys)

    def call(*words: object, code: int = 0) -> str:
        found = typed(*words, code=code)
        return found.out + (found.err if code else "")

    return call


def test_a_stack_is_made_shown_and_asked_by_its_name(said: Says) -> None:
    text = said("adapters", "stack", "0.7*lft/de[1] - 0.3*lft/en", "--name", "lft/both")
    assert text.startswith("lft/both:1.0.0: added (stack, sha256:")
    assert "  0.7[1] x lft/de:1.0.0\n" in text
    assert "was there already" in said("adapters", "stack", "--name", "lft/both", "--", "-0.3*lft/en + 0.7*lft/de[1]")
    shown = said("adapters", "show", "lft/both")
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "0.7 x lft/de:1.0.0 in layers 1\n" in shown
    assert "-0.3 x lft/en:1.0.0\n" in shown
    assert "LAYERS" in shown
    assert "stack" in said("adapters", "list", "both")
    assert said("generate", "--adapter", "lft/both", *SHORT).strip()


def test_several_adapters_answer_as_the_stack_of_them(said: Says) -> None:
    said("adapters", "stack", "0.7*lft/de + 0.3*lft/en", "--name", "lft/sum")
    alone = said("generate", "--adapter", "lft/sum", *SHORT)
    assert said("generate", "--adapter", "lft/de*0.7", "--adapter", "lft/en*0.3", *SHORT) == alone
    assert said("generate", "--adapter", "0.7*lft/de + 0.3*lft/en", *SHORT) == alone
    assert "lft/enn: there is no such adapter" in said("generate", "--adapter", "0.7*lft/de + lft/enn", *SHORT, code=3)
    said("adapters", "stack", "--chain", "lft/de", "lft/en", "--name", "lft/way")
    chained = said("generate", "--adapter", "lft/way", *SHORT)
    assert said("generate", "--adapter", "lft/de", "--adapter", "lft/en", *SHORT) == chained


def test_a_stack_is_no_adapter_and_is_not_pushed_before_its_adapters(said: Says) -> None:
    said("adapters", "stack", "0.7*lft/de + 0.3*lft/en", "--name", "lft/local")
    from lft.adapters.adapter import open_adapter
    from lft.adapters.hub_push import prepare
    from lft.adapters.store.checkout import adapter_folder_of
    from lft.adapters.store.leases import leased
    from lft.cli.common import registry_folder
    from lft.errors import InputError
    from lft.hub.access import hub_ref

    store = open_store(registry_folder())
    with leased(store) as lease, pytest.raises(InputError, match=r"is made of lft/.*, which is on no hub"):
        prepare(lease, resolve(store, "lft/local"), hub_ref("me/local"), None)
    with pytest.raises(InputError, match="this may be a stack of adapters"):
        open_adapter(adapter_folder_of("lft/local", store))


def test_show_says_what_lies_below_an_adapter_in_which_layer(said: Says) -> None:
    shown = said("adapters", "show", "lft/task")
    assert "[1] 1 x lft/de:1.0.0\n" in shown
    assert "[2] 1 x lft/task:1.0.0 (itself)\n" in shown
    assert "  0-1     " in shown


@pytest.mark.parametrize("form", ["merged", "peft", "gguf-lora"])
def test_a_stack_is_exported_by_its_name(said: Says, tmp_path: Path, form: str) -> None:
    said("adapters", "stack", "0.7*lft/de - 0.3*lft/en", "--name", "lft/out")
    text = said("adapters", "export", "lft/out", "--to", form, "--out", str(tmp_path / "out"))
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
def test_what_cannot_be_stacked_is_said(said: Says, words: list[str], code: int, says: str | None) -> None:
    if says is None:
        said("adapters", "stack", *words, "--name", "lft/fine")
    else:
        assert says in said("adapters", "stack", *words, "--name", "lft/odd", code=code)


def test_a_stack_of_a_qlora_and_a_lora_stands_on_the_base_that_was_chosen(said: Says, home: Path) -> None:
    both = ("adapters", "stack", "0.5*lft/de + 0.5*lft/nf4")
    refused = said(*both, "--name", "lft/mixed", code=3)
    assert re.search(r"lft/de:1.0.0 (was trained )?on the base as it is stored", refused)
    assert re.search(r"lft/nf4:1.0.0 (was trained )?on the base rounded to nf4", refused)
    assert "--base-of lft/" in refused
    store = open_store(home / "registry")
    for name, quantize in (("nf4", "nf4"), ("de", None)):
        said(*both, "--name", f"lft/on-{name}", "--base-of", f"lft/{name}")
        folder = materialise(store, resolve(store, f"lft/on-{name}").digest)
        assert Binding.load(folder).quantize == quantize
    assert "x is not among them" in said(*both, "--name", "lft/mixed", "--base-of", "x", code=2)
    assert "was trained on the base" in said(
        "generate", "--adapter", "lft/de*0.5", "--adapter", "lft/nf4*0.5", *SHORT, code=3
    )
