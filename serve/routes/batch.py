"""`POST /v1/chat/batch`: many conversations in, a reply to each out, no more at a time than there are slots."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request

from rejoinder.engine import EngineFull
from serve.answering import Answer
from serve.errors import refusal
from serve.messages import Batch, BatchItem, BatchRequest, ChatMessage, Usage, new_id, now
from serve.routes.asking import Timeout, caller_of, question_of, reason_of, timeout_of, together, whole
from serve.service import Service

_COME_BACK_S = 0.1


def add(api: FastAPI, service: Service) -> None:
    """Adds the route."""

    @api.post("/v1/chat/batch", response_model_exclude_none=True, tags=["chat"])
    async def chat_batch(body: BatchRequest, request: Request, timeout: Timeout = None) -> Batch:
        """A reply to each conversation, in their order. One that cannot be answered has an `error` in its place and
        keeps no other from its reply; while the engine is full of others' requests, it is asked again."""
        loop, caller = asyncio.get_running_loop(), caller_of(request)
        deadline, slots = loop.time() + timeout_of(service, timeout), asyncio.Semaphore(service.serving.num_slots)
        questions = [question_of(body, body.model, said) for said in body.conversations]
        answers = [Answer(service, caller, question, timeout_of(service, timeout)) for question in questions]

        async def item(index: int) -> BatchItem:
            async with slots:
                while True:
                    try:
                        reply = await whole(answers[index], questions[index])
                    except EngineFull as error:
                        if loop.time() + _COME_BACK_S < deadline:
                            await asyncio.sleep(_COME_BACK_S)
                            continue
                        return BatchItem(index=index, error=refusal(error).detail)
                    except Exception as error:
                        refused = refusal(error)
                        if refused.status == 500:
                            raise
                        return BatchItem(index=index, error=refused.detail)
                    message = ChatMessage(role="assistant", content=reply.text)
                    return BatchItem(index=index, message=message, finish_reason=reason_of(reply))

        data = await together(map(item, range(len(answers))))
        used = Usage.of(
            sum(answer.num_context_tokens for answer in answers), sum(answer.num_reply_tokens for answer in answers)
        )
        request.state.num_context_tokens, request.state.num_reply_tokens = used.prompt_tokens, used.completion_tokens
        return Batch(id=new_id("batch"), created=now(), model=body.model, data=data, usage=used)
