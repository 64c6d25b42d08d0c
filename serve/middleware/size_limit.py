"""Requests with a body above `serving.max_body_bytes` are answered 413, however their length is given or hidden."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import Refused
from serve.service import Service

PATIENCE_S = 30.0
"""A body that has not arrived by then is not waited for."""


class SizeLimit:
    """Reads a body whole, up to the limit, before anybody works on it."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._limit = app, service.serving.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the body on as one message."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
        except Refused as refused:
            scope["state"]["error"] = refused.detail.code
            await refused.response()(scope, receive, send)
            return
        if body is None:  # the client is gone
            return

        async def receive_again() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message, body = {"type": "http.request", "body": body, "more_body": False}, None
            return message

        await self._app(scope, receive_again, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        told = Headers(scope=scope).get("content-length", "")
        if told.isdigit() and int(told) > self._limit:
            raise self._too_large()
        pieces, num_bytes = [], 0
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    pieces.append(message.get("body", b""))
                    num_bytes += len(pieces[-1])
                    if num_bytes > self._limit:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(pieces)
        except TimeoutError:
            raise Refused(408, f"the request's body did not arrive within {PATIENCE_S:g} s", code="timeout") from None

    def _too_large(self) -> Refused:
        return Refused(
            413, f"the body has more than {self._limit} bytes, which is what serving.max_body_bytes allows; send less",
            code="body_too_large",
        )  # fmt: skip
