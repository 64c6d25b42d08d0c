"""What travels over HTTP, in OpenAI's shape. A field that is not here is refused by its name."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_MESSAGES, MAX_PROMPTS = 256, 128
MAX_BAD_CHARACTERS = 5_000
"""Of all `bad_words` of a request: each is spelt in eight ways, while all other replies stand still."""
LONGEST_TURN = 1_000_000
"""Characters; `serving.max_turn_characters` is what a service takes."""

Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TURN)]
NAME = r"^[A-Za-z0-9._-]+$"
"""What names of sessions and replies are made of."""
ShortText = Annotated[str, Field(min_length=1, max_length=1_000)]
Role = Literal["system", "developer", "user", "assistant"]
FinishReason = Literal["stop", "length"]

_AS_IN_A_RECIPE = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "no_repeat_ngram_tokens", "no_copied_ngram_tokens", "min_reply_tokens", "bad_words", "prefix",
    "num_beams", "num_beam_groups", "diversity_penalty", "length_penalty", "coverage_penalty", "early_stopping",
    "num_candidates", "mmi_weight", "seed",
)  # fmt: skip


class Message(BaseModel):
    """Base of what travels: strict about names and types ("7" is no number), and documented below its fields."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


class ChatMessage(Message):
    """One turn."""

    role: Role
    """`developer` is OpenAI's new word for `system`."""
    content: Annotated[str, Field(max_length=LONGEST_TURN)]
    """Text; a list of OpenAI's parts `{"type": "text", "text": ...}` is put together."""

    @field_validator("content", mode="before")
    @classmethod
    def _of_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise ValueError('each part must be {"type": "text", "text": ...}: this model reads text alone')
        return "".join(part["text"] for part in content)


class StreamOptions(Message):
    """What a stream has besides the reply."""

    include_usage: bool = False
    """A last chunk with the tokens that were used, and no choices."""
    include_obfuscation: bool = False
    """Accepted and not used."""


class Wishes(Message):
    """How the reply is to be made. What is not given is taken from the model's recipe."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=1, le=10)] | None = None
    no_repeat_ngram_tokens: Annotated[int, Field(ge=0, le=1_000)] | None = None
    no_copied_ngram_tokens: Annotated[int, Field(ge=0, le=1_000)] | None = None
    min_reply_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    bad_words: Annotated[list[ShortText], Field(max_length=100)] | None = None
    """What is not said; together no more than 5,000 characters."""
    prefix: Annotated[str, Field(max_length=1_000)] | None = None
    """What the reply begins with."""
    num_beams: Annotated[int, Field(ge=1, le=16)] | None = None
    """Beams are searched at temperature 0."""
    num_beam_groups: Annotated[int, Field(ge=1, le=16)] | None = None
    diversity_penalty: Annotated[float, Field(ge=0, le=100)] | None = None
    length_penalty: Annotated[float, Field(ge=0, le=5)] | None = None
    coverage_penalty: Annotated[float, Field(ge=0, le=10)] | None = None
    early_stopping: bool | None = None
    num_candidates: Annotated[int, Field(ge=1, le=16)] | None = None
    mmi_weight: Annotated[float, Field(ge=0, le=2)] | None = None
    stop: ShortText | Annotated[list[ShortText], Field(max_length=16)] | None = None
    """The reply ends before the first of these texts."""
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    control: dict[Literal["system", "speaker", "persona", "topic", "rating", "emotion"], Text | list[Text]] = {}
    """What is asked of the reply, if the model was trained for it: {"emotion": "joy", "persona": ["i like cats"]}."""
    user: str | None = None
    """Where there is no session, a canary's choice sticks to it; else not used."""

    @field_validator("bad_words")
    @classmethod
    def _few_characters(cls, words: list[str] | None) -> list[str] | None:
        if (number := sum(map(len, words or ()))) > MAX_BAD_CHARACTERS:
            raise ValueError(f"{number} characters; this service takes up to {MAX_BAD_CHARACTERS} of all together")
        return words

    def decoding(self) -> dict[str, Any]:
        """What is to be changed of the recipe's `decoding`, by its names; None changes nothing."""
        same = {name: getattr(self, name) for name in _AS_IN_A_RECIPE}
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return same | {"stop": stop, "max_reply_tokens": self.max_tokens}


