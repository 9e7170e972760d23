"""Data sets pushed to a hub on the loopback: what leaves this machine, what others get, what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lft.corpus.card import use_line
from lft.corpus.dataset import write_dataset
from lft.corpus.document import Pair
from lft.corpus.load import load_build
from lft.corpus.push import as_shared
from lft.corpus.step import finish, read_records
from lft.files import new_folder
from tests.hub_client import LFT, Done, Machine
from tests.hub_server import TOKEN, HubServer

REPO = "datasets/me/help"  # as the server calls it
FILE = """\
name: help
output: {home}/builds
sources:
  - {{name: a, kind: text, path: "{home}/texts/{{lang}}/pages", langs: [en, de], licence: CC-BY-4.0}}
instruct: {{backend: {{kind: openai, model: m, url: "http://gpu7:8000/v1"}}}}
screen: {{round_trip: {{model: {home}/models/small}}}}
write: {{validation: 0.2, test: 0, formats: [{formats}]}}
"""
READER = """
import json, sys, tempfile
from pathlib import Path
from lft.data.sources import open_split
from lft.recipe.schema import Data
for part in ("train", "validation"):
    found = open_split(Data(train=sys.argv[1]), part, seed=1, notify=print, cache=Path(tempfile.mkdtemp()))
    print("ROWS", json.dumps(sorted([one.turns[0].content, one.output] for one in found)))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    (tmp_path / "repos").mkdir()
    with HubServer(tmp_path / "repos") as running:
        yield running


@pytest.fixture
def here(server: HubServer, tmp_path: Path) -> Machine:
    return Machine(server, tmp_path / "home" / "anna")


def pairs(number: int = 12) -> list[Pair]:
    return [
        Pair(f"Tell me about topic {n}.", f"Topic {n} is explained in the file /etc/passwd and elsewhere.", "a", "",
             f"{n}", "de" if n % 2 else "en", "CC-BY-4.0", "instruction", where=f"page-{n}.txt", scores={"leak": 0.1})
        for n in range(number)
    ]  # fmt: skip


def built(machine: Machine, rows: Sequence[Pair] | None = None, formats: str = "jsonl") -> Path:
    """A build's folder with a finished data set."""
    root = machine.home / "builds" / "help"
    root.mkdir(parents=True, exist_ok=True)
    (root / "help.yaml").write_text(FILE.format(home=machine.home, formats=formats))
    lines = (json.dumps(one.record()) + "\n" for one in (pairs() if rows is None else rows))
    (root / "pairs.jsonl").write_text("".join(lines))
    with new_folder(root / "6-write") as draft:
        report = write_dataset(load_build(root / "help.yaml"), root / "pairs.jsonl", {}, draft, [])
        finish(draft, "digest", report)
    return root


def push(machine: Machine, *more: str, folder: str = "builds/help", token: str | None = TOKEN) -> Done:
    return machine.command("corpus", "push", folder, "me/help", *more, token=token)


def refused(machine: Machine, *more: str, **options: Any) -> str:
    done = push(machine, *more, **options)
    assert done.code == 3, done.err
    return done.one_message


def there(server: HubServer, branch: str = "main") -> dict[str, str]:
    folder = server.branch(REPO, branch)
    return {path.name: path.read_text(errors="replace") for path in folder.iterdir() if path.name != ".gitattributes"}


@pytest.mark.parametrize("formats", ["jsonl", "parquet"])
def test_a_pushed_data_set_is_read_from_the_hub_as_it_was_written(
    server: HubServer, here: Machine, tmp_path: Path, formats: str
) -> None:
    root = built(here, formats=formats)
    done = push(here)
    assert done.code == 0, done.err
    assert set(there(server)) == {
        "README.md", "build.yaml", "report.md", f"train.{formats}", f"validation.{formats}",
    }  # fmt: skip
    assert server.asked("POST", "/commit/main", "-> 200")
    assert "lft finetune quickstart data.train=me/help" in done.out
    reader = Machine(server, tmp_path / "reader").python(READER, "me/help")
    assert reader.code == 0, reader.err
    read = [row for line in reader.out.splitlines() if line.startswith("ROWS ") for row in json.loads(line[5:])]
    assert sorted(read) == sorted([one.input, one.output] for one in pairs())
    for name in (f"train.{formats}", f"validation.{formats}"):
        assert (server.root / REPO / name).read_bytes() == (root / "6-write" / name).read_bytes()


