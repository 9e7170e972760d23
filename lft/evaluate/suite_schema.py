"""The file of an evaluation suite (`lft/evaluate/suites/*.yaml`) as frozen objects: each key with its meaning."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from lft.recipe.schema import Flag, Name, NonEmpty, Option, PositiveInt, Real

MetricName = Literal[
    "meteor", "meteor-1.5", "rouge-1", "rouge-2", "rouge-l", "bleu", "chrf++", "self-bleu", "distinct-1", "distinct-2",
    "distinct-3", "repetition", "length-ratio", "words", "s-l", "life", "eos-rate", "truncation-rate", "constraints",
    "bits-per-byte", "nll-per-token", "perplexity", "ranking", "judge", "bertscore",
]  # fmt: skip
METRICS: Final[tuple[str, ...]] = get_args(MetricName)
BY_DEFAULT: Final[tuple[MetricName, ...]] = (
    "meteor", "rouge-1", "rouge-2", "rouge-l", "bleu", "chrf++", "self-bleu", "distinct-1", "distinct-2", "repetition",
    "length-ratio", "words", "eos-rate", "truncation-rate",
)  # fmt: skip
Group = Literal["in-domain", "out-of-domain", "length", "knowledge"]
Lang = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]
Seed = Annotated[int, Field(strict=True, ge=0)]
_COLUMN: Final = "a column is written {name}"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Part(_Closed):
    """Rows of one place: a hub data set, a folder, a file, or a file that ships with lft."""

    path: NonEmpty = Field(description="hub id, folder, .json, .jsonl or .parquet file; suite://x.jsonl ships with lft")
    lang: Lang | None = Field(None, description="ISO 639-1 of all rows; null: the column lang of each row says")
    split: NonEmpty = Field("test", description="the split that is read; a file without splits is read whole")
    config: NonEmpty | None = Field(None, description="hub: the configuration")
    revision: NonEmpty | None = Field(None, description="hub: commit, tag or branch")
    columns: dict[Option, NonEmpty] = Field(
        default_factory=dict, description="a name for the templates: the column that it stands for (answers.text.0)"
    )
    source: str = Field("", description=f"what kind of text it is; {_COLUMN}")
    subset: str = Field("", description=f"a finer kind; {_COLUMN}")
    limit: PositiveInt | None = Field(None, description="items at most of each language, drawn evenly by hash")
    per_source: PositiveInt | None = Field(None, description="items at most of each source, drawn evenly by hash")
    scan: PositiveInt | None = Field(None, description="rows that are looked at, from the first; null: all")
    licence: NonEmpty | None = Field(None, description="licence of these rows; null: that of the suite")


class Demand(_Closed):
    """A length that the instruction asks for."""

    number: PositiveInt | NonEmpty = Field(description=f"how many; {_COLUMN}, and a row without it asks for none")
    unit: Literal["words", "sentences", "paragraphs", "steps"] | NonEmpty = Field(
        "words", description=f"of what: words, sentences, paragraphs, steps; {_COLUMN}"
    )
    relation: Literal["equal", "at-most", "at-least"] | NonEmpty = Field(
        "equal", description=f"equal, at-most or at-least; {_COLUMN}"
    )


class Decoding(_Closed):
    """How answers are drawn."""

    max_new_tokens: PositiveInt = Field(512, description="tokens of an answer at most")
    top_p: Share = Field(0.9, description="nucleus sampling; the paper's value")
    temperature: Annotated[float, Field(strict=True, ge=0)] = Field(1.0, description="0 takes the likeliest token")
    samples: PositiveInt = Field(1, description="answers to each item")
    seed: Seed = Field(42, description="of all draws; each sample of each item has a stream of its own from it")


class Harness(_Closed):
    """What lm-evaluation-harness is asked to run."""

    tasks: tuple[NonEmpty, ...] = Field(min_length=1, description="its task names")
    shots: Annotated[int, Field(strict=True, ge=0)] = Field(description="worked examples before each question")


class Published(_Closed):
    """A score that others published; never computed here."""

    model: NonEmpty = Field(description="the model as its publication calls it")
    metric: NonEmpty = Field(description="the metric as published: one of lft's names, or accuracy")
    score: Real = Field(description="the number as printed there")
    note: str = Field("", description="what one must know to compare with it")
    source: NonEmpty = Field(description="where it is printed")


class Suite(_Closed):
    """Questions, how they are asked, how answers are drawn and scored, and what others scored."""

    name: Name = Field(description="the suite's name")
    version: PositiveInt = Field(description="raised when items, wording or decoding change; printed beside scores")
    about: NonEmpty = Field(description="one line for people")
    group: Group = Field(description="the table that it stands in")
    kind: Literal["generation", "harness"] = Field("generation", description="run by lft, or by lm-evaluation-harness")
    licence: NonEmpty = Field(description="licence of the full data")
    origin: NonEmpty = Field(description="where the full data come from, and whose they are")
    by_hand: str = Field("", description="how to get the full data where no hub has them")
    data: tuple[Part, ...] = Field((), description="the full data")
    offline: tuple[Part, ...] = Field((), description="a small set that needs no network")
    prompt: dict[Lang, NonEmpty] = Field(
        default_factory=dict, description="the instruction in each language; {columns} stand for a row's values"
    )
    context: str = Field("", description="material that the instruction talks about; {columns} as in prompt")
    reference: str = Field("", description="what a person wrote; {columns} as in prompt; empty: there is none")
    wanted: tuple[Demand, ...] = Field((), description="lengths that the instruction asks for")
    wanted_in_prompt: Flag = Field(False, description="read lengths from clauses such as: Respond in 58 words.")
    decoding: Decoding = Field(default_factory=Decoding, description="how answers are drawn")
    metrics: tuple[MetricName, ...] = Field(BY_DEFAULT, description="scores, by name")
    harness: Harness | None = Field(None, description="kind harness: what is run")
    published: tuple[Published, ...] = Field((), description="what others scored")

    @property
    def langs(self) -> tuple[str, ...]:
        """Languages that it can ask in."""
        return tuple(self.prompt)
