"""A pushed adapter as others load it: the card's own Python lines with PEFT and transformers, and lft from the hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from tests.adapters_bound import bind
from tests.hub_client import Machine
from tests.hub_server import TOKEN, HubServer
from tests.peft_made import IDS, made
from tests.tiny import save_tiny

# Prints the logits of `model`, whoever loaded it.
LOGITS = """
import json, torch
with torch.no_grad():
    print(json.dumps(model(torch.tensor({ids})).logits[0, -1].tolist()))
"""
LFT = """
import sys
from pathlib import Path
from lft.adapters.hub import adapter_folder_from
from lft.adapters.load import load_adapted
from lft.adapters.store.layout import open_store
from lft.cli.common import registry_folder
tell = lambda text: print(text, file=sys.stderr)
model = load_adapted(adapter_folder_from("me/de", open_store(registry_folder()), tell), Path("cache"), tell).model
"""


def test_the_lines_of_the_card_and_lft_load_what_was_pushed(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "repos/org/base", "llama")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tuned = made("plain")
    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = model.get_input_embeddings().weight.shape[0]
    tuned.base_model.model.load_state_dict(
        {key: model.state_dict()[_plain(key)] for key in tuned.base_model.model.state_dict() if "lora_" not in key},
        strict=False,
    )
    with HubServer(tmp_path / "repos") as server:
        folder = tmp_path / "own"
        tuned.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        said = json.loads((bind(folder, base, rows, name="me/de") / "lft.json").read_text())
        said |= {"base": "org/base", "revision": server.commit("org/base")}
        (folder / "lft.json").write_text(json.dumps(said))
        here, there, third = (Machine(server, tmp_path / name) for name in ("here", "there", "third"))
        assert here.lft("add", str(folder)).code == 0
        done = here.lft("push", "me/de", "me/de", "--base", f"org/base@{server.commit('org/base')}", token=TOKEN)
        assert done.code == 0, done.err
        card = (server.root / "me/de/README.md").read_text()
        lines = re.search(r"```python\n(.*?)```", card, re.DOTALL)
        assert lines is not None
        tail = LOGITS.replace("{ids}", json.dumps(IDS.tolist()))
        found = [there.python(lines[1] + tail), third.python(LFT + tail)]
    with torch.no_grad():
        wanted = tuned(IDS).logits[0, -1]
        assert not torch.allclose(wanted, model(IDS).logits[0, -1], atol=1e-2)
    for one in found:
        assert one.code == 0, one.err
        assert torch.tensor(json.loads(one.out.splitlines()[-1])).tolist() == pytest.approx(wanted.tolist(), abs=1e-5)


def _plain(key: str) -> str:
    return key.replace(".base_layer", "")
