"""Stands in Serve's HTTP proxies, before the replicas: a request in, its answer out, though a replica dies meanwhile.

    client ─▶ proxy: door ─▶ replica A ✗
                        └──▶ replica B, the same seed and reply id: what the client has is left out, the rest follows

Serve itself sends a request to one replica and, when that dies, ends the answer wherever it was. The door keeps the
request until it is answered and asks again. Waiting is bounded here too, and what Serve says by itself, such as that
its queue is full, is said in OpenAI's shape. Ray Serve puts the door into its proxies because the variable
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names `middlewares` (`rejoinder.cluster` sets it); where it is not set, the
endpoint works without all this.

A proxy needs neither torch nor the API for it: what is imported here is small.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.attempts import HEADER, Attempt
from serve.continuation import Continuation, Differs

log = logging.getLogger("rejoinder.door")
PATHS = "/v1/"
LONGEST_WAIT_S = float(os.environ.get("REJOINDER_DOOR_WAIT_S", "120"))
"""For a first byte: a replica that is started, at zero replicas or after a death, is waited for as long."""
GRACE_S = 1.0
"""A replica that keeps a request's own time says so itself, and logs it."""
MAX_LOST = 6
"""Replicas that may be lost over one request: what kills each one must not go through all of them for ever. Fewer would
not do: after a time without replicas all that waited is on the next one, and lost again when that dies too."""
AGAIN_AFTER_S = 0.5
"""Between tries that found every replica full: who has begun to answer does not give up at once."""
_KEPT_BYTES = 8_000_000
"""A larger request is not kept, and asked once."""
MOST_BYTES = 64_000_000
"""Of a body, whatever serving.max_body_bytes says, which goes no higher. Serve's proxy keeps in memory all that it has
read, and while a request waits for a replica nobody else would tell it to stop."""
_SERVES_OWN = (
    b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve_multiplexed_model_id",
    b"serve-multiplexed-model-id",
)  # fmt: skip
"""By these a client would tell Serve's proxy to do without its limits, or to look for a model that no replica names."""
_OURS = "x-model-version"
"""On every answer of a replica; Serve's own answers have none."""
_VERSION = re.compile(r"models:/(?P<model>.+)/(?P<number>\d+)")


def middlewares() -> list[Middleware]:
    """What Serve is told to put around its proxies."""
    return [Middleware(Door)]