def test_a_sample_for_people_is_drawn_from_the_hub(server: HubServer, here: Machine) -> None:
    built(here)
    push(here)
    env = server.environment(here.home / "hf") | {"HOME": str(here.home), "PYTHONUNBUFFERED": "1"}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = ["corpus", "sample-audit", "me/help", "--n", "3", "--into", "audit"]
    with subprocess.Popen([sys.executable, "-c", LFT, *words], cwd=here.home, env=env, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"3 pairs of 1 data sets in audit\n"
        assert run.stdout.readline().startswith(b"open http://127.0.0.1:")
        run.send_signal(signal.SIGINT)
    assert len(list(read_records(here.home / "audit" / "items.jsonl"))) == 3


def test_what_is_pushed_names_the_hub_and_no_place_of_this_machine(server: HubServer, here: Machine) -> None:
    built(here)
    done = push(here)
    assert "build.yaml: sources[0].path is ./texts/{lang}/pages (here" in done.out
    assert "build.yaml: instruct.backend.url is http://localhost/v1 (here http://gpu7:8000/v1)" in done.out
    files = there(server)
    assert not [name for name, text in files.items() if str(here.home) in text or "gpu7" in text]
    assert use_line("me/help") in files["README.md"]
    assert "./help" not in files["README.md"].split("## Use")[1].split("##")[0]
    assert yaml_block(files["README.md"]) == files["build.yaml"].rstrip()
    (here.home / "again.yaml").write_text(files["build.yaml"])
    assert load_build(here.home / "again.yaml").sources[0].path == "./texts/{lang}/pages"
    assert "P(text | instruction) by ./small" in files["README.md"]
    front = YAML(typ="safe", pure=True).load(files["README.md"].split("---\n")[1])
    assert (front["license"], front["language"]) == ("cc-by-4.0", ["de", "en"])


def yaml_block(card: str) -> str:
    return card.split("```yaml\n")[1].split("\n```")[0]


def test_a_build_without_places_of_this_machine_is_shared_as_it_is() -> None:
    build = load_build(Path(__file__).parents[2] / "recipes" / "corpus" / "gnome-help.yaml")
    shared, changes = as_shared(build)
    assert [(one.key, one.after) for one in changes] == [("sources[0].path", "./help/{lang}/gnome-help")]
    assert as_shared(shared) == (shared, ())


@pytest.mark.parametrize(
    ("written", "shared"),
    [
        ("https://api.example.org/v1", "https://api.example.org/v1"),
        ("https://anna:secret@api.example.org/v1", "http://localhost/v1"),
        ("http://10.0.0.7:8000/v1", "http://localhost/v1"),
        ("http://node7.cluster.local/v1", "http://localhost/v1"),
    ],
)
def test_addresses_that_only_this_network_knows_stay_here_and_columns_are_no_addresses(
    tmp_path: Path, written: str, shared: str
) -> None:
    source = "sources: [{name: a, kind: jsonl, path: rows.jsonl, licence: CC0-1.0, columns: {text: body, url: link}}]\n"
    model = f'instruct: {{backend: {{kind: openai, model: m, url: "{written}"}}}}\n'
    (tmp_path / "b.yaml").write_text("name: b\n" + source + model)
    found, changes = as_shared(load_build(tmp_path / "b.yaml"))
    assert found.instruct.backend.url == shared
    assert found.sources[0].columns == {"text": "body", "url": "link"}
    assert len(changes) == (written != shared)
    assert "secret" not in "".join(map(str, changes))


def test_a_second_push_makes_no_commit_and_what_a_first_left_there_goes(server: HubServer, here: Machine) -> None:
    built(here)
    push(here)
    (server.root / REPO / "notes.md").write_text("theirs")
    first = server.commit(REPO)
    again = push(here)
    assert again.code == 0, again.err
    assert "no new one was made" in again.out
    assert (server.commit(REPO), len(server.asked("POST", "/commit/main"))) == (first, 1)
    built(here, formats="parquet")
    changed = push(here, "--json").said
    assert changed["removed"] == ["train.jsonl", "validation.jsonl"]
    assert set(there(server)) == {
        "README.md", "build.yaml", "report.md", "notes.md", "train.parquet", "validation.parquet",
    }  # fmt: skip
    assert len(server.asked("POST", "/commit/main")) == 2


def test_a_rehearsal_shows_everything_and_asks_nothing(server: HubServer, here: Machine) -> None:
    built(here)
    done = push(here, "--dry-run", folder="builds/help/6-write", token=None)
    assert done.code == 0, done.err
    for word in ("train.jsonl", "build.yaml", "nothing was uploaded", "license: cc-by-4.0", "data.train=me/help"):
        assert word in done.out
    for word in ("step.json", "manifest.json"):
        assert word not in done.out
    assert server.requests == []


@pytest.mark.parametrize(
    ("field", "text", "word"),
    [
        ("output", "Call me with hf_" + "aB3" * 12, "a token of Hugging Face"),
        ("input", "Use ghp_" + "aB3" * 12, "a token of GitHub"),
        ("output", f"so {TOKEN} it is", "your own token"),
        ("output", "It lies in HOME/notes.", "a path of this machine"),
        ("where", "/etc/passwd", "a path of this machine (/etc/passwd)"),
    ],
)
@pytest.mark.parametrize("formats", ["jsonl", "parquet"])
def test_nothing_is_uploaded_while_a_row_holds_a_key_or_a_private_path(
    server: HubServer, here: Machine, field: str, text: str, word: str, formats: str
) -> None:
    rows = pairs()
    changed: dict[str, Any] = {field: "two lines\n" + text.replace("HOME", str(here.home))}
    rows[4] = replace(rows[4], **changed)
    built(here, rows, formats)
    message = refused(here)
    assert word in message
    assert f".{formats}: line " in message
    assert server.requests == []


def test_a_home_that_every_machine_has_is_nobodys(server: HubServer, here: Machine) -> None:
    rows = [replace(pairs()[0], id=f"{n}", input=f"Ask {n}", output=f"{n}: see /root/.ssh/config") for n in range(9)]
    built(here, rows)
    words = ["corpus", "push", "builds/help", "me/help", "--dry-run"]
    assert here.command(*words, HOME="/root", HF_HOME=str(here.home / "hf")).code == 0


def test_rows_whose_licence_lets_nobody_have_them_are_told_before_anything_is_sent(
    server: HubServer, here: Machine
) -> None:
    rows = pairs()
    rows[2], rows[3] = replace(rows[2], licence=""), replace(rows[3], licence="CC-BY-ND-4.0")
    built(here, rows)
    said = push(here, "--dry-run").out
    assert "licence: 1 row without a licence" in said
    assert "licence: 1 row under 'CC-BY-ND-4.0'" in said
    assert len(push(here, "--dry-run", "--json").said["licences"]) == 2
    built(here)
    assert "licence:" not in push(here, "--dry-run").out.split("The card")[0]


def test_what_the_hub_refuses_is_one_message(server: HubServer, here: Machine) -> None:
    built(here)
    assert "hf auth login" in refused(here, token=None)
    server.faults.read_only.add(REPO)
    assert "use a token that may write to me/help" in refused(here)
    server.faults.read_only.clear()
    server.faults.commits, server.faults.retry_after = [500, 429], 7
    assert "out of order (status 500)" in refused(here)
    assert "start again in 7 s" in refused(here)
    assert there(server) == {}
    server.faults.after_info[REPO] = lambda: (server.root / REPO / "NOTE.md").write_text("theirs")
    assert "changed the repository at the same moment" in refused(here)
    server.faults.loses.add(REPO)
    assert "other bytes than were sent: " in refused(here)
    server.stop()
    assert "out of reach" in refused(here)


def test_a_branch_is_made_and_a_private_repository_stays_so(server: HubServer, here: Machine) -> None:
    built(here)
    done = push(here, "--revision", "v2", "--private", "--message", "second")
    assert done.code == 0, done.err
    assert "'data.train=[{path: me/help, revision: v2}]'" in done.out
    assert ("train.jsonl" in there(server), "train.jsonl" in there(server, "v2")) == (False, True)
    assert server.private == {REPO}
    assert "give a branch" in refused(here, "--revision", "a" * 40)
    server.private.clear()
    assert "public already" in refused(here, "--private")


def test_a_data_set_that_lft_did_not_make_is_not_written_into(server: HubServer, here: Machine) -> None:
    built(here)
    (server.root / REPO).mkdir(parents=True)
    (server.root / REPO / "data.csv").write_text("a,b")
    assert "a data set that lft did not make" in refused(here)
    assert set(there(server)) == {"data.csv"}


def test_what_is_no_finished_data_set_or_is_damaged_is_not_pushed(server: HubServer, here: Machine) -> None:
    root = built(here)
    assert "no finished data set lies here" in refused(here, folder="builds")
    (root / "6-write" / "README.md").write_text((root / "6-write" / "README.md").read_text() + "\nRead by me.\n")
    assert "Read by me." in push(here, "--dry-run").out
    rows = root / "6-write" / "train.jsonl"
    rows.write_text(rows.read_text().replace("Topic", "topic", 1))
    assert "train.jsonl is damaged" in refused(here)
    assert server.requests == []
