"""A hub model, from a hub on the loopback. Clients run in a subprocess: the library reads the address on import."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lft.base.headers import INDEX
from tests.hub_server import TOKEN, HubServer
from tests.tiny import save_tiny

ROOT = Path(__file__).resolve().parents[2]
CLIENT = """
import json, sys
from pathlib import Path
import lft.hub.waits
from lft.base.resolve import resolve_base
from lft.errors import LftError
from lft.recipe.schema import Base
said = []
lft.hub.waits.ANSWER = float(sys.argv[3])
try:
    ref = resolve_base(Base(**json.loads(sys.argv[1])), Path(sys.argv[2]), said.append)
except LftError as error:
    print(json.dumps({"error": str(error), "exit": error.exit_code, "said": said}))
else:
    files = sorted(p.name for p in ref.folder.iterdir())
    print(json.dumps({"revision": ref.revision, "kind": ref.kind, "files": files, "said": said,
                      "torch": "torch" in sys.modules}))
"""


@dataclass
class Hub:
    server: HubServer
    home: Path

    def resolve(
        self, model: str, *, token: str | None = None, offline: bool = False, answer: float = 30, **base: object
    ) -> dict:
        recipe = json.dumps({"model": model, **base})
        command = [sys.executable, "-c", CLIENT, recipe, str(self.home / "lft"), str(answer)]
        env = self.server.environment(self.home, token=token, offline=offline) | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, cwd=self.home, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    def half_written(self) -> list[Path]:
        """Anything that a failed run left under a snapshot."""
        return [p for p in self.home.rglob("snapshots/*/*") if not p.resolve().exists()]

    def cached(self, name: str) -> Path:
        """A file of the one commit in the cache."""
        (found,) = self.home.rglob(f"snapshots/*/{name}")
        return found

    def lose_listing(self) -> None:
        """As if another program had fetched the files one by one."""
        for tree in self.home.rglob("trees"):
            shutil.rmtree(tree)


@pytest.fixture
def hub(tmp_path, llama):
    shutil.copytree(llama, tmp_path / "repos/org/tiny")
    (tmp_path / "home").mkdir()
    with HubServer(tmp_path / "repos") as server:
        yield Hub(server, tmp_path / "home")


def test_a_hub_model_is_fetched_at_the_commit_of_its_branch_without_pickles_or_code(hub):
    repo = hub.server.root / "org/tiny"
    for name in ("pytorch_model.bin", "modeling_evil.py", "README.md", "consolidated.00.safetensors"):
        (repo / name).write_bytes(b"no")
    (repo / "onnx").mkdir()
    (repo / "onnx/config.json").write_text("{}")
    found = hub.resolve("org/tiny")
    assert found["revision"] == hub.server.commit("org/tiny")
    assert found["kind"] == "hub"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(found["files"])
    assert not {"pytorch_model.bin", "modeling_evil.py", "README.md", "consolidated.00.safetensors", "onnx"} & set(
        found["files"]
    )
    assert not found["torch"]


def test_a_pinned_commit_that_is_cached_asks_the_hub_nothing(hub):
    commit = hub.server.commit("org/tiny")
    assert hub.resolve("org/tiny", revision=commit)["revision"] == commit
    hub.server.requests.clear()
    assert hub.resolve("org/tiny", revision=commit)["revision"] == commit
    assert hub.server.requests == []


def test_a_branch_that_moved_is_fetched_anew_and_the_old_commit_stays(hub):
    first = hub.resolve("org/tiny")["revision"]
    config = hub.server.root / "org/tiny/config.json"
    config.write_text(config.read_text() + "\n")
    second = hub.resolve("org/tiny", revision="main")["revision"]
    assert first != second
    assert hub.resolve("org/tiny", revision=first)["revision"] == first


def test_without_network_the_cached_commit_is_used_and_said(hub):
    commit = hub.resolve("org/tiny")["revision"]
    hub.server.stop()
    found = hub.resolve("org/tiny")
    assert found["revision"] == commit
    assert commit in found["said"][0]
    assert hub.resolve("org/tiny", offline=True)["revision"] == commit


def test_a_hub_out_of_reach_is_one_clear_error(hub):
    hub.server.stop()
    found = hub.resolve("org/tiny")
    assert found["exit"] == 3
    assert "out of reach" in found["error"]
    assert "fix:" in found["error"]


def test_offline_mode_without_a_cached_model_names_the_switch(hub):
    found = hub.resolve("org/tiny", offline=True)
    assert found["exit"] == 3
    assert "HF_HUB_OFFLINE" in found["error"]


def test_an_unknown_model_and_an_unknown_revision_are_different_errors(hub):
    assert "no such model" in hub.resolve("org/tyni")["error"]
    assert "no such revision" in hub.resolve("org/tiny", revision="v9")["error"]
    assert "no such revision" in hub.resolve("org/tiny", revision="0" * 40)["error"]


def test_a_gated_model_needs_its_terms_accepted_and_comes_with_the_token(hub):
    hub.server.faults.gated.add("org/tiny")
    found = hub.resolve("org/tiny")
    assert found["exit"] == 3
    assert "terms" in found["error"]
    assert "hf auth login" in found["error"]
    assert hub.resolve("org/tiny", token=TOKEN)["kind"] == "hub"


def test_a_private_model_names_the_login(hub):
    hub.server.faults.private.add("org/tiny")
    assert "hf auth login" in hub.resolve("org/tiny")["error"]


def test_a_repository_with_pickles_only_is_refused_before_anything_is_fetched(hub):
    repo = hub.server.root / "org/tiny"
    (repo / "model.safetensors").rename(repo / "pytorch_model.bin")
    found = hub.resolve("org/tiny")
    assert "pickle" in found["error"]
    assert not any("/resolve/" in line for line in hub.server.requests)


def test_an_adapter_and_a_gguf_repository_are_named_for_what_they_are(hub):
    for name, file in (("lora", "adapter_config.json"), ("quant", "model-q4.gguf")):
        folder = hub.server.root / "org" / name
        folder.mkdir()
        (folder / file).write_text("{}")
    assert "adapter" in hub.resolve("org/lora")["error"]
    assert "model-q4.gguf" in hub.resolve("org/quant")["error"]


def test_a_damaged_download_is_found_by_its_header(hub):
    hub.server.faults.flipped.add("org/tiny")
    found = hub.resolve("org/tiny")
    assert found["exit"] == 3
    assert "model.safetensors" in found["error"]


def test_an_index_whose_shards_the_repository_lacks_is_an_error(hub):
    repo = hub.server.root / "org/tiny"
    (repo / "model.safetensors").rename(repo / "model-00001-of-00002.safetensors")
    (repo / INDEX).write_text(json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}))
    assert "1 of 1 shards are missing" in hub.resolve("org/tiny")["error"]


def test_a_server_at_fault_is_not_taken_for_a_missing_model(hub):
    hub.server.faults.broken.add("org/tiny")
    found = hub.resolve("org/tiny")
    assert found["exit"] == 3
    assert "out of order (status 500)" in found["error"]


def test_remote_code_needs_a_full_commit_and_only_then_brings_python_files(hub):
    (hub.server.root / "org/tiny/modeling_own.py").write_text("")
    assert hub.resolve("org/tiny", trust_remote_code=True)["exit"] == 2
    commit = hub.server.commit("org/tiny")
    assert "modeling_own.py" in hub.resolve("org/tiny", trust_remote_code=True, revision=commit)["files"]
    assert hub.half_written() == []


def test_a_weight_difference_is_found_in_the_cache_without_network(hub):
    """Its shards have names of their own; without them in mind, every use would ask the hub again."""
    at = hub.server.root / "org/diff"
    at.mkdir()
    for name in ("config.json", "diff.json"):
        (at / name).write_text("{}")
    (at / "diff-model.safetensors").write_bytes(b"any")
    fetched, again = hub.resolve("org/diff"), hub.resolve("org/diff", offline=True)
    assert "weight difference" in fetched["error"]
    assert "weight difference" in again["error"]  # it was found, and refused for what it is
    assert any("cached commit" in line for line in again["said"])


@pytest.fixture
def sharded(hub, tmp_path):
    """A cached model of several shards of which one is not there, as a killed download leaves it."""
    shutil.rmtree(hub.server.root / "org/tiny")
    save_tiny(hub.server.root / "org/tiny", "llama", max_shard_size="60KB")
    commit = hub.resolve("org/tiny")["revision"]
    lost = sorted(hub.home.rglob("snapshots/*/*.safetensors"))[1]
    lost.resolve().unlink()
    lost.unlink()
    return commit, lost.name


@pytest.mark.parametrize("listed", [True, False])
def test_offline_a_commit_that_lacks_a_shard_is_not_taken_for_whole(hub, sharded, listed):
    commit, lost = sharded
    if not listed:
        hub.lose_listing()
    for revision in (None, commit):
        found = hub.resolve("org/tiny", offline=True, revision=revision)
        assert found["exit"] == 3
        assert f"the cached commit {commit[:12]} is not whole" in found["error"]
        assert lost in found["error"]
        assert "with the hub in reach" in found["error"]


@pytest.mark.parametrize("listed", [True, False])
def test_with_the_hub_in_reach_only_what_is_missing_is_fetched(hub, sharded, listed):
    commit, lost = sharded
    if not listed:
        hub.lose_listing()
    hub.server.requests.clear()
    found = hub.resolve("org/tiny", revision=commit)
    assert lost in found["files"]
    fetched = {line.split("/")[-1].split(" ")[0] for line in hub.server.asked("GET", "/resolve/")}
    assert fetched == {lost}
    assert hub.resolve("org/tiny", offline=True, revision=commit)["revision"] == commit


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_cached_file_that_is_cut_short_is_named_offline_and_fetched_again_online(hub, name):
    hub.resolve("org/tiny")
    blob = hub.cached(name).resolve()
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-7])
    assert f"{name} is missing or cut short" in hub.resolve("org/tiny", offline=True)["error"]
    assert name in hub.resolve("org/tiny")["files"]
    assert hub.cached(name).read_bytes() == whole


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_offline_a_commit_without_a_listing_needs_configuration_weights_and_tokenizer(hub, name):
    hub.resolve("org/tiny")
    hub.lose_listing()
    assert "error" not in hub.resolve("org/tiny", offline=True)
    hub.cached(name).unlink()
    found = hub.resolve("org/tiny", offline=True)
    assert "is not whole" in found["error"]
    assert name.partition(".")[0] in found["error"]


def test_a_busy_hub_is_asked_again_when_it_says_and_not_slept_for_hours(hub):
    hub.server.faults.statuses["org/tiny"], hub.server.faults.retry_after = [429, 429], 1
    assert hub.resolve("org/tiny")["kind"] == "hub"
    shutil.rmtree(hub.home / "hub")
    hub.server.faults.statuses["org/tiny"], hub.server.faults.retry_after = [429], 3600
    assert "start again in 3600 s" in hub.resolve("org/tiny")["error"]
    hub.server.faults.after_info["org/tiny"] = lambda: hub.server.faults.statuses.update({"org/tiny": [429] * 40})
    assert "start again in 3600 s" in hub.resolve("org/tiny")["error"]


def test_a_hub_that_never_answers_is_out_of_reach_after_the_limit(hub):
    commit = hub.resolve("org/tiny")["revision"]
    hub.server.faults.mute.add("org/tiny")
    assert hub.resolve("org/tiny", answer=1)["revision"] == commit
    shutil.rmtree(hub.home / "hub")
    assert "out of reach" in hub.resolve("org/tiny", answer=1)["error"]
