"""`lft adapters`: what it prints, in 80 columns and without torch; a user's mistake is one message."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lft.adapters.store.layout import open_store
from lft.cli.common import registry_folder
from lft.cli.main import run
from lft.files import seal
from tests.cli.test_start_up import HEAVY
from tests.registry import NAME, adapter, added, new_store, pointed, tree
from tests.run_folders import finished_run

ROOT = Path(__file__).parents[2]
Lft = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def lft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lft:
    """Run `lft adapters` in an empty folder with an empty registry: exit code, stdout and stderr as lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFT_HOME", str(tmp_path))

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = run(["adapters", *arguments])
        captured = capsys.readouterr()
        own = [line for line in captured.out.splitlines() if str(tmp_path) not in line and "sha256:" not in line]
        assert "--json" in arguments or max(map(len, own), default=0) <= 80, captured.out
        return code, captured.out.splitlines(), captured.err.splitlines()

    return call


def good(result: tuple[int, list[str], list[str]]) -> list[str]:
    """What a command printed that ended well and said nothing on stderr."""
    code, out, err = result
    assert (code, err) == (0, [])
    return out


def bad(result: tuple[int, list[str], list[str]], code: int) -> str:
    """The one message of a command that was refused."""
    got, out, err = result
    assert (got, out) == (code, []), err
    assert err[0].startswith("error: ")
    assert not [line for line in err if "Traceback" in line]
    return "\n".join(err)


def made_run(runs: Path, seed: int = 1, name: str = "small", **binding: object) -> Path:
    """A finished run with a real adapter in it."""
    path = finished_run(runs, name=name)
    import shutil

    shutil.rmtree(path / "adapter")
    adapter(path / "adapter", seed, **binding)
    return path


# --- the place -------------------------------------------------------------------------------------------------------


