"""Tensors and rows that replace the base's: merged where that is defined, refused where the base is needed."""

from __future__ import annotations

import pytest
import torch

from lft.adapters.algebra.exact import Sum
from lft.adapters.algebra.sparse import Ties
from lft.adapters.algebra.subspace import Tsv
from lft.adapters.deltas import Delta, Rows
from lft.adapters.merge import merge
from lft.errors import InputError
from tests.merging import delta, distance, generator, plan, sources

HEAD = "lm_head.weight"
EMBED = "model.embed_tokens.weight"
BASE = {HEAD: torch.randn(20, 6, generator=generator(1)), EMBED: torch.randn(20, 6, generator=generator(2))}


def whole(seed: int) -> Delta:
    return Delta(delta(seed).factors, {}, {HEAD: torch.randn(20, 6, generator=generator(seed))})


def rows(seed: int, tokens: tuple[int, ...], texts: tuple[str, ...] | None = None) -> Delta:
    values = torch.randn(len(tokens), 6, generator=generator(seed))
    return Delta(delta(seed).factors, rows={EMBED: Rows(tokens, texts, values)})


def test_one_owner_of_weight_one_keeps_its_tensor_to_the_bit() -> None:
    a = whole(3)
    found = merge(plan("cat", {"a": 1.0, "b": 0.5}), sources(a=a, b=delta(4)))
    assert torch.equal(found.delta.whole[HEAD], a.whole[HEAD])


@pytest.mark.parametrize("method", ["cat", "ties", "tsv-m"])
def test_weights_that_sum_to_one_need_no_base(method: str) -> None:
    a, b = whole(3), whole(4)
    found = merge(plan(method, {"a": 0.7, "b": 0.3}), sources(a=a, b=b))
    assert distance(found.delta.whole[HEAD], 0.7 * a.whole[HEAD] + 0.3 * b.whole[HEAD]) < 1e-6


def test_other_weights_take_the_base_or_are_refused() -> None:
    a, b = whole(3), whole(4)
    found = merge(plan("cat", {"a": 1.0, "b": 1.0}), sources(a=a, b=b), BASE.get)
    assert distance(found.delta.whole[HEAD], a.whole[HEAD] + b.whole[HEAD] - BASE[HEAD]) < 1e-6
    with pytest.raises(InputError) as raised:
        merge(plan("cat", {"a": 1.0, "b": 1.0}), sources(a=a, b=b))
    assert all(word in str(raised.value) for word in (HEAD, " and ", "sum to 2", "replaced=mean"))


def test_a_mean_is_by_weight_and_is_written_down() -> None:
    a, b = whole(3), whole(4)
    found = merge(plan("cat", {"a": 3.0, "b": 1.0}, replaced="mean"), sources(a=a, b=b))
    assert distance(found.delta.whole[HEAD], 0.75 * a.whole[HEAD] + 0.25 * b.whole[HEAD]) < 1e-6
    assert found.certificate.replaced == "mean"


def test_a_weight_of_zero_leaves_the_bases_own() -> None:
    found = merge(plan("cat", {"a": 0.0}), sources(a=whole(3)))
    assert not found.delta.whole


def test_rows_are_aligned_by_text() -> None:
    a, b = rows(3, (21, 20), ("[NL]", "[EOI]")), rows(4, (20,), ("[EOI]",))
    found = merge(plan("cat", {"a": 1.0, "b": 0.0}), sources(a=a, b=b)).delta.rows[EMBED]
    assert (found.tokens, found.texts) == ((20, 21), ("[EOI]", "[NL]"))
    assert torch.equal(found.values, a.rows[EMBED].values[[1, 0]])


def test_shared_rows_are_summed_and_own_rows_need_a_weight_of_one() -> None:
    a, b = rows(3, (20,), ("[EOI]",)), rows(4, (20,), ("[EOI]",))
    found = merge(plan("cat", {"a": 0.6, "b": 0.4}), sources(a=a, b=b)).delta.rows[EMBED]
    assert distance(found.values, 0.6 * a.rows[EMBED].values + 0.4 * b.rows[EMBED].values) < 1e-6
    lone = rows(5, (20, 21), ("[EOI]", "[NL]"))
    with pytest.raises(InputError, match=r"row 21 \('\[NL\]'\) replaces the base's in c"):
        merge(plan("cat", {"a": 0.6, "c": 0.4}), sources(a=a, c=lone), BASE.get)  # the base has no row 21


def test_rows_of_the_base_are_taken_from_it() -> None:
    a = rows(3, (5,))
    found = merge(plan("cat", {"a": 0.5}), sources(a=a), BASE.get).delta.rows[EMBED]
    assert distance(found.values, 0.5 * a.rows[EMBED].values + 0.5 * BASE[EMBED][[5]]) < 1e-6


def test_a_token_with_two_numbers_and_a_number_with_two_tokens_are_refused() -> None:
    a, b = rows(3, (20,), ("[EOI]",)), rows(4, (21,), ("[EOI]",))
    with pytest.raises(InputError, match=r"'\[EOI\]' has two numbers: 20 in a, 21 in b"):
        merge(plan("cat", {"a": 0.5, "b": 0.5}), sources(a=a, b=b))
    c = rows(5, (20,), ("[NL]",))
    with pytest.raises(InputError, match="are both token 20"):
        merge(plan("cat", {"a": 1.0, "c": 1.0}), sources(a=a, c=c))


def test_whole_tensors_of_other_rows_are_refused() -> None:
    b = Delta({}, {}, {HEAD: torch.zeros(21, 6)})
    with pytest.raises(InputError, match="other shapes in"):
        merge(plan("cat", {"a": 0.5, "b": 0.5}), sources(a=whole(3), b=b))


METHODS_WITH_LAMBDA = {"cat": Sum, "ties": Ties, "tsv-m": Tsv}


@pytest.mark.parametrize("method", METHODS_WITH_LAMBDA)
@pytest.mark.parametrize("by", [0.0, 0.5, 2.0])
def test_lambda_scales_what_replaces_as_it_scales_what_is_added(method: str, by: float) -> None:
    """base + lambda (v - base), for whole tensors and for rows: as merging with weights lambda times as large."""
    a = Delta(delta(3).factors, {}, whole(3).whole, rows(3, (5, 7)).rows)
    found = merge(plan(method, {"a": 1.0}, METHODS_WITH_LAMBDA[method](lambda_=by)), sources(a=a), BASE.get).delta
    if by == 0:
        assert not found.whole
        assert not found.rows
        return
    head, embedding = a.whole[HEAD], a.rows[EMBED].values
    assert distance(found.whole[HEAD], BASE[HEAD] + by * (head - BASE[HEAD])) < 1e-6
    assert distance(found.rows[EMBED].values, BASE[EMBED][[5, 7]] + by * (embedding - BASE[EMBED][[5, 7]])) < 1e-6


def test_lambda_other_than_one_needs_the_base() -> None:
    with pytest.raises(InputError, match=r"their weights \(times lambda\) sum to 0.5"):
        merge(plan("cat", {"a": 1.0}, Sum(lambda_=0.5)), sources(a=whole(3)))


def test_lambda_and_weights_that_make_one_need_no_base() -> None:
    a = whole(3)
    found = merge(plan("cat", {"a": 2.0}, Sum(lambda_=0.5)), sources(a=a))
    assert torch.equal(found.delta.whole[HEAD], a.whole[HEAD])
