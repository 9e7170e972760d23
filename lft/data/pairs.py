"""One example of an encoder-decoder: what is read, and what is answered.

    encoder   instruction </s>          the bare instruction, as FLAN-T5 and LongForm-T5-XL are asked
    labels    output </s>               all of them in the loss
    decoder   <pad> output              the labels one place later, made when a batch is laid out

``data.max_length`` bounds each side by itself: they are attended to apart, and each costs its own length.
"""

from __future__ import annotations

from dataclasses import dataclass

from lft.errors import RecipeError
from lft.recipe.schema import Data


@dataclass(frozen=True, slots=True)
class Pair:
    """Tokens of both sides, each with its end-of-sequence token; ``labels`` are all in the loss.

    The labels lack that end where they were cut.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.input_ids) + len(self.labels)

    @property
    def supervised(self) -> int:
        """Number of tokens in the loss."""
        return len(self.labels)

    @property
    def extent(self) -> int:
        """What ``data.max_length`` bounds: the longer side."""
        return max(len(self.input_ids), len(self.labels))

    def cut(self, length: int) -> Pair:
        """Both sides cut to ``length`` tokens; the encoder's keeps its end, which it is asked with."""
        ids = self.input_ids
        return Pair(ids if len(ids) <= length else (*ids[: length - 1], ids[-1]), self.labels[:length])


def require_pair_settings(data: Data) -> None:
    """What a recipe may not ask of an encoder-decoder.

    Raises:
        RecipeError: packing, another prompt than plain, or splitting long examples.
    """
    for key, wrong, why, fix in (
        ("prompt", data.prompt != "plain", "an encoder-decoder reads the bare instruction", "data.prompt: plain"),
        (
            "packing",
            data.packing,
            "packed examples would read each other's instructions",
            "data.packing: false",
        ),
        (
            "overlong",
            data.overlong == "split",
            "a later part of an output would be trained as its beginning",
            "data.overlong: truncate, drop or error",
        ),
    ):
        if wrong:
            asked = str(getattr(data, key)).lower()
            raise RecipeError(f"{asked} is for decoders only: {why}", where=f"data.{key}", fix=f"write {fix}")
