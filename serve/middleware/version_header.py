"""Says on every answer which version of the model it is from, as `x-model-version`."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import answered_by
from serve.service import Service


class VersionHeader:
    """The version that made the reply, or failed to; where there is none, the champion."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds it when the answer begins."""
        answered_by.listen(scope.setdefault("state", {}))

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                version = scope.get("state", {}).get("version") or self._service.replica.version
                MutableHeaders(scope=message)["x-model-version"] = str(version)
            await send(message)

        await self._app(scope, receive, send_with_version)
