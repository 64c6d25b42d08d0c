"""`POST /v1/chat/completions`: OpenAI's chat, whole or as server-sent events, in a session or without one."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from rejoinder.dialogue import ReplyPart
from serve.answering import Answer, Question
from serve.errors import Refused
from serve.messages import (
    ChatChunk,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    Usage,
    now,
)
from serve.routes.asking import (
    SessionHeader,
    Timeout,
    caller_of,
    event_stream,
    every,
    logprobs_of,
    note,
    question_of,
    reason_of,
    timeout_of,
)
from serve.service import Service

_ROLE = Delta(role="assistant", content="")


def add(api: FastAPI, service: Service) -> None:
    """Adds the route."""

    @api.post("/v1/chat/completions", response_model=ChatCompletion, response_model_exclude_none=True, tags=["chat"])
    async def chat_completions(
        body: ChatRequest, request: Request, response: Response, timeout: Timeout = None, session: SessionHeader = None
    ) -> ChatCompletion | StreamingResponse:
        """The assistant's reply to a conversation; with `stream`, token by token as server-sent events.

        With `session_id`, the messages are what is new in a conversation that the server keeps, and the reply's end
        comes when both are kept. System messages are read by models that were trained with them (`system` in
        text.control_tokens), and left out for others, which have only learnt what people say to each other.
        """
        question = chat_question(body, session)
        answer = Answer(service, caller_of(request), question, timeout_of(service, timeout))
        if body.stream:
            return await event_stream(request, answer, question, lambda parts: chunks_of(body, answer, parts))
        replies = await every(answer, question)
        note(request, answer, question)
        if answer.session_id is not None:
            response.headers["x-session-id"] = answer.session_id
        choices = [
            Choice(
                index=index,
                message=ChatMessage(role="assistant", content=reply.text),
                logprobs=logprobs_of(reply.logprobs) if body.logprobs else None,
                finish_reason=reason_of(reply),
            )
            for index, reply in enumerate(replies)
        ]
        return ChatCompletion(
            id=answer.id,
            created=now(),
            model=body.model,
            choices=choices,
            usage=Usage.of(answer.num_context_tokens, answer.num_reply_tokens),
            session_id=answer.session_id,
        )


def chat_question(body: ChatRequest, session: str | None = None) -> Question:
    """A request's question; `session` is what its header says. Raises Refused when header and body disagree."""
    if session is not None and body.session_id not in (None, session):
        raise Refused(
            400, f"session_id = {body.session_id!r} and the header x-session-id = {session!r} differ; give one"
        )
    session_id = body.session_id or session
    if session_id is not None and not any(message.role == "user" for message in body.messages):
        raise Refused(400, "messages: in a session they are what is new, and nothing of it is the user's; add a turn")
    return question_of(body, body.model, body.messages, session_id, body.store)


async def chunks_of(body: ChatRequest, answer: Answer, parts: AsyncIterator[ReplyPart]) -> AsyncIterator[ChatChunk]:
    """Of each reply the role, each piece of text, the reason for its end; the tokens used if they were asked for."""
    created = now()

    def chunk(*choices: ChunkChoice, usage: Usage | None = None) -> ChatChunk:
        return ChatChunk(
            id=answer.id, created=created, model=body.model, choices=list(choices), usage=usage,
            session_id=answer.session_id,
        )  # fmt: skip

    has_role = set[int]()
    async for part in parts:
        if part.index not in has_role:
            has_role.add(part.index)
            yield chunk(ChunkChoice(index=part.index, delta=_ROLE))
        choice = ChunkChoice(
            index=part.index,
            delta=Delta(content=part.text),
            logprobs=logprobs_of(part.logprobs) if body.logprobs else None,
            finish_reason=reason_of(part) if part.finish else None,
        )
        yield chunk(choice)
    if body.stream_options is not None and body.stream_options.include_usage:
        yield chunk(usage=Usage.of(answer.num_context_tokens, answer.num_reply_tokens))
