"""A span for each request of the API, if `serving.tracing_endpoint` or the environment asks for spans."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import tracing
from serve.service import Service

PATHS = "/v1/"


class Tracing:
    """Around all that answers; probes and counts have no spans."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._tracing = app, tracing.Tracing.of(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Names the trace in `scope["state"]`, for the log; sends what is left when the application ends."""
        if self._tracing is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                await asyncio.to_thread(self._tracing.close)
        elif not scope.get("path", "").startswith(PATHS):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            with self._tracing.process():
                await self._app(scope, receive, send)
        else:
            await self._request(self._tracing, scope, receive, send)

    async def _request(self, spans: tracing.Tracing, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with spans.request(f"{scope['method']} {PATHS}", Headers(scope=scope)) as trace:
            scope.setdefault("state", {})["trace_id"] = trace.id
            try:
                await self._app(scope, receive, send_noting)
            finally:
                trace.ended(scope, status)
