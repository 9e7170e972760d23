"""Continuous batching says what each prompt alone would be told, whoever comes and goes beside it."""

from __future__ import annotations

import random

import pytest

from lft.base.continuous import _keeps_places, answers
from lft.base.decode import Answer, Asking, Decoding, generate
from lft.errors import RecipeError
from tests.tiny import FAMILIES, sentences, tiny_model, tiny_pair_model, tiny_pair_tokenizer, tiny_tokenizer


def told(model, tokenizer, prompts, decoding, seeds, width) -> list[Answer]:
    found = dict(answers(model, tokenizer, prompts, decoding, Asking(), seeds, width))
    assert sorted(found) == list(range(len(prompts)))
    return [found[place] for place in range(len(prompts))]


def ending_often(model):
    """A model whose answers end at very different lengths."""
    model.generation_config.eos_token_id = [2, *range(10, 60)]
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("greedy", [True, False])
def test_each_answer_is_what_the_prompt_alone_gets(family: str, greedy: bool) -> None:
    tokenizer = tiny_tokenizer(chat=False)
    model = ending_often(tiny_model(family).double())
    prompts = sentences(11, high=25)
    decoding, seeds = Decoding(14, greedy=greedy, temperature=1.3), None if greedy else list(range(11))
    alone = [
        generate(model, tokenizer, [prompt], decoding, seeds=None if greedy else [number])[0]
        for number, prompt in enumerate(prompts)
    ]
    for width in (3, 4, 16):
        assert told(model, tokenizer, prompts, decoding, seeds, width) == alone
    if not greedy:
        assert len({one.tokens for one in alone}) > 2  # rows really left at different times


def test_plain_caches_are_continuous_and_others_fall_back_to_batches() -> None:
    sampled = Decoding(4)
    assert _keeps_places(tiny_model("llama"), sampled)
    assert _keeps_places(tiny_model("opt"), sampled)
    assert not _keeps_places(tiny_pair_model(), sampled)
    assert not _keeps_places(tiny_model("llama"), Decoding(4, beams=2))


def test_an_encoder_decoder_answers_all_prompts() -> None:
    model, tokenizer = tiny_pair_model(), tiny_pair_tokenizer()
    prompts = sentences(5, high=10)
    alone = [generate(model, tokenizer, [one], Decoding(6, greedy=True))[0] for one in prompts]
    assert told(model, tokenizer, prompts, Decoding(6, greedy=True), None, 2) == alone


def test_rows_of_very_different_lengths_do_not_disturb_each_other() -> None:
    tokenizer, model = tiny_tokenizer(chat=False), ending_often(tiny_model().double())
    rng = random.Random(3)
    prompts = [" ".join(sentences(1, seed=n, low=1, high=3) * rng.choice([1, 1, 12])) for n in range(9)]
    decoding = Decoding(20, temperature=1.5)
    seeds = [rng.randrange(1000) for _ in prompts]
    assert told(model, tokenizer, prompts, decoding, seeds, 4) == told(model, tokenizer, prompts, decoding, seeds, 1)


def test_a_prompt_without_room_is_said_before_anything_is_made() -> None:
    tokenizer, model = tiny_tokenizer(chat=False), tiny_model("opt")
    with pytest.raises(RecipeError, match=r"positions|at most"):
        list(answers(model, tokenizer, [" ".join(sentences(80))], Decoding(50), Asking(), [1], 2))
