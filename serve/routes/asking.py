"""What several routes share: a request's wishes to a question, who asks, how long it may take, parts to events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, WithJsonSchema
from starlette.requests import HTTPConnection

from rejoinder.dialogue import Reply, ReplyPart, SpeltLogprob
from rejoinder.errors import RejoinderError
from serve.answering import FINISH_REASONS, Answer, Question
from serve.errors import refusal
from serve.messages import NAME, ChatMessage, ErrorBody, FinishReason, Logprobs, TokenLogprobs, TokenProbability, Wishes
from serve.service import Caller, Service
from serve.store.turns import Said
from serve.tracing import parts_of

Found = TypeVar("Found")
log = logging.getLogger(__name__)
SYSTEM_ROLES = ("system", "developer")
# A header is there or not: none is null, as these types would have it in the documentation.
Timeout = Annotated[
    float | None,
    WithJsonSchema({"type": "number", "minimum": 0.001, "maximum": 86_400}),
    Header(alias="x-request-timeout", ge=0.001, le=86_400, allow_inf_nan=False, description="Seconds it may take."),
]
SessionHeader = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "maxLength": 64, "pattern": NAME}),
    Header(alias="x-session-id", max_length=64, pattern=NAME, description="Like session_id in the body."),
]


def caller_of(connection: HTTPConnection) -> Caller:
    """Who was let in."""
    caller: Caller = connection.state.caller
    return caller


def timeout_of(service: Service, asked_s: float | None) -> float:
    """Seconds that a request may take."""
    limit_s = service.serving.request_timeout_s
    return limit_s if asked_s is None else min(asked_s, limit_s)


def question_of(
    wishes: Wishes, model: str, messages: Iterable[ChatMessage], session_id: str | None = None, keep: bool = False
) -> Question:
    """A request in the words of the model."""
    said: list[Said] = []
    system: list[str] = []
    for message in messages:
        if message.role in SYSTEM_ROLES:
            system.append(message.content)
        else:
            said.append((message.role, message.content))
    control: list[tuple[str, str]] = [
        (kind, text)
        for kind, texts in wishes.control.items()
        for text in ([texts] if isinstance(texts, str) else texts)
    ]
    return Question(model, said, system, control, wishes.decoding(), session_id, keep, wishes.user)


def reason_of(part: ReplyPart | Reply) -> FinishReason:
    """Why a reply ended, in OpenAI's words."""
    assert part.finish is not None
    reason: FinishReason = FINISH_REASONS[part.finish]  # type: ignore[assignment]
    return reason


def logprobs_of(told: Iterable[SpeltLogprob]) -> Logprobs:
    """In OpenAI's shape."""

    def one(text: str, logprob: float) -> TokenProbability:
        return TokenProbability(token=text, logprob=logprob, bytes=list(text.encode()))

    content = [
        TokenLogprobs(
            **one(token.text, token.logprob).model_dump(),
            top_logprobs=[one(text, logprob) for text, logprob in token.most_probable],
        )
        for token in told
    ]
    return Logprobs(content=content)


async def whole(answer: Answer, question: Question) -> Reply:
    """All of a reply, of several the best."""
    return (await every(answer, question))[0]


async def every(answer: Answer, question: Question) -> list[Reply]:
    """All replies that were asked for, the best first."""
    async with aclosing(parts_of(answer, question, at_once=True)) as parts:
        said = [part async for part in parts]
    if answer.replies:
        return answer.replies
    text, logprobs = "".join(part.text for part in said), tuple(one for part in said for one in part.logprobs)
    assert answer.finish is not None
    return [Reply(text, answer.num_context_tokens, said[-1].num_tokens, answer.finish, None, logprobs)]


async def together(work: Iterable[Coroutine[Any, Any, Found]]) -> list[Found]:
    """What each of them returns; when one fails the others are cancelled, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def note(connection: HTTPConnection, answer: Answer, question: Question) -> None:
    """Tells the log line what it may say of a reply."""
    state = connection.state
    state.reply_id, state.num_context_tokens = answer.id, answer.num_context_tokens
    state.num_reply_tokens = answer.num_reply_tokens
    if answer.session_id is not None:
        state.session_id = answer.session_id
    if answer.finish is not None:
        state.finish = FINISH_REASONS[answer.finish]
    state.text = question.said[-1][1] if question.said else ""


async def event_stream(
    request: Request,
    answer: Answer,
    question: Question,
    chunks: Callable[[AsyncIterator[ReplyPart]], AsyncIterator[BaseModel]],
) -> StreamingResponse:
    """Server-sent events of what `chunks` makes of the parts. Whatever can be refused is refused before it begins."""
    parts = parts_of(answer, question)
    first = await anext(parts)

    async def all_parts() -> AsyncIterator[ReplyPart]:
        part = first
        yield part
        async for part in parts:
            yield part

    async def events() -> AsyncIterator[str]:
        try:
            async for chunk in chunks(all_parts()):
                yield f"data: {chunk.model_dump_json(exclude_none=True)}\n\n"
        except Exception as error:  # the status line is gone; the stream must say it
            refused = refusal(error)
            request.state.error = refused.detail.code or refused.detail.type
            yield f"data: {ErrorBody(error=refused.detail).model_dump_json()}\n\n"
            # Raised, it would end the body without its last message, and the door takes that for a lost replica.
            if not isinstance(error, RejoinderError) and refused.status == 500:
                log.exception("the stream of request %s failed", request.state.request_id)
            return
        finally:
            note(request, answer, question)
            await parts.aclose()
        yield "data: [DONE]\n\n"

    headers = {} if answer.session_id is None else {"x-session-id": answer.session_id}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)
