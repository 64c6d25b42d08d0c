"""Serve's proxy with replicas that die, and the door before it, without Serve."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.door import Door
from tests.serve.helpers import HELLO, events_of

CHAT = "/v1/chat/completions"


class Proxy:
    """Does what Serve's proxy does with replicas: asks the first, which may die; then, if it is asked again, the next.

    A replica dies when it has sent so many messages: its answer then ends where it is, without a word. None lives.
    """

    def __init__(self, replicas: list[tuple[ASGIApp, int | None]]) -> None:
        self.replicas = replicas
        self.seen: list[dict[bytes, bytes]] = []
        """The headers of each try."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, lives = self.replicas[min(len(self.seen), len(self.replicas) - 1)]
        self.seen.append(dict(scope["headers"]))
        num_sent, died = 0, asyncio.Event()

        async def send_while_alive(message: Message) -> None:
            nonlocal num_sent
            if lives is not None and num_sent >= lives:
                died.set()
                await asyncio.sleep(3600)
            num_sent += 1
            await send(message)

        answering = asyncio.ensure_future(app(scope, receive, send_while_alive))
        dying = asyncio.ensure_future(died.wait())
        with contextlib.suppress(asyncio.CancelledError):  # as Serve does when a client goes away
            await asyncio.wait((answering, dying), return_when=asyncio.FIRST_COMPLETED)
        for task in (answering, dying):
            task.cancel()
        await asyncio.gather(answering, dying, return_exceptions=True)


def ask(
    proxy: ASGIApp, path: str = CHAT, headers: Any = None, body: dict[str, Any] = HELLO, method: str = "POST",
    **more: Any,
) -> httpx.Response:  # fmt: skip
    """One request through the door."""

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(Door(proxy))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, json=body | more, headers=headers)

    return asyncio.run(post())


def text_of(answer: httpx.Response) -> str:
    """The text of a stream's chunks."""
    assert answer.status_code == 200, answer.text
    return "".join(chunk["choices"][0]["delta"]["content"] for chunk in events_of(answer.text) if chunk["choices"])
