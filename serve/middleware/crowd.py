"""Requests above what a replica can have in the making are answered 429 at once."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from rejoinder.recipe import ServingSection
from serve.errors import RETRY_AFTER_S, Refused
from serve.service import Service

PATHS = "/v1/"
"""Probes and counts are answered however many ask for replies."""


def most_at_once(serving: ServingSection) -> int:
    """Requests that a replica may be at: those that are written or wait for a slot, and beside them as many as may hold
    a socket: what waits for its turn in a session, or is read from the database, takes no slot."""
    return serving.num_slots + serving.max_queued_requests + serving.max_websockets


class Crowd:
    """Counts them. Serve's own limit is far above: its proxies fall behind once they have found a replica full."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._most, self._num = app, most_at_once(service.serving), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets in, or says when to come again."""
        if scope["type"] != "http" or not scope["path"].startswith(PATHS):
            await self._app(scope, receive, send)
        elif self._num >= self._most:
            scope["state"]["error"] = "overloaded"
            refused = Refused(
                429, f"{self._num} requests are in the making here, as many as this replica takes; try again later",
                kind="rate_limit_error", code="overloaded", headers={"retry-after": str(RETRY_AFTER_S)},
            )  # fmt: skip
            await refused.response()(scope, receive, send)
        else:
            self._num += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._num -= 1