class ChatRequest(Wishes):
    """`POST /v1/chat/completions`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "chat", "messages": [{"role": "user", "content": "Hello, how are you?"}]},
                {"model": "chat", "messages": [{"role": "user", "content": "And you?"}], "session_id": "new"},
            ]
        }
    )

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    """The conversation so far; in a session, what is new in it."""
    stream: bool = False
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    max_completion_tokens: Annotated[int, Field(gt=0)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] = 1
    """Replies to choose from, the best first; there are fewer when the model finds no more that differ. In a stream
    they are written side by side, in the order in which they were drawn."""
    logprobs: bool = False
    """Whether each token's log-probability is told, in the model's own distribution."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """And those of this many most probable tokens at its place; only with `logprobs`."""
    session_id: Annotated[str, Field(max_length=64, pattern=NAME)] | None = None
    """Keeps the conversation on the server: `new` begins one, whose name is in the answer (and its header
    x-session-id). The header x-session-id of a request says the same."""
    store: bool = False
    """Keeps the messages and the reply, so that feedback can be given on it; in a session they are kept anyhow."""

    @model_validator(mode="after")
    def _suit_each_other(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is for streams; set stream, or leave it out")
        if self.n > 1 and (self.store or self.session_id is not None):
            raise ValueError("n: a session and what is stored have one reply; leave out n, or the other")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is for logprobs; set logprobs, or leave it out")
        return self

    def decoding(self) -> dict[str, Any]:
        """What is to be changed of the recipe's `decoding`, by its names; None changes nothing."""
        changes = super().decoding() | {"num_replies": self.n}
        if self.max_completion_tokens is not None:
            changes["max_reply_tokens"] = self.max_completion_tokens
        if self.logprobs:
            changes["num_logprobs"] = self.top_logprobs or 0
        return changes


class CompletionRequest(Wishes):
    """`POST /v1/completions`: a reply to one turn of somebody else, without roles."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "chat", "prompt": "Hello, how are you?"}]})

    model: str
    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)]
    """A turn to reply to; of a list each by itself."""
    stream: bool = False
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    n: Annotated[int, Field(ge=1, le=16)] = 1
    """Replies to each prompt, the best first: those to the prompt i have an `index` from i * n on. There are fewer when
    the model finds no more that differ. In a stream they are written side by side, in the order in which they were
    drawn."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Each token's log-probability is told, in the model's own distribution, and those of this many most probable
    tokens at its place."""

    @model_validator(mode="after")
    def _suit_each_other(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is for streams; set stream, or leave it out")
        if self.stream and not isinstance(self.prompt, str):
            raise ValueError("prompt: a stream replies to one prompt; give one text, or leave out stream")
        return self

    def decoding(self) -> dict[str, Any]:
        """What is to be changed of the recipe's `decoding`, by its names; None changes nothing."""
        return super().decoding() | {"num_replies": self.n, "num_logprobs": self.logprobs}


class BatchRequest(Wishes):
    """`POST /v1/chat/batch`: many conversations at once, each with the same wishes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "chat",
                    "conversations": [
                        [{"role": "user", "content": "Hello!"}],
                        [{"role": "user", "content": "What do you like?"}],
                    ],
                }
            ]
        }
    )

    model: str
    conversations: Annotated[
        list[Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]],
        Field(min_length=1, max_length=MAX_PROMPTS),
    ]


class Usage(Message):
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


class TokenProbability(Message):
    """A token and the logarithm of its probability, in nats."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprobs(TokenProbability):
    """A token of the reply, and the most probable ones at its place."""

    top_logprobs: list[TokenProbability]


class Logprobs(Message):
    """Of each token of a reply, or of a chunk of it."""

    content: list[TokenLogprobs]


class Choice(Message):
    """The reply."""

    index: int = 0
    message: ChatMessage
    logprobs: Logprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(Message):
    """A whole reply."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    session_id: str | None = None


class Delta(Message):
    """What a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Message):
    """One chunk of the reply."""

    index: int = 0
    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Message):
    """One event of a streamed reply."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    session_id: str | None = None


class TextLogprobs(Message):
    """Of each token of a reply, or of a chunk of it, in four lists of the same length."""

    tokens: list[str]
    token_logprobs: list[float]
    """In nats."""
    top_logprobs: list[dict[str, float]]
    """The most probable tokens at each place with theirs."""
    text_offset: list[int]
    """Where in the reply each token begins, in characters."""


class TextChoice(Message):
    """A reply, or one chunk of it."""

    index: int = 0
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None = None


class TextCompletion(Message):
    """Whole replies, or one event of a streamed one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class ErrorDetail(Message):
    """What went wrong and what to do."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Message):
    """OpenAI's error shape."""

    error: ErrorDetail


class BatchItem(Message):
    """The reply to one conversation, or why there is none."""

    index: int
    message: ChatMessage | None = None
    finish_reason: FinishReason | None = None
    error: ErrorDetail | None = None


class Batch(Message):
    """Replies in the order of the conversations."""

    id: str
    object: Literal["chat.completion.batch"] = "chat.completion.batch"
    created: int
    model: str
    data: list[BatchItem]
    usage: Usage


class ModelCard(Message):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rejoinder"


class ModelList(Message):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def new_id(kind: str = "chatcmpl") -> str:
    """Names one reply."""
    return f"{kind}-{uuid.uuid4().hex}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
