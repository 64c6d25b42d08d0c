"""`WS /v1/chat`: requests of `POST /v1/chat/completions` in, their chunks out, one reply after the other."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

from fastapi import FastAPI, WebSocket
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from serve.answering import Answer
from serve.errors import Refused, refusal
from serve.messages import ChatRequest, ErrorBody
from serve.routes.asking import caller_of, note, timeout_of
from serve.routes.chat import chat_question, chunks_of
from serve.service import Service
from serve.tracing import message, parts_of

IDLE_S = 300.0
"""A socket on which nobody asks for so long is closed; the client opens another."""
_GOING_AWAY, _TOO_BIG, _TRY_AGAIN = 1001, 1009, 1013


def add(api: FastAPI, service: Service) -> None:
    """Adds the route."""
    num_open = 0

    @api.websocket("/v1/chat")
    async def chat(socket: WebSocket) -> None:
        """Each message is a request; its answers are chunks, of which the last one has a `finish_reason` (and after it
        the usage, if asked for), or an `error`."""
        nonlocal num_open
        await socket.accept()
        if num_open >= service.serving.max_websockets:
            await socket.close(_TRY_AGAIN, "too many sockets are open; try again later")
            return
        num_open += 1
        try:
            while True:
                text = await asyncio.wait_for(socket.receive_text(), IDLE_S)
                if len(text.encode()) > service.serving.max_body_bytes:
                    await socket.close(_TOO_BIG, "the message is larger than serving.max_body_bytes")
                    return
                with message(socket.scope):
                    await _reply_or_stop(socket, service, text)
        except TimeoutError:
            await socket.close(_GOING_AWAY, f"nothing was asked for {IDLE_S:g} s")
        except WebSocketDisconnect:
            pass
        except KeyError:  # a message of bytes
            await socket.close(1003, "messages are JSON as text")
        finally:
            num_open -= 1


async def _reply_or_stop(socket: WebSocket, service: Service, text: str) -> None:
    try:
        body = _request(text)
        question = chat_question(body, socket.headers.get("x-session-id"))
        answer = Answer(service, caller_of(socket), question, timeout_of(service, None))
        async with aclosing(parts_of(answer, question)) as parts:
            async for chunk in chunks_of(body, answer, parts):
                await socket.send_text(chunk.model_dump_json(exclude_none=True))
        note(socket, answer, question)
    except WebSocketDisconnect:
        raise
    except Exception as error:
        refused = refusal(error)
        socket.state.error = refused.detail.code or refused.detail.type
        if refused.status == 500:
            raise
        await socket.send_text(ErrorBody(error=refused.detail).model_dump_json())


def _request(text: str) -> ChatRequest:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the message is no JSON: {error}") from None
    try:
        return ChatRequest.model_validate(tree)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