class Door:
    """Looks after requests of the API; of everything else, the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its first try to the end of its answer."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "headers": list(_readable(scope["headers"]))}
        if scope["type"] != "http" or not scope["path"].startswith(PATHS):
            await self._app(scope, receive, send)
            return
        await _Request(self._app, scope, receive, send).answer()


class _Request:
    """A request until it is answered."""

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._app, self._scope, self._receive_new, self.send = app, scope, receive, send
        self._attempt = Attempt.first()
        self._body: list[Message] = []
        self._num_bytes = 0
        self._can_repeat, self._is_gone, self._has_begun = True, False, False
        self.is_done = False
        """Nothing more may be sent."""
        self._sent = bytearray()
        """Of a stream."""
        self._start: Message | None = None
        self._is_stream = False
        self._asked_s = _seconds(Headers(scope=scope).get("x-request-timeout", ""))
        wait_s = LONGEST_WAIT_S if self._asked_s is None else min(self._asked_s + GRACE_S, LONGEST_WAIT_S)
        self._deadline = asyncio.get_running_loop().time() + wait_s

    async def answer(self) -> None:
        """Asks until there is an answer, or no time or try is left."""
        num_lost = 0
        while num_lost < MAX_LOST:
            one = _Try(self)
            async with asyncio.timeout_at(self._deadline) as limit:
                one.limit = limit
                await self._app(self._scope_of_try(), self._receiver(), one.take)
            if limit.expired() and not self.is_done:
                await self._fail(*self._too_late())
                return
            if self.is_done:
                return
            if self._num_bytes > MOST_BYTES and not self._has_begun:
                message = f"the body has more than {MOST_BYTES} bytes; send less"
                await self._refuse(413, message, "invalid_request_error", "body_too_large", 0)
                return
            if self._is_gone:
                return
            if self._has_begun and not self._is_stream:
                return  # a download that was cut: whoever reads it sees that its end is missing
            if not self._can_repeat:
                break
            if one.is_refused:
                await asyncio.sleep(AGAIN_AFTER_S)
            else:
                num_lost += 1
                log.warning("the replica of request %s was lost; tries so far: %d", self._attempt.name, num_lost)
            self._attempt = self._attempt.next(self._session())
        await self._fail(
            503, "the replica that answered was lost, and others did not answer either; ask again", "server_error",
            "replica_lost", 1,
        )  # fmt: skip

    async def begin(self, start: Message, body: Message) -> None:
        """The first of an answer leaves."""
        self._start, self._has_begun = start, True
        self._is_stream = Headers(raw=start["headers"]).get("content-type", "").startswith("text/event-stream")
        await self.send({**start, "headers": _named_once(start["headers"])})
        await self.go_on(body)

    async def go_on(self, body: Message) -> None:
        """What follows."""
        if self._is_stream:
            self._sent += body.get("body", b"")
        self.is_done = not body.get("more_body", False)
        await self.send(body)

    @property
    def has_begun(self) -> bool:
        """Whether the client has some of the answer, so that another can only go on with it."""
        return self._has_begun

    def continuation(self) -> Continuation:
        """For a try that goes on."""
        return Continuation(bytes(self._sent))

    def _scope_of_try(self) -> Scope:
        scope: Scope = {**self._scope, "headers": list(self._scope["headers"]), "state": {}}
        headers = MutableHeaders(scope=scope)
        del headers[HEADER]
        headers[HEADER] = self._attempt.header()
        headers.setdefault("x-request-id", self._attempt.name)  # one in the log, however many tries
        if self._has_begun and (pinned := self._pinned()) is not None:
            self._body = [{"type": "http.request", "body": pinned, "more_body": False}]
            headers["content-length"] = str(len(pinned))
        return scope

    def _receiver(self) -> Receive:
        """For each try from the beginning."""
        kept = iter(list(self._body))

        async def receive() -> Message:
            if (message := next(kept, None)) is not None:
                return message
            message = await self._receive_new()
            self._num_bytes += len(message.get("body", b""))
            if self._num_bytes > MOST_BYTES:
                message = {"type": "http.disconnect"}  # for Serve it ends here
            if message["type"] == "http.disconnect":
                self._is_gone = True
            elif self._can_repeat:
                self._body.append(message)
                self._can_repeat = self._num_bytes <= _KEPT_BYTES
            return message

        return receive

    def _session(self) -> str:
        """The one that an earlier try began, if it said so."""
        return Headers(raw=self._start["headers"]).get("x-session-id", "") if self._start else ""

    def _pinned(self) -> bytes | None:
        """The request's body, asking for the very version that has begun to answer: another would say other things."""
        assert self._start is not None
        version = _VERSION.fullmatch(Headers(raw=self._start["headers"]).get(_OURS, ""))
        try:
            body = json.loads(b"".join(one.get("body", b"") for one in self._body))
            body["model"] = f"{version['model']}@{version['number']}" if version else body["model"]
        except (ValueError, KeyError, TypeError):
            return None
        return json.dumps(body, ensure_ascii=False).encode()

    def _too_late(self) -> tuple[int, str, str, str, int]:
        if self._asked_s is not None and self._asked_s < LONGEST_WAIT_S:
            message = f"no reply within {self._asked_s:g} s; try again later, or give it more time"
            return 408, message, "timeout_error", "timeout", 0
        message = f"no replica took the request within {LONGEST_WAIT_S:g} s; try again later"
        return 503, message, "server_error", "no_replica", 5

    async def _fail(self, status: int, message: str, kind: str, code: str, retry_after_s: int) -> None:
        if not self._has_begun:
            await self._refuse(status, message, kind, code, retry_after_s)
        elif self._is_stream:
            await self.say_in_stream(json.dumps(_error(message, kind, code)).encode())

    async def _refuse(self, status: int, message: str, kind: str, code: str, retry_after_s: int) -> None:
        self.is_done = True
        name = Headers(scope=self._scope).get("x-request-id", self._attempt.name)
        headers = {"x-request-id": name} | ({"retry-after": str(retry_after_s)} if retry_after_s else {})
        await JSONResponse(_error(message, kind, code), status, headers)(self._scope, self._receive_new, self.send)

    async def say_in_stream(self, error: bytes) -> None:
        """The status line is gone: an event says what went wrong, and ends the stream."""
        self.is_done = True
        await self.send({"type": "http.response.body", "body": b"data: " + error + b"\n\n", "more_body": False})

    async def translate(self, status: int, said: bytes) -> None:
        """Serve's own words, in OpenAI's shape."""
        if status in (429, 503) and b"queue" in said.lower():
            message = "so many requests wait for a replica that this one was not taken; try again later"
            await self._refuse(429, message, "rate_limit_error", "overloaded", 1)
        elif status == 503:
            message = "the application is not available; the log of Serve's controller says why"
            await self._refuse(503, message, "server_error", "unavailable", 5)
        else:
            message = said.decode(errors="replace") if status < 500 else "the server failed; its log says why"
            kind = "invalid_request_error" if status < 500 else "server_error"
            await self._refuse(status, message, kind, "not_found" if status == 404 else "failed", 0)


