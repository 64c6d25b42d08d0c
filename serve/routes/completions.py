"""`POST /v1/completions`: a reply to a single turn, or to each of several, without roles."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from rejoinder.dialogue import Reply, ReplyPart, SpeltLogprob
from serve.answering import Answer, Question
from serve.messages import (
    ChatMessage,
    CompletionRequest,
    TextChoice,
    TextCompletion,
    TextLogprobs,
    Usage,
    new_id,
    now,
)
from serve.routes.asking import (
    Timeout,
    caller_of,
    event_stream,
    every,
    note,
    question_of,
    reason_of,
    timeout_of,
    together,
)
from serve.service import Service


def add(api: FastAPI, service: Service) -> None:
    """Adds the route."""

    @api.post("/v1/completions", response_model=TextCompletion, response_model_exclude_none=True, tags=["chat"])
    async def completions(
        body: CompletionRequest, request: Request, timeout: Timeout = None
    ) -> TextCompletion | StreamingResponse:
        """What the model says when the prompt is said to it: these models reply, they do not write texts to an end."""
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        questions = [_question(body, prompt) for prompt in prompts]
        limit_s, caller = timeout_of(service, timeout), caller_of(request)
        answers = [Answer(service, caller, question, limit_s, "cmpl") for question in questions]
        if body.stream:
            (answer,) = answers
            return await event_stream(request, answer, questions[0], lambda parts: _chunks(body, answer, parts))
        slots = asyncio.Semaphore(service.serving.num_slots)

        async def replies_of(answer: Answer, question: Question) -> list[Reply]:
            async with slots:
                return await every(answer, question)

        found = await together(map(replies_of, answers, questions))
        choices = [
            TextChoice(
                index=index * body.n + rank,
                text=reply.text,
                logprobs=None if body.logprobs is None else _Offsets().told(reply.logprobs),
                finish_reason=reason_of(reply),
            )
            for index, replies in enumerate(found)
            for rank, reply in enumerate(replies)
        ]
        used = Usage.of(
            sum(answer.num_context_tokens for answer in answers), sum(answer.num_reply_tokens for answer in answers)
        )
        note(request, answers[0], questions[0])
        request.state.num_context_tokens, request.state.num_reply_tokens = used.prompt_tokens, used.completion_tokens
        return TextCompletion(id=new_id("cmpl"), created=now(), model=body.model, choices=choices, usage=used)


def _question(body: CompletionRequest, prompt: str) -> Question:
    return question_of(body, body.model, [ChatMessage(role="user", content=prompt)])


async def _chunks(
    body: CompletionRequest, answer: Answer, parts: AsyncIterator[ReplyPart]
) -> AsyncIterator[TextCompletion]:
    created, offsets = now(), defaultdict[int, _Offsets](_Offsets)
    async for part in parts:
        choice = TextChoice(
            index=part.index,
            text=part.text,
            logprobs=None if body.logprobs is None else offsets[part.index].told(part.logprobs),
            finish_reason=reason_of(part) if part.finish else None,
        )
        yield TextCompletion(id=answer.id, created=created, model=body.model, choices=[choice])
    if body.stream_options is not None and body.stream_options.include_usage:
        used = Usage.of(answer.num_context_tokens, answer.num_reply_tokens)
        yield TextCompletion(id=answer.id, created=created, model=body.model, choices=[], usage=used)


class _Offsets:
    """Log-probabilities in the shape of completions, which also say where in the text each token begins."""

    def __init__(self) -> None:
        self._num_characters = 0

    def told(self, logprobs: Iterable[SpeltLogprob]) -> TextLogprobs:
        """Of the next tokens of the same reply."""
        told = TextLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for token in logprobs:
            told.tokens.append(token.text)
            told.token_logprobs.append(token.logprob)
            # Parts of different characters look the same: the most probable of them stays.
            told.top_logprobs.append(dict(reversed(token.most_probable)))
            told.text_offset.append(self._num_characters)
            # A reply is told without the blanks before its first word.
            self._num_characters += len(token.text if self._num_characters else token.text.lstrip())
        return told
