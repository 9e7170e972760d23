"""Data sets of the hub, through the real client libraries against a hub on the loopback (each in its own process)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_server import HubServer

CLIENT = """
import json, sys, tempfile
from pathlib import Path
from lft.data.sources import open_split
from lft.data.streaming import stream_split
from lft.errors import LftError
from lft.recipe.schema import Data, Source

for repo, revision, streaming in json.loads(sys.argv[1]):
    data, notes = Data(train=(Source(path=repo, revision=revision),)), []
    try:
        if streaming:
            found = stream_split(data, "train", seed=1, notify=notes.append)
        else:
            found = open_split(data, "train", seed=1, notify=notes.append, cache=Path(tempfile.mkdtemp()))
        answer = {"outputs": [e.output for e in found], "digest": found.digest, "verdicts": found.verdicts}
    except LftError as error:
        answer = {"error": str(error), "exit": error.exit_code}
    print("ANSWER", json.dumps({**answer, "notes": notes}), flush=True)
"""
CONFIGS = "---\nconfigs:\n- config_name: en\n  data_files: en.jsonl\n- config_name: de\n  data_files: de.jsonl\n---\n"


def row(n: int) -> str:
    return json.dumps({"input": f"question {n}", "output": f"answer {n}"}) + "\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    files = {
        "user/mini/train.jsonl": row(1) + row(2),
        "user/mini/validation.jsonl": row(3),
        "user/broken/train.jsonl": row(1) + '{"input": "cut',
        "user/script/script.py": "raise SystemExit('this must never run')",
        "user/empty/README.md": "nothing but words",
        "user/configs/README.md": CONFIGS,
        "user/configs/en.jsonl": row(1),
        "user/configs/de.jsonl": row(2),
        "user/columns/train.jsonl": '{"question": "q", "response": "r"}\n',
        "gated/mini/train.jsonl": row(1),
    }
    for name, text in files.items():
        path = root / "datasets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def asked(endpoint: str, home: Path, queries: list[tuple[str, str | None, bool]], *, offline: bool = False):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    own |= {"HF_HUB_DISABLE_XET": "1"} | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(queries)],
        env=kept | own,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    answers = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(answers) == len(queries), done.stderr[-3000:]
    return answers


def test_a_hub_data_set_is_read_at_its_commit_then_again_without_the_hub(root, tmp_path):
    with HubServer(root) as server:
        endpoint, commit = server.endpoint, server.commit("datasets/user/mini")
        ways = [("user/mini", revision, way) for revision in (None, "main", commit) for way in (False, True)]
        online = asked(endpoint, tmp_path, ways)
    for answer in online:
        assert answer["outputs"] == ["answer 1", "answer 2"]
        assert answer["verdicts"] == ["user/mini: longform (columns input and output, no instruction)"]
        assert answer["notes"] == []
    assert len({answer["digest"] for answer in online[::2]}) == 1

    another = ("user/mini", "a" * 40, False)
    for offline in (True, False):  # told to be offline, or simply without a line: the hub above is gone
        later = asked(endpoint, tmp_path, [*ways, another, (*another[:2], True)], offline=offline)
        assert [answer.get("digest") for answer in later[:-2]] == [answer["digest"] for answer in online]
        assert f"using commit {commit[:12]} of the cache" in later[0]["notes"][0]
        assert later[-4]["notes"] == [], "a pinned commit that is there needs no remark"
        for answer in later[-2:]:
            assert "not in its cache" in answer["error"]
            assert f"only commit {commit[:12]}" in answer["error"]


def test_each_way_to_fail_at_the_hub_is_one_clear_error(root, tmp_path):
    expected = {
        ("user/absent", None): "no such data set on the hub, or it is private",
        ("user/mini", "v9"): "no revision `v9`",
        ("gated/mini", None): "is gated",
        ("user/script", None): "a program of its repository, which is never run",
        ("user/empty", None): "no data files",
        ("user/configs", None): "several configurations (en, de)",
        ("user/broken", None): "cannot be read",
        ("user/columns", None): "`response` looks like `output`",
    }
    queries = [(*query, streaming) for query in expected for streaming in (False, True)]
    with HubServer(root) as server:
        server.faults.gated.add("datasets/gated/mini")
        answers = asked(server.endpoint, tmp_path, queries)
    for (repo, revision, _), answer in zip(queries, answers, strict=True):
        said = answer["error"]
        assert expected[repo, revision] in said
        assert said.startswith(f"{repo}")
        assert "\n  fix: " in said
        assert "Traceback" not in said
        assert answer["exit"] == 3


def test_without_hub_and_cache_the_error_names_the_way_out(tmp_path):
    answers = asked("http://127.0.0.1:9", tmp_path, [("user/mini", None, False), ("user/mini", None, True)])
    for answer in answers:
        assert "the hub cannot be reached and the data set is not in its cache" in answer["error"]
        assert "give a file or folder" in answer["error"]