class _Try:
    """What one replica answers."""

    def __init__(self, request: _Request) -> None:
        self.limit: asyncio.Timeout | None = None
        self.is_refused = False
        """It would not, though another had begun; a third may."""
        self._request = request
        self._continuation = request.continuation() if request.has_begun else None
        self._start: Message | None = None
        self._is_serves_own = False
        self._said = bytearray()

    async def take(self, message: Message) -> None:
        """Called with each message of the answer."""
        if self._request.is_done:
            return
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            self._start, self._is_serves_own = message, message["status"] >= 400 and _OURS not in headers
            if self.limit is not None:
                self.limit.reschedule(None)  # from here on the replica keeps the time
        elif self._start is None or message["type"] != "http.response.body":
            await self._request.send(message)  # nothing that an answer of ours has
        elif self._continuation is not None:
            await self._go_on(self._continuation, self._start["status"], message)
        elif self._is_serves_own:
            self._said += message.get("body", b"")
            if not message.get("more_body", False):
                await self._request.translate(self._start["status"], bytes(self._said))
        elif self._request.has_begun:
            await self._request.go_on(message)
        else:
            await self._request.begin(self._start, message)

    async def _go_on(self, continuation: Continuation, status: int, message: Message) -> None:
        """The stream of an earlier try, with what it lacked."""
        is_last = not message.get("more_body", False)
        self._said += message.get("body", b"")
        if status != 200:
            if is_last:
                self.is_refused = status in (429, 503)
                if not self.is_refused:
                    await self._request.say_in_stream(bytes(self._said))
            return
        whole, separator, begun = bytes(self._said).rpartition(b"\n\n")
        self._said = bytearray(begun)
        try:
            rest = continuation.rest(whole + separator)
        except Differs:
            differs = _error(
                "the replica was lost, and another would not say the same; ask again", "server_error", "replica_lost"
            )
            await self._request.say_in_stream(json.dumps(differs).encode())
            return
        if rest or is_last:
            await self._request.go_on({"type": "http.response.body", "body": rest, "more_body": not is_last})


def _readable(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """A client's headers as Serve's proxy can take them: it reads some as UTF-8, and fails where they are none."""
    for name, value in headers:
        if name not in _SERVES_OWN:
            yield name, value if value.isascii() else value.decode(errors="replace").encode()


def _named_once(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The replica names the request, and Serve's proxy names it again."""
    pairs = list(headers)
    names = [pair for pair in pairs if pair[0].lower() == b"x-request-id"]
    return [pair for pair in pairs if pair not in names] + names[:1]


def _error(message: str, kind: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _seconds(header: str) -> float | None:
    try:
        seconds = float(header)
    except ValueError:
        return None  # a replica says what is wrong with it
    return seconds if 0 < seconds < float("inf") else None
