"""A suite's rows from the hub, through the real client against one on the loopback; then again without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.hub_server import HubServer

CLIENT = """
import json, sys
from pathlib import Path
from lft.errors import LftError
from lft.evaluate.suite import items_of
from lft.evaluate.suite_schema import Suite

told = dict(name="mine", version=1, about="x", group="out-of-domain", licence="x", origin="x",
            prompt={"en": "Say {headline}"}, reference="{body}")
for cache, part in json.loads(sys.argv[1]):
    notes = []
    try:
        found = items_of(Suite(**told, data=(part,)), False, Path(cache), notes.append)
        answer = {"asked": [i.instruction for i in found.items], "digest": found.digest, "places": found.places,
                  "left_out": found.left_out}
    except LftError as error:
        answer = {"error": str(error)}
    print("ANSWER", json.dumps({**answer, "notes": notes}), flush=True)
"""
CONFIGS = "---\nconfigs:\n- config_name: en\n  data_files: [{split: test, path: en.jsonl}]\n- config_name: de\n  data_files: [{split: test, path: de.jsonl}]\n---\n"  # noqa: E501


def asked(endpoint: str, home: Path, queries: list[tuple[str, dict]], offline: bool = False) -> list[dict]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    own |= {"HF_HUB_DISABLE_XET": "1"} | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    command = [sys.executable, "-c", CLIENT, json.dumps(queries)]
    done = subprocess.run(
        command, env=kept | own, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
    )
    answers = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(answers) == len(queries), done.stderr[-3000:]
    return answers


def test_items_are_drawn_from_the_hub_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "datasets" / "user" / "news"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(CONFIGS)
    for lang in ("en", "de"):
        rows = [json.dumps({"headline": f"{lang} {n}", "body": "text"}) + "\n" for n in range(30)]
        (folder / f"{lang}.jsonl").write_text("".join(rows))
    part = {"path": "user/news", "config": "en", "lang": "en", "limit": 5}
    cache = str(tmp_path / "cache")
    with HubServer(tmp_path / "hub") as server:
        endpoint, commit = server.endpoint, server.commit("datasets/user/news")
        queries = [(cache, part), (cache, part), (cache, {**part, "split": "tset"}), (cache, {**part, "config": None})]
        first, again, no_split, no_config = asked(endpoint, tmp_path / "home", queries)
    assert len(first["asked"]) == 5
    assert all(text.startswith("Say en ") for text in first["asked"])
    assert first["left_out"] == {"not drawn": 25}
    assert first["places"] == [f"user/news@{commit}"]
    assert first["notes"] == ["user/news: drawing items of mine from the hub"]
    assert again == first | {"notes": []}
    assert "no split `tset`; there is test" in no_split["error"]
    assert "several configurations (en, de)" in no_config["error"]
    without, other = asked(endpoint, tmp_path / "none", [(cache, part), (cache, {**part, "limit": 6})], offline=True)
    assert without["digest"] == first["digest"]
    assert "the hub was not reached" in without["notes"][0]
    assert "the hub cannot be reached" in other["error"]
