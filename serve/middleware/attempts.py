"""What the door said of a request, kept for those who make its replies."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.attempts import HEADER, begin
from serve.service import Service


class Attempts:
    """Before everything that names a reply."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Changes nothing of the request."""
        if scope["type"] in ("http", "websocket"):
            begin(Headers(scope=scope).get(HEADER, "") if scope["type"] == "http" else "")
        await self._app(scope, receive, send)
