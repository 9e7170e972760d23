"""What libraries say while they load, read and write does not reach the screen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tiny import save_tiny

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from lft.cli.common import quiet_libraries
quiet_libraries()
from datasets import Dataset
from huggingface_hub.utils import tqdm
from transformers import AutoModelForCausalLM
Dataset.from_list([{"a": n} for n in range(9)]).map(lambda row: row).save_to_disk(sys.argv[2])
list(tqdm(range(3)))
AutoModelForCausalLM.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[3], max_shard_size="20KB")
"""


def test_progress_bars_of_data_hub_and_shards_are_silent(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    kept = {name: value for name, value in os.environ.items() if "PROGRESS" not in name and "TQDM" not in name}
    command = [sys.executable, "-c", SCRIPT, str(model), str(tmp_path / "rows"), str(tmp_path / "shards")]
    done = subprocess.run(command, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
