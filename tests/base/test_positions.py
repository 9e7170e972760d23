"""A sequence longer than a model's table of positions is an error; longer than a rotary model was made for, a note."""

from __future__ import annotations

import pytest

from lft.base.decode import Decoding, generate
from lft.base.positions import beyond_training, learned_positions, require_positions
from lft.errors import RecipeError
from tests.tiny import FAMILIES, tiny_config, tiny_model, tiny_pair_model, tiny_tokenizer

LOOKED_UP = ("gpt2", "opt")


@pytest.mark.parametrize("family", FAMILIES)
def test_only_a_table_of_positions_ends(family: str) -> None:
    config = tiny_config(family, 384, max_position_embeddings=64)
    assert learned_positions(config) == (64 if family in LOOKED_UP else None)
    require_positions(config, 64, "it", "none")
    if family in LOOKED_UP:
        assert beyond_training(config, 65) is None
        with pytest.raises(RecipeError, match="it: 65 tokens, more than the 64 positions") as caught:
            require_positions(config, 65, "it", "at most {}")
        assert caught.value.fix == "at most 64"
    else:
        require_positions(config, 65, "it", "none")
        assert beyond_training(config, 64) is None
        assert "longer than the 64 positions" in str(beyond_training(config, 65))


def test_an_encoder_decoder_with_relative_positions_has_no_end() -> None:
    config = tiny_pair_model("t5").config
    require_positions(config, 10**6, "it", "none")
    assert beyond_training(config, 10**6) is None


@pytest.mark.parametrize("family", LOOKED_UP)
def test_generation_beyond_the_table_is_refused_and_up_to_it_works(family: str) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(family, len(tokenizer), max_position_embeddings=16)
    prompt = len(tokenizer("the cat")["input_ids"])
    answer = generate(model, tokenizer, ["the cat"], Decoding(16 - prompt, greedy=True))
    assert len(answer) == 1
    with pytest.raises(RecipeError, match="more than the 16 positions") as caught:
        generate(model, tokenizer, ["the cat"], Decoding(17 - prompt, greedy=True))
    assert "lower --max-new-tokens" in str(caught.value.fix)
