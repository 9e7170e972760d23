"""The order of rows is the same for any number of processes, and nobody sees a row twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lft.data.tokens import IGNORE, Tokens
from lft.train.batches import Segment, collate
from lft.train.order import BLANK, RowOrder, as_dataset


@given(rows=st.integers(1, 60), multiple=st.integers(1, 9), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 5))
def test_an_epoch_has_each_row_once_and_then_only_blanks(rows: int, multiple: int, seed: int, epoch: int) -> None:
    order = RowOrder(rows, multiple, seed)
    order.set_epoch(epoch)
    seen = list(order)
    assert sorted(seen[:rows]) == list(range(rows))
    assert seen[rows:] == list(range(rows, len(order)))
    assert len(seen) == len(order)
    assert len(order) % multiple == 0
    assert len(order) - rows < multiple


@given(rows=st.integers(2, 60), seed=st.integers(0, 2**32 - 1))
def test_the_order_depends_on_seed_and_epoch_and_not_on_the_number_of_processes(rows: int, seed: int) -> None:
    def order(multiple: int, epoch: int = 0, seed: int = seed) -> list[int]:
        made = RowOrder(rows, multiple, seed)
        made.set_epoch(epoch)
        return list(made)[:rows]

    assert order(1) == order(2) == order(8)
    if rows > 12:  # 12! orders: alike by chance for nobody
        assert order(1) != order(1, epoch=1)
        assert order(1) != order(1, seed=seed ^ 1)


def test_a_blank_row_is_one_token_that_is_not_trained_on() -> None:
    batch = collate([{"row": BLANK}])
    assert batch["input_ids"].shape == (1, 1)
    assert batch["labels"].tolist() == [[IGNORE]]


def test_a_data_set_ends_with_blank_rows_up_to_the_multiple() -> None:
    rows = [(Segment(Tokens((5, 6), (IGNORE, 6)), number),) for number in range(5)]
    made = as_dataset(rows, 4)  # type: ignore[arg-type]
    assert len(made) == 8
    assert [made[number]["row"] for number in range(8)] == [*rows, BLANK, BLANK, BLANK]
