"""A language model and what may be asked of it, as files name it: builds of data sets, evaluation suites."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lft.recipe.schema import NonEmpty, Option, PositiveInt

_Share = Annotated[float, Field(strict=True, ge=0, le=1)]
_Count = Annotated[int, Field(strict=True, ge=0)]


class Backend(BaseModel):
    """A language model and what may be asked of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    kind: Literal["openai", "transformers", "vllm"] = Field(
        description="openai: any endpoint of that API; transformers: in this process; vllm: datatrove's, on a cluster"
    )
    model: NonEmpty = Field(description="the endpoint's name for it; else hub id, folder or package://")
    url: NonEmpty | None = Field(None, description="openai: address up to and with /v1")
    key_env: Option | None = Field(None, description="openai: environment variable that holds the key")
    api: Literal["chat", "completions"] = Field("chat", description="openai, vllm: which of the two interfaces")
    concurrency: PositiveInt = Field(16, description="requests under way at once; transformers: prompts of a batch")
    gpus: PositiveInt = Field(1, description="vllm: GPUs of one server")
    context: PositiveInt = Field(8192, description="vllm: tokens of prompt and reply together at most")
    timeout_seconds: Annotated[float, Field(strict=True, gt=0)] = Field(120.0, description="patience with one request")
    retries: _Count = Field(6, description="further tries after 429, 5xx, time-outs and cut streams, with back-off")
    requests_per_minute: PositiveInt | None = Field(None, description="rate limit; null: none")
    tokens_per_minute: PositiveInt | None = Field(None, description="rate limit; null: none")
    price_in: Annotated[float, Field(strict=True, ge=0)] = Field(0.0, description="money for a million tokens read")
    price_out: Annotated[float, Field(strict=True, ge=0)] = Field(0.0, description="money for a million tokens written")
    budget: Annotated[float, Field(strict=True, gt=0)] | None = Field(None, description="money at which the run stops")
    token_budget: PositiveInt | None = Field(None, description="tokens, read and written, after which the run stops")
    temperature: Annotated[float, Field(strict=True, ge=0)] = Field(0.7, description="0 is greedy")
    top_p: _Share = Field(0.9, description="nucleus")
    max_tokens: PositiveInt = Field(128, description="tokens of a reply at most")
    seed: _Count = Field(42, description="with the document's hash, the seed of its request")
