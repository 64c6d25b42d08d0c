"""Whether a web page of another origin may ask from a browser: only those of `serving.cors_origins`, WebSockets too."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import Refused
from serve.service import Service

READABLE = ("x-model-version", "x-session-id", "x-request-id", "retry-after")
METHODS = ("GET", "POST", "DELETE")


class Cors:
    """Closed by default: a browser then shows no page an answer, and lets none send JSON or a key."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._origins = service.serving.cors_origins
        self._app = app
        if self._origins:
            self._app = CORSMiddleware(
                app, allow_origins=self._origins, allow_methods=METHODS, allow_headers=("*",), expose_headers=READABLE
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Browsers ask nobody before they open a WebSocket: it is looked at here."""
        if scope["type"] == "websocket" and not self._may_open(Headers(scope=scope)):
            refused = Refused(403, "serving.cors_origins does not name this page's origin", code="origin_not_allowed")
            await refused.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may_open(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        own = origin is not None and origin.partition("://")[2] == headers.get("host")
        return origin is None or own or origin in self._origins or "*" in self._origins
