"""Whether a web page of another origin may ask from a browser: only those of `serving.cors_origins`.

Browsers ask before they send JSON or a key for a page of another origin, and show it no answer. They do not ask before
a request that a form could make, nor before they open a WebSocket: those are refused here.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import Refused
from serve.service import Service

READABLE = ("x-model-version", "x-session-id", "x-request-id", "retry-after")
METHODS = ("GET", "POST", "DELETE")
_CHANGES_NOTHING = ("GET", "HEAD", "OPTIONS")


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
        """Answers 403 to what changes something and comes from a page that may not."""
        changes = scope["type"] == "websocket" or (scope["type"] == "http" and scope["method"] not in _CHANGES_NOTHING)
        if changes and not self._may_ask(Headers(scope=scope)):
            scope.setdefault("state", {})["error"] = "origin_not_allowed"
            refused = Refused(403, "serving.cors_origins does not name this page's origin", code="origin_not_allowed")
            await refused.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may_ask(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        # Behind a proxy the page's own origin may have another name than we have; its browser knows.
        is_own = headers.get("sec-fetch-site") == "same-origin"
        return is_own or origin.partition("://")[2] == headers.get("host")
