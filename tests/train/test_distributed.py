"""Runs of several processes by the command itself: what they train, and that none is ever waited for in vain."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from functools import cache
from os import kill as send
from pathlib import Path
from typing import Any

import pytest
import torch

from lft.errors import InputError, MachineError
from lft.recipe.schema import Recipe
from lft.train.world import World
from tests.forks import free_port, together
from tests.launched import Launched, finetune, last_step, run_of
from tests.processes import one_clear_error
from tests.runs import material, metrics, recipe, run_by_several, trained, weights

METHODS = {"lora": ("lora", None), "full": ("full", None), "qlora": ("lora", "nf4")}
# ZeRO-3 leaves tensors of up to 100,000 numbers whole; these widths are above that, also in four bits
# (tests/train/test_equivalence.py counts what is in parts).
LARGE = {
    "llama": {"hidden": 320, "intermediate_size": 640},
    "opt": {"hidden": 320, "ffn_dim": 640, "word_embed_proj_dim": 320, "dropout": 0.0},
    "t5": {"d_model": 320, "d_kv": 80, "d_ff": 640},
}
# Measured over all methods and models, in float32 on a CPU: 2.0e-7 of the loss, 1.8e-6 of logits of about 1.
# Offloaded 2.0e-6 and 2.1e-4: DeepSpeed's AdamW for CPUs keeps the betas and their powers in single precision.
LOSS, LOGITS = 1e-6, 1e-5
OFFLOADED_LOSS, OFFLOADED_LOGITS = 5e-6, 5e-4
NAN = "Z"  # a character of one example only, whose embedding is no number


@pytest.fixture(scope="module")
def stuff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("distributed"), **LARGE)


def chosen(place: Path, stuff: Path, family: str = "llama", way: str = "lora", **sections: Any) -> Recipe:
    """Six steps of eight rows, checkpoints every second one."""
    kind, quantize = METHODS[way]
    train = {
        "epochs": 2,
        "global_batch_size": 8,
        "micro_batch_size": 1,
        "learning_rate": 1e-3 if kind == "full" else 1e-2,
        **sections.pop("train", {}),
    }
    return recipe(
        stuff,
        place / "runs",
        family,
        base={"quantize": quantize},
        data={"prompt": "plain"} if family == "t5" else {},
        method={"kind": kind},
        train=train,
        **sections,
    )


@cache
def alone(stuff: Path, family: str, way: str) -> Path:
    """The run folder of the same recipe in one process."""
    return trained(chosen(stuff / f"{family}-{way}", stuff, family, way), stuff / "cache").outcome.folder


def ran(place: Path, stuff: Path, *arguments: str, **kw: Any) -> Path:
    """A run of two processes that ends well; its folder."""
    done = finetune(place, chosen(place, stuff, **kw), *arguments).done()
    assert done.code == 0, done
    assert "error" not in done.err
    return run_of(place)


def logits(run: Path | None, stuff: Path, family: str) -> torch.Tensor:
    """What plain transformers and peft compute on one sentence: with what a run saved, or with the base itself."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    saved = (
        stuff / family if run is None else next(run / name for name in ("model", "adapter") if (run / name).is_dir())
    )
    tokenizer = AutoTokenizer.from_pretrained(saved)
    model: Any = kind.from_pretrained(stuff / family if saved.name == "adapter" else saved)
    if saved.name == "adapter":
        model.resize_token_embeddings(max(len(tokenizer), model.get_input_embeddings().weight.shape[0]))
        model = PeftModel.from_pretrained(model, saved)
    ids = torch.tensor([tokenizer("the red cat sings")["input_ids"]])
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=ids, **({"labels": ids} if family == "t5" else {})).logits
    return found


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["zero2", "zero3", "zero3-offload"])
@pytest.mark.parametrize("way", METHODS)
@pytest.mark.parametrize("family", ["llama", "opt", "t5"])
def test_two_processes_train_what_one_trains(stuff: Path, tmp_path: Path, family: str, way: str, engine: str) -> None:
    launch = {"engine": engine, "gpus": 2}
    one, two = alone(stuff, family, way), ran(tmp_path, stuff, family=family, way=way, launch=launch)
    curves = [[line["loss"] for line in metrics(run) if "loss" in line] for run in (one, two)]
    assert len(curves[1]) == 6
    loss, close = (OFFLOADED_LOSS, OFFLOADED_LOGITS) if engine == "zero3-offload" else (LOSS, LOGITS)
    assert curves[0] == pytest.approx(curves[1], rel=loss)
    found, wanted = logits(two, stuff, family), logits(one, stuff, family)
    before = logits(None, stuff, family)
    moved = float((wanted[..., : before.shape[-1]] - before).abs().max())
    assert moved > 100 * close  # so the equality says something
    assert torch.allclose(found, wanted, rtol=0, atol=close)


