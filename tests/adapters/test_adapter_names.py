"""Names of tensors, in every layout that PEFT has written."""

from __future__ import annotations

import pytest

from lft.adapters.names import Part, name_of, part_of

Q = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (f"base_model.model.{Q}.lora_A.weight", Part(Q, "a")),
        (f"base_model.model.{Q}.lora_B.weight", Part(Q, "b")),
        (f"base_model.model.{Q}.lora_B.bias", Part(Q, "bias")),
        (f"{Q}.lora_A.weight", Part(Q, "a")),
        (f"base_model.model.{Q}.lora_A.default.weight", Part(Q, "a", own="default")),
        (f"base_model.model.{Q}.lora_magnitude_vector", Part(Q, "magnitude")),
        (f"base_model.model.{Q}.lora_magnitude_vector.weight", Part(Q, "magnitude")),
        (f"base_model.model.{Q}.lora_magnitude_vector.default.weight", Part(Q, "magnitude", own="default")),
        ("base_model.model.model.embed_tokens.lora_embedding_A", Part("model.embed_tokens", "a", True)),
        ("base_model.model.model.embed_tokens.lora_embedding_B.de", Part("model.embed_tokens", "b", True, own="de")),
        (
            "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
            Part("model.embed_tokens", "rows"),
        ),
        ("base_model.model.model.embed_tokens.trainable_tokens_delta", Part("model.embed_tokens", "rows")),
        ("base_model.model.lm_head.weight", Part("lm_head", "whole", leaf="weight")),
        ("base_model.model.lm_head.modules_to_save.weight", Part("lm_head", "whole", leaf="weight")),
        (
            "base_model.model.lm_head.modules_to_save.default.weight",
            Part("lm_head", "whole", leaf="weight", own="default"),
        ),
        ("base_model.model.lm_head.original_module.weight", Part("lm_head", "copy", leaf="weight")),
        (f"base_model.model.{Q}.base_layer.bias", Part(Q, "whole", leaf="bias", wrapped="base_layer")),
        (
            "base_model.model.model.embed_tokens.token_adapter.base_layer.weight",
            Part("model.embed_tokens", "whole", leaf="weight", wrapped="token_adapter.base_layer"),
        ),
    ],
)
def test_a_name_says_module_and_part(name, part):
    assert part_of(name) == part


@pytest.mark.parametrize(
    "name",
    [
        f"base_model.model.{Q}.lora_E",
        f"base_model.model.{Q}.lora_diag",
        f"base_model.model.{Q}.base_layer.lora_A.weight",
        f"base_model.model.{Q}.lora_A.weight.more",
        "base_model.model._orig_mod.q_proj.lora_A.weight",
        "prompt_embeddings",
        "weight",
    ],
)
def test_a_name_that_no_layout_has_is_not_guessed_at(name):
    assert part_of(name) is None


@pytest.mark.parametrize(
    "part",
    [
        Part(Q, "a"),
        Part(Q, "b"),
        Part(Q, "bias"),
        Part(Q, "magnitude"),
        Part("e", "a", True),
        Part("e", "b", True),
        Part("e", "rows"),
        Part("lm_head", "whole", leaf="weight"),
        Part(Q, "whole", leaf="bias", wrapped="base_layer"),
    ],
)
def test_a_part_is_written_under_the_name_that_it_is_read_from(part):
    assert part_of(name_of(part)) == part
