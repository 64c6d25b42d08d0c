"""`WS /v1/chat`: requests of `POST /v1/chat/completions` in, their chunks out, one reply after the other."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

from fastapi import FastAPI, WebSocket
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from serve.admission import CHAT, admitted
from serve.answering import Answer
from serve.errors import Refused, refusal
from serve.messages import ChatRequest, ErrorBody
from serve.middleware.log_line import MessageEnd, message_line
from serve.routes.asking import caller_of, note, timeout_of
from serve.routes.chat import chat_question, chunks_of
from serve.service import Caller, Service
from serve.store import keys
from serve.tracing import message, parts_of

IDLE_S = 300.0
"""A socket on which nobody asks for so long is closed; the client opens another."""
_GOING_AWAY, _NO_TEXT, _TOO_BIG, _TRY_AGAIN = 1001, 1003, 1009, 1013


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
            await _talk(socket, service)
        except TimeoutError:
            await socket.close(_GOING_AWAY, f"nothing was asked for {IDLE_S:g} s")
        except WebSocketDisconnect:
            pass
        finally:
            num_open -= 1


async def _talk(socket: WebSocket, service: Service) -> None:
    """Until the client leaves. It is listened to while a reply is written as well: behind Serve's proxy nothing else
    says that it has gone. A message that comes meanwhile waits, and those after it with the client."""
    heard = asyncio.create_task(_next_message(socket))
    try:
        while True:
            text = await asyncio.wait_for(heard, IDLE_S)
            if text is None:
                await socket.close(_NO_TEXT, "messages are JSON as text")
                return
            if len(text.encode()) > service.serving.max_body_bytes:
                await socket.close(_TOO_BIG, "the message is larger than serving.max_body_bytes")
                return
            heard = asyncio.create_task(_next_message(socket))
            with message_line(service, socket.scope) as end, message(socket.scope):
                await _unless_gone(heard, asyncio.create_task(_reply_or_stop(socket, service, text, end)))
    finally:
        heard.cancel()
        await asyncio.gather(heard, return_exceptions=True)


async def _next_message(socket: WebSocket) -> str | None:
    """None for a message of bytes."""
    try:
        return await socket.receive_text()
    except KeyError:
        return None


async def _unless_gone(heard: asyncio.Task[str | None], writing: asyncio.Task[None]) -> None:
    """The reply to its end; cut when the client goes away, which frees its slot. Raises WebSocketDisconnect then."""
    try:
        await asyncio.wait({heard, writing}, return_when=asyncio.FIRST_COMPLETED)
        if heard.done() and isinstance(heard.exception(), WebSocketDisconnect):
            heard.result()
        await writing
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def _reply_or_stop(socket: WebSocket, service: Service, text: str, end: MessageEnd) -> None:
    try:
        caller = await _still_admitted(caller_of(socket), service)
        body = _request(text)
        question = chat_question(body, socket.headers.get("x-session-id"))
        answer = Answer(service, caller, question, timeout_of(service, None))
        async with aclosing(parts_of(answer, question)) as parts:
            async for chunk in chunks_of(body, answer, parts):
                await socket.send_text(chunk.model_dump_json(exclude_none=True))
        note(socket, answer, question)
        end.status = 200
    except WebSocketDisconnect:
        raise
    except Exception as error:
        refused = refusal(error)
        end.status, socket.state.error = refused.status, refused.detail.code or refused.detail.type
        if refused.status == 500:
            raise
        await socket.send_text(ErrorBody(error=refused.detail).model_dump_json())


async def _still_admitted(caller: Caller, service: Service) -> Caller:
    """A message counts as a request, and a key may have been revoked since the socket was opened."""
    if caller.key is None:
        return caller
    id, serving = caller.key.id, service.serving
    return await service.database.run(lambda rows: admitted(rows, keys.named(rows, id), CHAT, serving))


def _request(text: str) -> ChatRequest:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the message is no JSON: {error}") from None
    try:
        return ChatRequest.model_validate(tree)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