def test_the_registry_lies_in_lft_home_else_in_xdg_data_home_else_in_the_home(monkeypatch, tmp_path: Path) -> None:
    for name in ("LFT_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry_folder() == tmp_path / ".local" / "share" / "lft" / "registry"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert registry_folder() == Path("/data/lft/registry")
    monkeypatch.setenv("LFT_HOME", "/home/lft")
    assert registry_folder() == Path("/home/lft/registry")


# --- add -------------------------------------------------------------------------------------------------------------


def test_a_run_is_added_with_its_history_and_says_what_to_type_next(lft: Lft, tmp_path: Path) -> None:
    path = made_run(Path("runs"), tags={"lang": ["de"]})
    out = good(lft("add", str(path), "--domain", "recipes,food", "--tag", "license=mit", "--alias", "prod"))
    assert re.fullmatch(r"lft/de:1\.0\.0: added \(.* kB, sha256:[0-9a-f]{12}\)", out[0])
    assert out[1:] == [
        "lft/de@prod points to it",
        "  lft adapters show lft/de:1.0.0",
        '  lft generate --adapter lft/de:1.0.0 "your instruction"',
    ]
    said = json.loads("\n".join(good(lft("show", "lft/de@prod", "--json"))))
    assert said["aliases"] == ["prod"]
    assert said["tags"] == {"domain": ["recipes", "food"], "lang": ["de"], "license": ["mit"]}
    training = said["manifest"]["lineage"]["training"]
    assert (training["seed"], training["data"], training["packages"]["torch"]) == (42, "d" * 64, "2.13.0")
    assert [(one["suite"], one["value"]) for one in said["manifest"]["evaluation"]] == [
        ("validation, base alone", "3"),
        ("validation", "2"),
    ]
    assert good(lft("show", NAME, "--recipe")) == (path / "recipe.yaml").read_text().splitlines()


def test_an_adapters_folder_is_added_under_the_name_and_version_that_are_given(lft: Lft, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", bound=False)
    assert good(lft("add", str(folder), "--name", "me/x", "--version", "2.0.0"))[0].startswith("me/x:2.0.0: added")
    assert good(lft("add", str(folder), "--name", "me/x"))[0].startswith("me/x:2.0.0: was there already")


def test_what_is_left_out_and_what_is_missing_below_is_said(lft: Lft, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", sealed=False, below=[{"path": "/gone", "weights": "e" * 64}])
    (folder / "notes.txt").write_text("x")
    seal(folder)
    out = good(lft("add", str(folder)))
    assert out[3:] == [
        "left out, as not part of an adapter: notes.txt",
        "it lies on an adapter that is not in the registry (" + "e" * 12 + "):",
        "  add that one first, then this one again, so that the two stay together",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none"], 3, "there is no such adapter"),
        (["a", "--name", "a/b/c"], 3, "cannot be a name"),
        (["a", "--version", "1"], 3, "is no version"),
        (["a", "--tag", "x"], 2, "is no tag"),
        (["a", "--alias", "1.0.0"], 3, "cannot be an alias"),
        (["unnamed"], 3, "--name namespace/name"),
        (["unfinished"], 3, "this run has no finished adapter"),
        (["damaged"], 3, "truncated"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_added_is_one_message_and_leaves_no_trace(
    lft: Lft, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    adapter(tmp_path / "a")
    adapter(tmp_path / "unnamed", bound=False)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "recipe.yaml").write_text("x")
    adapter(tmp_path / "damaged", sealed=False)
    weights = tmp_path / "damaged" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    assert says in bad(lft("add", *arguments), code)
    assert not (tmp_path / "registry").exists()


# --- list and show ---------------------------------------------------------------------------------------------------


def test_an_empty_registry_says_how_it_is_filled(lft: Lft, tmp_path: Path) -> None:
    assert good(lft("list")) == [
        "the registry is empty; fill it with `lft adapters add RUN`",
        f"  it lies in {tmp_path}/registry",
    ]
    assert good(lft("list", "--lang", "de")) == ["no adapter matches; `lft adapters list` shows them all"]
    assert json.loads("".join(good(lft("list", "--json")))) == []


def filled(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    for seed in (1, 2):
        added(store, tmp_path / "made", seed, base="org/llama-7b", tags={"lang": ["de"], "domain": ["recipes"]})
    long = "a-namespace/a-very-long-name-of-an-adapter-that-goes-on"
    added(store, tmp_path / "made", 3, name=long, base="/models/" + "x" * 60, quantize="nf4")
    added(store, tmp_path / "made", 4, name="me/fr", tags={"lang": ["fr"], "note": ["word" * 30]})


def test_the_list_has_a_line_a_name_in_80_columns(lft: Lft, tmp_path: Path) -> None:
    filled(tmp_path)
    assert good(lft("list")) == [
        "ADAPTER  VERSION  BASE            METHOD    RANK  TAGS",
        "a-namespace/a-very-long-name-of-an-adapter-that-goes-on",
        "         1.0.0    xxxxxxxxxxxxx…  lora nf4     4",
        "lft/de   1.0.1    llama-7b        lora         4  domain=recipes  lang=de",
        "me/fr    1.0.0    tiny            lora         4",
        "  lang=fr  note=" + "word" * 16,
        "  " + "word" * 14,
    ]
    assert len(good(lft("list", "--all"))) == 8


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--lang", "de"], ["lft/de"]),
        (["--lang", "de", "--domain", "recipes"], ["lft/de"]),
        (["--tag", "lang=fr"], ["me/fr"]),
        (["--base", "llama"], ["lft/de"]),
        (["--method", "nf4"], ["a-namespace/a-very-long-name-of-an-adapter-that-goes-on"]),
        (["me/"], ["me/fr"]),
        (["--lang", "fr", "--lang", "de"], []),
    ],
    ids=" ".join,
)
def test_filters_choose(lft: Lft, tmp_path: Path, arguments: list[str], names: list[str]) -> None:
    filled(tmp_path)
    assert [row["name"] for row in json.loads("".join(good(lft("list", "--json", *arguments))))] == names


def test_show_says_what_an_adapter_is_and_draws_where_it_comes_from(lft: Lft, tmp_path: Path) -> None:
    store = new_store(tmp_path)
    low = added(store, tmp_path / "made", 1, name="lft/low", base="org/base", revision="f" * 40).stored
    below = [{"path": "/x", "weights": low.manifest.weights}, {"path": "/y", "weights": "e" * 64}]
    top = adapter(tmp_path / "top", 2, below=below, base="org/base", revision="f" * 40, quantize="nf4")
    good(lft("add", str(top), "--alias", "prod"))
    out = good(lft("show", NAME))
    text = "\n".join(out)
    assert out[0] == "adapter     lft/de:1.0.0 (newest, @prod; 1 version)"
    for wanted in (
        "bound to    weights aaaaaaaaaaaa, tokenizer bbbbbbbbbbbb, 384 embedding rows",
        "trained on  the base in nf4, double quantization",
        "low rank    rank 4 on 2 modules, F32",
        "\nlineage\n"
        "  lft/de:1.0.0  adapter, lora, rank 4\n"
        "  ├── below: lft/low:1.0.0  adapter, lora, rank 4\n"
        "  │   └── base: org/base @ ffffffffffff (weights aaaaaaaaaaaa)\n"
        "  ├── below: an adapter that is not in the registry (eeeeeeeeeeee)\n"
        "  └── base: org/base @ ffffffffffff (weights aaaaaaaaaaaa)\n",
        "\nactive together, lowest first\n"
        "  base org/base in nf4\n"
        "  [1] 1 x lft/low:1.0.0\n"
        "  [2] 1 x not in the registry (eeeeeeeeeeee)\n"
        "  [3] 1 x lft/de:1.0.0 (itself)\n"
        "  LAYERS  MODULES: [adapter] x weight, rank\n"
        "  0-1     q_proj:  [1] x 1, r 4  [3] x 1, r 4\n",
        "adapter_model.safetensors",
    ):
        assert wanted in text, wanted
    assert len(good(lft("show", NAME, "--targets"))) == 3


def test_a_text_of_an_adapter_cannot_steer_the_terminal(lft: Lft, tmp_path: Path) -> None:
    added(new_store(tmp_path), tmp_path / "made", base="\x1b[31mred\x9b", tags={"note": ["\x1b[2J\u202e"]})
    for arguments in (["list"], ["show", NAME], ["tag", NAME]):
        out = good(lft(*arguments))
        assert all(character.isprintable() for line in out for character in line), arguments


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "lft/dee"], 3, "nearest: lft/de"),
        (["show", "lft/de:9.0.0"], 3, "lft/de has 1.0.0"),
        (["show", "lft/de@live"], 3, "there is no lft/de@live"),
        (["show", NAME, "--card", "--json"], 2, "exclude each other"),
        (["show", NAME, "--recipe"], 3, "was not added with the run"),
        (["checkout", "nobody"], 3, "there is no local/nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_not_there_is_one_message(lft: Lft, tmp_path: Path, arguments, code: int, says: str) -> None:
    added(new_store(tmp_path), tmp_path / "made")
    assert says in bad(lft(*arguments), code)


# --- changes ---------------------------------------------------------------------------------------------------------


def test_tags_are_set_removed_and_shown(lft: Lft, tmp_path: Path) -> None:
    added(new_store(tmp_path), tmp_path / "made", tags={"lang": ["de"]})
    assert good(lft("tag", NAME)) == ["lft/de:1.0.0", "  lang: de"]
    assert good(lft("tag", NAME, "lang=de,at", "domain=law")) == ["lft/de:1.0.0", "  domain: law", "  lang: de, at"]
    assert good(lft("tag", NAME, "lang=", "domain=")) == ["lft/de:1.0.0", "  no tags"]
    assert "is no tag" in bad(lft("tag", NAME, "lang"), 2)


def test_an_alias_is_set_moved_shown_and_removed(lft: Lft, tmp_path: Path) -> None:
    store = new_store(tmp_path)
    one, two = (added(store, tmp_path / "made", seed).stored for seed in (1, 2))
    assert good(lft("alias", NAME)) == [NAME, "  no aliases; lft adapters alias ADAPTER ALIAS sets one"]
    assert good(lft("alias", f"{NAME}:1.0.0", "prod")) == ["lft/de@prod -> lft/de:1.0.0"]
    assert good(lft("alias", f"{NAME}:1.0.0", "prod")) == ["lft/de@prod pointed to lft/de:1.0.0 already"]
    was = f" (before: sha256:{one.digest[:12]})"
    assert good(lft("alias", NAME, "prod")) == [f"lft/de@prod -> lft/de:1.0.1{was}"]
    message = bad(lft("alias", f"{NAME}:1.0.0", "prod", "--expect", "1.0.0"), 3)
    assert "somebody moved lft/de@prod meanwhile" in message
    assert good(lft("alias", NAME))[1] == f"  @prod -> lft/de:1.0.1 (sha256:{two.digest[:12]})"
    assert good(lft("alias", NAME, "prod", "--remove")) == ["lft/de@prod: removed"]
    assert "there is no lft/de@prod" in bad(lft("alias", NAME, "prod", "--remove"), 3)


def test_a_version_is_removed_only_when_it_is_named_and_nothing_points_to_it(lft: Lft, tmp_path: Path) -> None:
    store = new_store(tmp_path)
    for seed in (1, 2):
        added(store, tmp_path / "made", seed)
    assert "several versions" in bad(lft("remove", NAME), 2)
    good(lft("alias", f"{NAME}:1.0.0", "prod"))
    assert "lft/de@prod points to lft/de:1.0.0" in bad(lft("remove", f"{NAME}:1.0.0"), 2)
    out = good(lft("remove", f"{NAME}:1.0.0", "--force"))
    assert out == ["lft/de:1.0.0: removed, with prod; `lft adapters gc` frees its room later"]
    assert good(lft("remove", NAME))[0].startswith("lft/de:1.0.1: removed;")
    assert good(lft("list"))[0].startswith("the registry is empty")


def test_gc_frees_in_two_runs_and_keeps_what_the_lock_file_here_names(lft: Lft, tmp_path: Path) -> None:
    added(new_store(tmp_path), tmp_path / "made")
    good(lft("lock", NAME))
    good(lft("remove", NAME))
    assert good(lft("gc", "--grace", "0"))[:2] == ["4 blobs needed", "0 blobs moved to the trash (0.0 kB)"]
    (tmp_path / "adapters" / "lft.lock").rename(tmp_path / "other.lock")
    assert good(lft("gc", "--grace", "0", "--lock", "other.lock"))[0] == "4 blobs needed"
    before = tree(tmp_path / "registry")
    assert "4 blobs would be moved to the trash" in good(lft("gc", "--grace", "0", "--dry-run"))[1]
    assert tree(tmp_path / "registry") == before
    assert good(lft("gc", "--grace", "0"))[1].startswith("4 blobs moved to the trash (")
    assert good(lft("gc", "--grace", "0"))[2].startswith("4 blobs removed from the trash (")
    assert good(lft("gc"))[0] == "0 blobs needed"


def test_fsck_ends_with_3_where_something_is_wrong_and_says_what(lft: Lft, tmp_path: Path) -> None:
    stored = added(new_store(tmp_path), tmp_path / "made").stored
    out = good(lft("fsck"))
    assert out[-1].startswith("1 version, 0 aliases, 4 blobs (")
    assert out[-1].endswith("all as it should be (every byte read)")
    path = open_store(tmp_path / "registry").blob(stored.manifest.weights)
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    code, out, err = lft("fsck")
    assert (code, err) == (3, [])
    assert out[:2] == [str(path), "  damaged: its sha256 is another one"]
    assert "1 problem" in out[-1]
    code, out, _ = lft("fsck", "--json", "--quick")
    assert (code, [one["what"][:26] for one in json.loads("".join(out))["findings"]]) == (
        3,
        ["adapter_model.safetensors:"],
    )


def test_lock_pins_checks_updates_and_drops(lft: Lft, tmp_path: Path) -> None:
    store = new_store(tmp_path)
    first = added(store, tmp_path / "made", 1).stored
    assert good(lft("lock", NAME)) == [
        "adapters/lft.lock: 1 name, 1 version with their parents",
        f"  lft/de -> lft/de:1.0.0 (sha256:{first.digest[:12]})",
    ]
    second = added(store, tmp_path / "made", 2).stored
    message = bad(lft("lock", "--check"), 3)
    assert "1 thing not as locked" in message
    assert f"lft/de means lft/de:1.0.1 now; locked is lft/de:1.0.0 ({first.digest[:12]})" in message
    assert good(lft("lock", f"{NAME}:1.0.1"))[0] == "adapters/lft.lock: 2 names, 2 versions with their parents"
    assert good(lft("lock", "--update"))[1:] == [f"  lft/de -> lft/de:1.0.1 (sha256:{second.digest[:12]})"]
    assert good(lft("lock", "--check")) == ["adapters/lft.lock: 1 version, whole and as locked"]
    assert good(lft("lock", "--drop", NAME)) == ["adapters/lft.lock: 1 name, 1 version with their parents"]
    pointed(store, "prod", first)
    good(lft("lock", f"{NAME}@prod"))
    pointed(store, "prod", second)
    good(lft("remove", f"{NAME}:1.0.0"))
    message = bad(lft("lock", "--check"), 3)
    assert f"lft/de@prod means lft/de:1.0.1 now; locked is lft/de:1.0.0 ({first.digest[:12]})" in message
    pointed(store, "prod", None)
    assert "there is no lft/de@prod in the registry" in bad(lft("lock", "--check"), 3)
    store.blob(first.digest).unlink()
    assert f"lft/de:1.0.0: blob {first.digest[:12]} is missing" in bad(lft("lock", "--check"), 3)
    store.blob(second.manifest.weights).unlink()
    assert "adapter_model.safetensors is missing" in bad(lft("lock", "--check"), 3)
    assert "name adapters to lock" in bad(lft("lock"), 2)
    assert "there is no lock file" in bad(lft("lock", "--check", "--file", "none"), 3)


def test_checkout_prints_a_folder_with_the_adapter(lft: Lft, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    good(lft("add", str(folder)))
    (printed,) = good(lft("checkout", NAME))
    assert tree(Path(printed)).keys() == tree(folder).keys()


def test_reindex_counts(lft: Lft, tmp_path: Path) -> None:
    filled(tmp_path)
    assert good(lft("reindex")) == ["4 versions in the index"]


def test_a_registry_of_another_format_is_one_message(lft: Lft, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "format").write_text("7")
    for arguments in (["list"], ["show", NAME], ["gc"], ["fsck"], ["reindex"]):
        assert "format '7'" in bad(lft(*arguments), 3)


# --- what it costs to start ------------------------------------------------------------------------------------------

LIGHT = ("list", "show", "tag", "alias", "remove", "gc", "fsck", "lock", "reindex", "checkout")
COMMANDS = [
    (["--help"], 0), (["list"], 0), (["list", "--lang", "de"], 0), (["show", NAME], 0), (["tag", NAME, "a=b"], 0),
    (["alias", NAME, "prod"], 0), (["lock", NAME], 0), (["gc"], 0), (["fsck"], 0), (["reindex"], 0),
    (["checkout", NAME], 0), (["remove", NAME, "--force"], 0),
]  # fmt: skip


def probed(home: Path, *arguments: str) -> list[str]:
    """Exit code, and which of the heavy modules were loaded."""
    probe = (
        "import sys\nfrom lft.cli.main import run\ncode = run(sys.argv[1:])\n"
        f"print(); print(code, *[name for name in {[*HEAVY, 'lft.recipe', 'ruamel', 'rich']!r} if name in sys.modules])"
    )
    words = [sys.executable, "-c", probe, "adapters", *arguments]
    environment = {"LFT_HOME": str(home), "PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(home)}
    done = subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    ("arguments", "code"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_no_heavy_module_is_loaded_to_look_after_adapters(arguments: list[str], code: int, tmp_path: Path) -> None:
    added(new_store(tmp_path), tmp_path / "made")
    assert probed(tmp_path, *arguments) == [str(code)]


def test_adding_needs_numpy_and_no_torch(tmp_path: Path) -> None:
    code, *loaded = probed(tmp_path, "add", str(adapter(tmp_path / "a")))
    assert code == "0"
    assert set(loaded) <= {"numpy", "lft.recipe"}


# --- merges ----------------------------------------------------------------------------------------------------------


def test_a_sum_may_begin_with_a_minus(lft: Lft, tmp_path: Path) -> None:
    adapter(tmp_path / "a", 1)
    adapter(tmp_path / "b", 2)
    out = good(lft("merge", "-0.3*./a + ./b", "--name", "me/c"))
    assert out[0] == "me/c:1.0.0: merged by cat (exact)"
    assert {line.split()[0] for line in out[1:]} == {"-0.3", "1.0"}
    assert good(lft("merge", "-0.3*./a + ./b", "--out", "d")) == ["d: merged by cat (exact)", *out[1:]]
    assert good(lft("merge", "--out", "e", "--", "-0.3*./a + ./b"))[1:] == out[1:]


def test_a_misspelt_option_of_a_merge_is_still_one(lft: Lft, tmp_path: Path) -> None:
    adapter(tmp_path / "a", 1)
    assert "No such option: --nmae" in bad(lft("merge", "-0.3*./a", "--nmae", "me/c"), 2)
    assert "No such option: -o" in bad(lft("merge", "./a", "-o", "x"), 2)