@pytest.mark.slow
def test_a_family_that_is_saved_under_other_names_is_read_back_by_one_process(tmp_path: Path) -> None:
    """GPT-NeoX is read back by transformers, which under ZeRO-3 would wait for the other process."""
    stuff = material(tmp_path / "stuff", gpt_neox={"hidden": 320, "intermediate_size": 640})
    launch = {"engine": "zero3", "gpus": 2, "timeout_minutes": 1}
    run = run_by_several(chosen(tmp_path, stuff, "gpt_neox", "full", launch=launch), stuff / "cache")
    assert torch.isfinite(logits(run, stuff, "gpt_neox")).all()


def endless(place: Path, stuff: Path, **sections: Any) -> Recipe:
    """Far more steps than anybody waits for."""
    launch = {"engine": "ddp", "gpus": 2, **sections.pop("launch", {})}
    train = {"max_steps": 5000, "global_batch_size": 2, "save_every": 5, "eval_every": "end"}
    return chosen(place, stuff, launch=launch, train={**train, **sections.pop("train", {})}, **sections)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "zero2"])
def test_a_killed_process_ends_the_run_with_one_message_that_names_it(stuff: Path, tmp_path: Path, engine: str) -> None:
    command = finetune(tmp_path, endless(tmp_path, stuff, launch={"engine": engine}))
    command.wait_for_step(12)
    send(command.workers[1], signal.SIGKILL)
    done = command.done(60)  # it must not wait for the half hour of launch.timeout_minutes
    error = one_clear_error(done.err)
    assert done.code == 4, done
    assert "process 1 was killed (SIGKILL)" in error
    require_way_on(error, run_of(tmp_path))


def require_way_on(error: str, run: Path) -> None:
    """The message says from which checkpoint the run can go on."""
    from lft.train.folder import newest_whole_checkpoint

    step = newest_whole_checkpoint(run / "checkpoints").step
    assert f"The last checkpoint is step {step}; go on with: lft finetune --resume" in error


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_one_process_ends_all_with_one_message(stuff: Path, tmp_path: Path) -> None:
    poisoned(stuff, tmp_path)
    done = finetune(tmp_path, endless(tmp_path, tmp_path)).done()
    error = one_clear_error(done.err)
    assert done.code == 5, done
    assert "the loss is nan at step" in error
    assert "in examples 7 (process " in error


def poisoned(stuff: Path, place: Path) -> None:
    """The material again, but one example has a character whose embedding is not a number."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    shutil.copytree(stuff / "llama", place / "llama")
    (token,) = AutoTokenizer.from_pretrained(place / "llama")(NAN)["input_ids"]
    tensors = load_file(place / "llama" / "model.safetensors")
    tensors["model.embed_tokens.weight"][token] = float("nan")
    save_file(tensors, place / "llama" / "model.safetensors", metadata={"format": "pt"})
    rows = [json.loads(line) for line in (stuff / "data.jsonl").read_text().splitlines()]
    rows[7]["input"] += NAN
    (place / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@cache
def undisturbed(stuff: Path) -> Path:
    """The folder of a run of 24 steps by two processes that nobody disturbs."""
    place = stuff / "undisturbed"
    return run_by_several(chosen(place, stuff, **LONGER), stuff / "cache")


LONGER = {"train": {"max_steps": 24, "save_every": 2, "eval_every": "end"}, "launch": {"engine": "ddp", "gpus": 2}}


@pytest.mark.slow
def test_a_run_that_lost_a_process_goes_on_by_itself(stuff: Path, tmp_path: Path) -> None:
    command = finetune(tmp_path, chosen(tmp_path, stuff, **LONGER), "--max-restarts", "1")
    command.wait_for_step(5)
    send(command.workers[1], signal.SIGKILL)
    done = command.done()
    assert done.code == 0, done
    run, whole = run_of(tmp_path), undisturbed(stuff)
    assert "going on from step" in (run / "log.txt").read_text()
    assert weights(run / "adapter") == weights(whole / "adapter")
    assert metrics(run) == metrics(whole)


@pytest.mark.slow
def test_a_run_of_two_processes_that_is_asked_to_stop_saves_and_goes_on(stuff: Path, tmp_path: Path) -> None:
    command = finetune(tmp_path, chosen(tmp_path, stuff, **LONGER))
    command.wait_for_step(5)
    command.process.send_signal(signal.SIGTERM)
    done = command.done()
    assert done.code == 143, done
    run, whole = run_of(tmp_path), undisturbed(stuff)
    assert f"lft finetune --resume {run}" in done.out
    assert (run / "checkpoints" / f"step-{last_step(tmp_path)}" / "manifest.json").is_file()
    again = Launched(tmp_path, "finetune", "--resume", str(run)).done()
    assert again.code == 0, again
    assert weights(run / "adapter") == weights(whole / "adapter")
    assert metrics(run) == metrics(whole)


@pytest.mark.slow
def test_a_machine_that_waits_for_others_can_be_stopped(stuff: Path, tmp_path: Path) -> None:
    port = free_port()
    line = ("--nodes", "2", "--node-rank", "0", "--rdzv", f"127.0.0.1:{port}")
    command = finetune(tmp_path, chosen(tmp_path, stuff, launch={"engine": "ddp"}), *line)
    command.wait_until(lambda: listens(port), "it waits for the other machine")
    command.process.send_signal(signal.SIGINT)
    assert command.done(10).code == -signal.SIGINT


def listens(port: int) -> bool:
    """Whether somebody of this machine listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# Without the command: processes forked from one that has the libraries.


