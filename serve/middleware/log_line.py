"""One line of JSON for each request, and one count; what people wrote only where `serving.log_text` asks for it.

A WebSocket has one when it is closed, and each of its messages has one of its own.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.service import Service

log = logging.getLogger("rejoinder.requests")
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TOLD = ("trace_id", "session_id", "reply_id", "num_context_tokens", "num_reply_tokens", "finish", "error")
_UNKNOWN = "other"


class LogLine:
    """Outermost, so that it sees what everybody else answers. Routes put what they know into `scope["state"]`."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Names the request (header x-request-id, its own if it has one) and writes down how it ended."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        asked = Headers(scope=scope).get("x-request-id", "")
        state["request_id"] = asked if _ID.fullmatch(asked) else uuid.uuid4().hex
        begun, status = time.monotonic(), 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = state["request_id"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except BaseException as error:
            status = status or (499 if not isinstance(error, Exception) else 500)
            raise
        finally:
            _write(self._service, scope, scope.get("method", "WEBSOCKET"), status or 499, time.monotonic() - begun)


@contextmanager
def message_line(service: Service, scope: Scope) -> Iterator[MessageEnd]:
    """Around one message of a WebSocket, whose `scope["state"]` is the message's meanwhile."""
    state, begun, end = scope["state"], time.monotonic(), MessageEnd()
    try:
        yield end
    finally:
        _write(service, scope, "MESSAGE", end.status, time.monotonic() - begun)
        for name in (*_TOLD, "version", "text"):
            state.pop(name, None)


@dataclass
class MessageEnd:
    """How the answer to a message ended."""

    status: int = 499
    """As HTTP has it; the client was gone unless it is set."""


def _write(service: Service, scope: Scope, method: str, status: int, seconds: float) -> None:
    state, path = scope["state"], getattr(scope.get("route"), "path", _UNKNOWN)
    version = str(state.get("version") or service.replica.version)
    service.metrics.requests.of(path, str(status), version).inc()
    if status >= 400:
        code = str(state.get("error") or status)
        service.metrics.errors.of(code, version).inc()
        if status == 429:
            service.metrics.rejections.of(code, version).inc()
    service.metrics.share(service.database)
    caller = state.get("caller")
    line: dict[str, Any] = {
        "time": time.time(), "request_id": state["request_id"], "method": method, "path": path, "status": status,
        "seconds": round(seconds, 4), "version": version, "key": caller.owner if caller else "",
        **{name: state[name] for name in _TOLD if name in state},
    }  # fmt: skip
    if service.serving.log_text and "text" in state:
        line["text"] = state["text"]
    log.info("%s", json.dumps(line, ensure_ascii=False))
