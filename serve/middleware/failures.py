"""What nobody expected: its reason goes to the log, and the client is told that it is our fault, not why."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import refusal
from serve.service import Service

log = logging.getLogger(__name__)


class Failures:
    """Innermost, so that such answers have all the headers that others have."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 500; an answer that had begun is cut off, which clients notice."""
        has_begun = False

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            if has_begun or scope["type"] != "http":
                raise
            log.exception("the request %s failed", scope["state"].get("request_id"))
            await refusal(error).response()(scope, receive, send)
