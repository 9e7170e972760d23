"""Answers come in the format of the adapter, from the base that it was trained on, and end where it learnt to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lft.base.decode import Asking, Decoding, generate, stop_ids
from lft.data.example import Example, Turn
from lft.data.prompts import prompt_format, render, stop_id
from lft.errors import InputError
from lft.evaluate.answer import Answerer, Prompt, answer_file, open_answerer, read_prompts
from lft.recipe.schema import Recipe
from lft.train.inputs import prepare_inputs
from lft.train.run import finetune
from tests.tiny import save_tiny, sentences, tiny_model, tiny_tokenizer

SHORT = Decoding(max_new_tokens=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a tiny base, with base, data and cache beside it."""
    home = tmp_path_factory.mktemp("answers")
    save_tiny(home / "base")
    texts = sentences(16, seed=5, low=3, high=9)
    rows = [{"input": texts[i], "output": texts[i + 8]} for i in range(8)]
    (home / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "base": {"model": str(home / "base")},
            "data": {"train": str(home / "data.jsonl"), "split": {"validation": None}, "max_length": 128},
            "train": {"max_steps": 1, "global_batch_size": 1, "save_every": "end"},
            "output": {"runs": str(home / "runs")},
        }
    )
    run = finetune(prepare_inputs(recipe, home / "cache", lambda _: None), lambda _: None).folder
    return run.rename(home / "run").parent


def opened(folder: Path) -> Answerer:
    return open_answerer(folder / "run", folder / "cache", lambda _: None)


def test_the_same_seed_gives_the_same_text_and_another_seed_another(folder: Path) -> None:
    answerer = opened(folder)
    first, again = answerer.answer([Prompt("the cat")], SHORT), answerer.answer([Prompt("the cat")], SHORT)
    assert first == again
    assert answerer.answer([Prompt("the cat")], Decoding(max_new_tokens=8, seed=7)) != first


def test_words_as_they_come_are_the_whole_answer(folder: Path) -> None:
    parts: list[str] = []
    answer = opened(folder).answer([Prompt("the cat")], SHORT, parts.append)[0]
    assert "".join(parts).strip() == answer.text


def test_an_answer_in_a_batch_is_the_answer_alone(folder: Path) -> None:
    answerer, greedy = opened(folder), Decoding(max_new_tokens=8, greedy=True)
    asked = ("the cat", "the old house near the river sings over seven small stones", "a")
    prompts = [Prompt(text) for text in asked]
    assert answerer.answer(prompts, greedy) == [answerer.answer([prompt], greedy)[0] for prompt in prompts]


def test_a_file_of_prompts_is_answered_in_its_order(folder: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "deep" / "out.jsonl"
    source.write_text("".join(json.dumps({"input": text}) + "\n" for text in ("the old red house", "a", "the cat")))
    prompts = read_prompts(source)
    assert list(answer_file(opened(folder), prompts, output, SHORT, 2)) == [2, 3]
    assert [json.loads(line)["input"] for line in output.read_text().splitlines()] == [
        one.instruction for one in prompts
    ]


def test_an_instruction_with_an_input_is_asked_about_that_input(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"instruction": "Summarise", "input": "A long\u2028text."}\n{"instruction": "Sing", "input": ""}\n'
    )
    assert read_prompts(tmp_path / "a.jsonl") == [Prompt("Summarise", "A long\u2028text."), Prompt("Sing")]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "\n\n"), ("a.jsonl", '{"inptu": "x"}\n'), ("a.jsonl", "{\n"), ("a.jsonl", '{"input": [1]}')],
)
def test_a_file_without_prompts_is_one_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"no prompt|no JSON object"):
        read_prompts(tmp_path / name)


def test_an_adapter_on_another_base_of_the_same_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folder / "run" / "adapter", tmp_path / "adapter")
    save_tiny(tmp_path / "other", seed=1)
    binding = json.loads((moved / "lft.json").read_text())
    (moved / "lft.json").write_text(json.dumps({**binding, "base": str(tmp_path / "other")}))
    (moved / "manifest.json").unlink()
    from lft.files import seal

    seal(moved)
    with pytest.raises(InputError, match="trained on another base: weights differ"):
        open_answerer(moved, folder / "cache", lambda _: None)


def test_a_damaged_adapter_is_refused(folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folder / "run" / "adapter", tmp_path / "adapter")
    weights = moved / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors is damaged"):
        open_answerer(moved, folder / "cache", lambda _: None)


def test_a_run_without_an_adapter_says_so(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(InputError, match="no finished adapter"):
        open_answerer(tmp_path, tmp_path, lambda _: None)


def test_generation_stops_at_the_token_that_chat_training_ends_turns_with() -> None:
    """A base whose template ends turns with another token than EOS, as Qwen2.5's does."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"sep_token": "<|end|>"})
    tokenizer.chat_template = (
        "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|user|>{% endif %}"
    )
    form = prompt_format("chat", "token", tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert end != tokenizer.eos_token_id
    assert render(form, Example((Turn("user", "a"), Turn("assistant", "b"))), tokenizer)[-1].text == "b<|end|>"
    assert stop_id(form, tokenizer) == end
    model = tiny_model("llama", len(tokenizer))
    assert end in stop_ids(model, tokenizer, stop_id(form, tokenizer))
    assert end not in stop_ids(model, tokenizer)


def test_a_stop_token_ends_the_text_and_is_not_part_of_it() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model("llama", len(tiny_tokenizer()))
    greedy = Decoding(max_new_tokens=6, greedy=True)
    free = generate(model, tokenizer, ["the cat"], greedy)[0]
    ids = tokenizer("the cat", return_tensors="pt")["input_ids"]
    made = model.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=-1, pad_token_id=0)[
        0, ids.shape[1] :
    ].tolist()
    place = made.index(made[3])
    stopped = generate(model, tokenizer, ["the cat"], greedy, Asking(stop=made[3]))[0]
    assert not free.finished
    assert stopped.finished
    assert stopped.tokens == place
