"""Encoder-decoders as bases: loaded with their own head, grown without losing it, and answering."""

from __future__ import annotations

import pytest
import torch

from lft.base.decode import Asking, Decoding, generate
from lft.base.load import is_encoder_decoder, load_model, load_tokenizer
from lft.base.resolve import BaseRef
from lft.base.tokens import add_tokens, extend_tokenizer, grow_rows, is_tied
from lft.data.newlines import Restored
from lft.errors import InputError
from tests.tiny import PAIR_FAMILIES, save_tiny, save_tiny_pair, tiny_pair_model, tiny_pair_tokenizer

each_family = pytest.mark.parametrize("family", PAIR_FAMILIES)
GREEDY = Decoding(max_new_tokens=12, greedy=True)


def ref_of(folder) -> BaseRef:
    return BaseRef(str(folder), "folder", folder, None, False)


def logits(model, ids=(5, 6, 7, 1)):
    row = torch.tensor([ids])
    with torch.no_grad():
        return model.eval()(input_ids=row, decoder_input_ids=row).logits


# --- loading -------------------------------------------------------------------------------------------------------


@each_family
def test_a_base_is_loaded_with_its_own_head(tmp_path, family):
    save_tiny_pair(tmp_path, family)
    model = load_model(ref_of(tmp_path), torch.float32, "cpu")
    assert is_tied(model) == (family == "t5")
    assert torch.equal(logits(model), logits(tiny_pair_model(family, len(tiny_pair_tokenizer()) + 8)))


def test_a_base_says_which_kind_it_is(tmp_path):
    assert is_encoder_decoder(ref_of(save_tiny_pair(tmp_path / "t5")))
    assert not is_encoder_decoder(ref_of(save_tiny(tmp_path / "llama")))


def test_a_missing_weight_of_the_decoder_is_an_error(tmp_path):
    from safetensors.torch import load_file, save_file

    file = save_tiny_pair(tmp_path) / "model.safetensors"
    weights = load_file(file)
    del weights["decoder.block.1.layer.1.EncDecAttention.q.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights are not in the checkpoint, first decoder\.block\.1"):
        load_model(ref_of(tmp_path), torch.float32, "cpu")


# --- added tokens --------------------------------------------------------------------------------------------------


@each_family
def test_new_rows_leave_the_head_as_it_was(tmp_path, family):
    """transformers 5.23 ties an untied T5 head when rows are added, so all of its logits change in silence."""
    model = tiny_pair_model(family, 120)
    before, tied = logits(model), is_tied(model)
    grow_rows(model, 124)
    after = logits(model)
    assert is_tied(model) == tied
    assert torch.equal(after[..., :120], before)
    assert model._tied_weights_keys is type(model)._tied_weights_keys
    assert torch.allclose(after[..., 120:], before.mean(dim=-1, keepdim=True).expand(-1, -1, 4), atol=1e-4)


@each_family
@pytest.mark.parametrize("spare", [0, 8])
def test_a_newline_begins_with_middling_logits(family, spare):
    """Spare rows were trained never to be written; a line break is written in each paragraph."""
    tokenizer = tiny_pair_tokenizer()
    rows = len(tokenizer) + spare
    model = tiny_pair_model(family, rows)
    before = logits(model)
    (number,) = add_tokens(tokenizer, model, ["\n"]).ids
    after = logits(model)
    kept = [place for place in range(after.shape[-1]) if place != number]
    assert torch.equal(after[..., kept], before[..., [place for place in range(rows) if place != number]])
    assert torch.allclose(after[..., number], after[..., kept].mean(dim=-1), atol=1e-4)
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert torch.equal(head[number], embedding[number])


def test_a_line_break_is_text_and_a_marker_is_special():
    tokenizer = tiny_pair_tokenizer()
    newline, marker = extend_tokenizer(tokenizer, ["\n", "[EOI]"])
    assert [tokenizer.added_tokens_decoder[number].special for number in (newline, marker)] == [False, True]
    assert tokenizer.decode(tokenizer("a\nb [EOI]")["input_ids"], skip_special_tokens=True).split(" ")[0] == "a\n"


# --- answers -------------------------------------------------------------------------------------------------------

TOKENIZER = tiny_pair_tokenizer()
(NEWLINE,) = extend_tokenizer(TOKENIZER, ["\n"])


def written(texts):
    """A model that answers any prompt with the next of ``texts``, each to its end, whatever it is asked."""
    model = tiny_pair_model("t5", len(TOKENIZER) + 8)
    rows = [TOKENIZER(text)["input_ids"] for text in texts]

    class Head(torch.nn.Module):
        weight = model.lm_head.weight

        def forward(self, hidden):
            out = torch.full((*hidden.shape[:-1], len(TOKENIZER) + 8), -50.0)
            for number in range(hidden.shape[0]):
                row = rows[number % len(rows)]
                out[number, -1, row[min(self.step, len(row) - 1)]] = 50.0
            self.step += 1
            return out

    head = Head()
    head.step = 0
    model.lm_head = head
    return model


def test_answers_end_at_eos_and_line_breaks_are_restored():
    texts = ["the cat runs\nover the tree", "a dog"]
    first, second = generate(written(texts), TOKENIZER, ["x", "y"], GREEDY, Asking(restored=Restored("token")))
    assert [first.text, second.text] == texts
    assert first.finished
    assert second.finished
    assert second.tokens == len(TOKENIZER("a dog")["input_ids"]) - 1
    (cut,) = generate(written(texts), TOKENIZER, ["x"], Decoding(3, greedy=True))
    assert (cut.tokens, cut.finished) == (3, False)


@pytest.mark.parametrize("way", ["token", "marker"])
def test_a_streamed_answer_is_the_answer(way):
    text = "the cat runs\n\nover the tree\na dog"
    model = written([text if way == "token" else text.replace("\n", " [NL] ")])
    told = []
    (answer,) = generate(
        model, TOKENIZER, ["x"], Decoding(60, greedy=True), Asking(restored=Restored(way)), on_text=told.append
    )
    assert answer.text == text
    assert "".join(told).strip() == text
    assert len(told) > 3


@each_family
def test_a_prompt_is_answered_the_same_alone_and_among_longer_ones(family):
    model = tiny_pair_model(family, len(TOKENIZER) + 8)
    prompts = ["the cat", "the big red bird sleeps under the old stone house near the river", "a\ndog"]
    together = generate(model, TOKENIZER, prompts, GREEDY)
    assert together == [generate(model, TOKENIZER, [prompt], GREEDY)[0] for prompt in prompts]


@pytest.mark.parametrize("decoding", [Decoding(8, seed=3), Decoding(8, beams=3)], ids=["nucleus", "beams"])
def test_sampling_repeats_with_its_seed_and_beams_run(decoding):
    model = tiny_pair_model("t5-v1.1", len(TOKENIZER) + 8)
    once, again = (generate(model, TOKENIZER, ["the cat", "a dog"], decoding) for _ in range(2))
    assert once == again
    assert len(once) == 2


def test_load_tokenizer_reads_t5s(tmp_path):
    tokenizer = load_tokenizer(ref_of(save_tiny_pair(tmp_path)))
    assert tokenizer("the cat")["input_ids"] == tiny_pair_tokenizer()("the cat")["input_ids"]
