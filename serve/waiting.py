"""A recipe whose alias points nowhere yet in; an application that says so, and is the whole API once it does, out.

`serve deploy` and a registry that was set up anew begin without a version. A replica that failed for that would be
started again and again, and nobody who asks would be told why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rejoinder.recipe import Recipe
from rejoinder.registry import Registry
from serve.api import create_api
from serve.errors import Refused
from serve.following import first_number
from serve.middleware.security_headers import HEADERS
from serve.rounds import Rounds
from serve.service import Service, start_service
from serve.versions import FIRST_WAIT_S

log = logging.getLogger("rejoinder.versions")
LOOK_EVERY_S = 5.0
"""Where `serving.follow_every_s` is null, too: without a version there is nothing else to do."""
_ALIVE = "/healthz"
_NO_VERSION = "none"


class Waiting(Starlette):
    """Answers 503 to everything but /healthz until there is a version to answer with."""

    def __init__(self, recipe: Recipe, replica_id: str | None = None) -> None:
        """Looks at the registry every few seconds, in a thread, until `close`."""
        super().__init__()
        self._recipe, self._replica_id = recipe, replica_id
        self._api: ASGIApp | None = None
        self._again_at = 0.0
        self.service: Service | None = None
        """What answers, as soon as there is a version."""
        self._rounds = Rounds("waiting for a version", self.look, recipe.serving.follow_every_s or LOOK_EVERY_S)
        log.warning("%s", self._why())

    def look(self) -> None:
        """One round: starts the service when the alias points at a version. One that fails is tried again later."""
        if self.service is not None or time.monotonic() < self._again_at:
            return
        if first_number(self._recipe, Registry(self._recipe)) is None:
            return
        self._again_at = time.monotonic() + FIRST_WAIT_S
        service = start_service(self._recipe, self._replica_id)
        api = create_api(service)
        self.router = api.router  # Serve looks here for the names of routes
        self._api, self.service = api, service
        log.info("%s is the first version that answers", service.replica.version)

    def close(self) -> None:
        """Ends the service, or the waiting for it."""
        self._rounds.close()
        if self.service is not None:
            self.service.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The API's answer, or that there is no version yet."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif self._api is not None:
            await self._api(scope, receive, send)
        else:
            await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["type"] == "http" and scope["path"] == _ALIVE:
            response: Response = JSONResponse({"status": "alive"})
        else:
            after = {"retry-after": f"{LOOK_EVERY_S:.0f}"}
            refused = Refused(503, self._why(), kind="server_error", code="no_champion", headers=after)
            response = refused.response()
        headers = MutableHeaders(raw=response.raw_headers)
        # By the header the door knows an answer of ours, which it leaves as it is.
        for name, value in (*HEADERS.items(), ("x-model-version", _NO_VERSION)):
            headers[name] = value
        return response

    def _why(self) -> str:
        model, alias = self._recipe.registry.model, self._recipe.serving.alias
        return (
            f"no version of the model {model!r} is its {alias!r} yet; make one with jobs/promote.py, and this endpoint "
            "answers seconds later"
        )

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application begins at once. What the API does at its end is done at ours."""
        started = await receive()
        await send({"type": "lifespan.startup.complete"})
        ended = await receive()
        if self._api is not None:
            await self._api(scope, _replayed([started, ended]), _nobody)
        await send({"type": "lifespan.shutdown.complete"})


def _replayed(messages: Iterable[Message]) -> Receive:
    left = iter(messages)

    async def receive() -> Message:
        await asyncio.sleep(0)
        return next(left)

    return receive


async def _nobody(message: Message) -> None:
    """Whom the API tells that it has begun and ended: they were told."""
