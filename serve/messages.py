"""What travels over HTTP, in OpenAI's shape. A field that is not here is refused by its name."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_MESSAGES = 256
MAX_CHARACTERS = 20_000


Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChatMessage(_Message):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=MAX_CHARACTERS)]


class ChatRequest(_Message):
    """`POST /v1/chat/completions`. What is not given is taken from the model's recipe."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"model": "chat", "messages": [{"role": "user", "content": "Hello, how are you?"}]}]
        },
    )

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=1, le=10)] | None = None
    no_repeat_ngram_tokens: Annotated[int, Field(ge=0, le=1_000)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    max_completion_tokens: Annotated[int, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    control: dict[Literal["system", "speaker", "persona", "topic", "rating", "emotion"], Text | list[Text]] = {}
    """What is asked of the reply, if the model was trained for it: {"emotion": "joy", "persona": ["i like cats"]}."""
    user: str | None = None
    """Accepted and not used."""


class Usage(_Message):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, num_context_tokens: int, num_reply_tokens: int) -> Usage:
        """From our counts."""
        return cls(
            prompt_tokens=num_context_tokens,
            completion_tokens=num_reply_tokens,
            total_tokens=num_context_tokens + num_reply_tokens,
        )


class Choice(_Message):
    """The reply."""

    index: int = 0
    message: ChatMessage
    finish_reason: Literal["stop", "length"]


class ChatCompletion(_Message):
    """A whole reply."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(_Message):
    """What a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(_Message):
    """One chunk of the reply."""

    index: int = 0
    delta: Delta
    finish_reason: Literal["stop", "length"] | None = None


class ChatChunk(_Message):
    """One event of a streamed reply."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class ModelCard(_Message):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rejoinder"


class ModelList(_Message):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorDetail(_Message):
    """What went wrong and what to do."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(_Message):
    """OpenAI's error shape."""

    error: ErrorDetail


def new_id() -> str:
    """Names one reply."""
    return f"chatcmpl-{uuid.uuid4().hex}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
