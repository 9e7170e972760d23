"""Splits: near-duplicates never cross, and what is added later moves nothing."""

from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.document import Pair
from lft.corpus.schema import Write
from lft.corpus.splits import components, splits

HALF = Write(validation=0.25, test=0.25)
TEXTS = st.sampled_from(["Plant it.", "plant  it", "Water it!", "Prune.", "Dig, then wait.", "Rest"])
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=30).map(
    lambda rows: [pair(f"{number:02}", instruction, answer) for number, (instruction, answer) in enumerate(rows)]
)


def pair(id: str, instruction: str, answer: str) -> Pair:
    return Pair(instruction, answer, "s", "", id, "en", "CC0", "instruction")


@given(PAIRS, st.lists(st.sampled_from(["a", "b"]), max_size=30), st.integers(0, 3))
def test_what_belongs_together_is_never_in_two_splits(pairs: list[Pair], names: list[str], seed: int) -> None:
    near = {one.id: name for one, name in zip(pairs, names, strict=False)}
    where = splits(components(pairs, near), HALF, seed)
    for one in pairs:
        for other in pairs:
            alike = (
                one.input.casefold().split() == other.input.casefold().split()
                or one.output == other.output
                or (one.id in near and near.get(one.id) == near.get(other.id))
            )
            assert not alike or where[one.id] == where[other.id]


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_count(pairs: list[Pair], random: object) -> None:
    mixed = list(pairs)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert components(mixed, {}) == components(pairs, {})


def test_a_data_set_that_grows_leaves_every_pair_where_it_was() -> None:
    few = [pair(f"{number:03}", f"question {number}", f"answer {number}") for number in range(100)]
    more = [*few, *(pair(f"{number:03}", f"question {number}", f"answer {number}") for number in range(100, 300))]
    before, after = splits(components(few, {}), HALF, 1), splits(components(more, {}), HALF, 1)
    assert {one: after[one] for one in before} == before
    assert 40 < sum(split == "train" for split in before.values()) < 60


def test_a_split_that_was_asked_for_is_not_empty_where_there_are_groups_enough() -> None:
    pairs = [pair(str(number), f"question {number}", f"answer {number}") for number in range(3)]
    assert set(splits(components(pairs, {}), Write(validation=0.001, test=0.001), 0).values()) == {
        "train",
        "validation",
        "test",
    }
    assert set(splits(components(pairs, {}), Write(validation=0.0, test=0.0), 0).values()) == {"train"}