def meeting(world: World) -> str:
    """The first process comes to a meeting that the second one misses."""
    if world.rank == 1:
        time.sleep(4)
        return ""
    with pytest.raises(MachineError) as raised:
        World(world.rank, world.size, world.local_rank, 1.0, world.control).meet("after writing step-4")
    return str(raised.value)


def test_a_process_that_does_not_come_is_named() -> None:
    told = together(meeting, 2)[0]
    assert "did not meet after writing step-4 within 0.0166667 minutes" in told
    assert "1" in told.partition("(")[2]
    assert "launch.timeout_minutes" in told


def with_launch(asked: Recipe, **launch: Any) -> Recipe:
    return asked.model_copy(update={"launch": asked.launch.model_copy(update=launch)})


def cut_short(stuff: Path, place: Path, engine: str, way: str = "lora", **more: Any) -> tuple[Recipe, Path]:
    """A run of two processes whose last two steps are undone."""
    asked = chosen(place, stuff, way=way, launch={"engine": engine, "gpus": 2}, **more)
    run = run_by_several(asked, stuff / "cache")
    shutil.rmtree(run / "checkpoints" / "step-6")
    return asked, run


def test_a_run_of_two_processes_goes_on_bit_for_bit(stuff: Path, tmp_path: Path) -> None:
    asked, run = cut_short(stuff, tmp_path, "ddp")
    before, result = metrics(run), weights(run / "adapter")
    assert before[-1]["step"] == 6  # so it goes on after step 4 of 6, in the middle of the second of two epochs
    run_by_several(asked, stuff / "cache", run)
    assert metrics(run) == before
    assert weights(run / "adapter") == result


def test_a_run_of_two_processes_goes_on_in_one_and_says_what_that_means(stuff: Path, tmp_path: Path) -> None:
    asked, run = cut_short(stuff, tmp_path, "ddp")
    before = metrics(run)
    again = trained(with_launch(asked, engine="none", gpus=1), stuff / "cache", run)
    told = [event.text for event in again.shown if hasattr(event, "text")]
    assert any("going on with 1 x none after 2 x ddp: the same batches" in text for text in told)
    for one, other in zip(metrics(run), before, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.slow
def test_shards_of_two_processes_are_refused_by_one_before_anything_loads(stuff: Path, tmp_path: Path) -> None:
    asked, run = cut_short(stuff, tmp_path, "zero2")
    log = (run / "log.txt").read_text()
    with pytest.raises(InputError, match="written by 2 x zero2 and cannot be read by 1 x none") as raised:
        trained(with_launch(asked, engine="none", gpus=1), stuff / "cache", run)
    assert "launch.engine=zero2 launch.gpus=2" in str(raised.value)
    assert "loading" not in (run / "log.txt").read_text().removeprefix(log)


@pytest.mark.slow
@pytest.mark.parametrize("way", METHODS)
@pytest.mark.parametrize("engine", ["zero3", "zero3-offload"])
def test_shards_of_zero_3_are_converted_for_another_number_of_processes(
    stuff: Path, tmp_path: Path, engine: str, way: str
) -> None:
    """From two to one, and back to two: what counts is who wrote the checkpoint, not who began the run."""
    asked, run = cut_short(stuff, tmp_path, engine, way)
    before = metrics(run)
    run_by_several(with_launch(asked, gpus=1), stuff / "cache", run)
    assert f"going on with 1 x {engine} after 2 x {engine}, converting the checkpoint" in (run / "log.txt").read_text()
    require_near(metrics(run), before)
    shutil.rmtree(run / "model" if way == "full" else run / "adapter")
    run_by_several(asked, stuff / "cache", run)
    assert f"going on with 2 x {engine} after 1 x {engine}, converting the checkpoint" in (run / "log.txt").read_text()
    assert not [path.name for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "way"), [("llama", "lora"), ("llama", "full"), ("llama", "qlora"), ("t5", "lora")])
@pytest.mark.parametrize("engine", ["zero3", "zero3-offload"])
def test_a_run_of_zero_3_that_goes_on_answers_as_it_would_have(
    stuff: Path, tmp_path: Path, engine: str, family: str, way: str
) -> None:
    """Sample prompts and validation examples: what generates does not go through DeepSpeed's engine."""
    asking = {"sample_prompts": ["the red cat"], "sample_tokens": 8, "eval_answers": 2, "eval_every": 1}
    asked, run = cut_short(stuff, tmp_path, engine, way, family=family, train=asking)
    answers, before = (run / "samples.jsonl").read_text(), metrics(run)
    assert answers.count('"when": "after"') == 1
    assert any("word_f1" in line for line in before)
    run_by_several(asked, stuff / "cache", run)
    assert (run / "samples.jsonl").read_text() == answers
    assert metrics(run) == before


def require_near(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """The same steps; Adam makes steps of full size of gradients that are but rounding, so what differs grows."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
