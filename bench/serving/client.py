"""Requests in, what became of each out: an open loop of arrivals by chance, or so many at once, over plain sockets.

One process beside the server on the same cores: it does as little as can be, and keeps connections for later requests.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 180.0
Body = dict[str, Any]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Seen:
    """One request. Seconds from when it was due: a client that is late does not make the server look quick."""

    due: float
    status: int = 0
    first_s: float = 0.0
    """Until the first of its body."""
    took_s: float = 0.0
    num_tokens: int = 0
    version: str = ""
    """Of the model that answered."""
    problem: str = ""
    """Why it does not count as answered."""

    @property
    def was_rejected(self) -> bool:
        """Told to come again, which is an answer, too."""
        return self.status == 429


@dataclass
class Client:
    """A client of one address."""

    url: str
    path: str = "/v1/chat/completions"
    idle: list[Connection] = field(default_factory=list)

    async def ask(self, body: Body, due: float | None = None) -> Seen:
        """One request to its end; whatever goes wrong stands in `problem`."""
        seen = Seen(time.perf_counter() if due is None else due, num_tokens=int(body.get("max_tokens", 0)))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._ask(body, seen)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            seen.problem = f"{type(error).__name__}: {error}"
        seen.took_s = time.perf_counter() - seen.due
        return seen

    async def _ask(self, body: Body, seen: Seen) -> None:
        where, data = urlsplit(self.url), json.dumps(body).encode()
        reader, writer = self._kept() or await asyncio.open_connection(where.hostname, where.port)
        try:
            writer.write(
                f"POST {self.path} HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(data)}\r\n\r\n".encode()
                + data
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            seen.status = int(head.split(" ", 2)[1])
            seen.version = head.partition("\r\nx-model-version:")[2].partition("\r\n")[0].strip()
            said = await _body(reader, head, seen)
        except BaseException:
            writer.close()
            raise
        self.idle.append((reader, writer))
        if seen.status != 200 and not seen.was_rejected:
            seen.problem = f"{seen.status} {said[:200].decode(errors='replace')}"
        elif seen.status == 200 and body.get("stream") and not said.endswith(b"data: [DONE]\n\n"):
            seen.problem = f"the stream ended with {said[-200:].decode(errors='replace')}"

    def _kept(self) -> Connection | None:
        """A connection of an earlier request. Servers close those that nobody used for a while (Serve after 90 s):
        none of them is used again, as in any client that keeps connections."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    def close(self) -> None:
        """Lets go of the connections."""
        for _, writer in self.idle:
            writer.close()
        self.idle.clear()


async def _body(reader: asyncio.StreamReader, head: str, seen: Seen) -> bytes:
    pieces = []
    if "transfer-encoding: chunked" not in head:
        length = int(head.partition("content-length:")[2].split("\r\n", 1)[0])
        pieces.append(await reader.readexactly(length))
        seen.first_s = time.perf_counter() - seen.due
        return pieces[0]
    while size := int(await reader.readline() or b"-1", 16):
        if size < 0:
            raise EOFError("the answer was cut off")
        piece = (await reader.readexactly(size + 2))[:-2]
        if not pieces:
            seen.first_s = time.perf_counter() - seen.due
        pieces.append(piece)
    await reader.readline()
    return b"".join(pieces)


async def open_loop(client: Client, bodies: Iterator[Body], rate: float, seconds: float, seed: int = 0) -> list[Seen]:
    """`rate` requests a second come by chance, whatever became of those before. Waits for all."""
    chance, begun, at = random.Random(seed), time.perf_counter(), 0.0
    tasks = []
    while at < seconds:
        await asyncio.sleep(max(0.0, begun + at - time.perf_counter()))
        tasks.append(asyncio.create_task(client.ask(next(bodies), begun + at)))
        at += chance.expovariate(rate)
    return list(await asyncio.gather(*tasks))


async def closed_loop(client: Client, bodies: Iterator[Body], num_at_once: int, seconds: float) -> list[Seen]:
    """So many at once for so long: whoever is answered asks again."""
    until = time.perf_counter() + seconds

    async def again_and_again() -> list[Seen]:
        seen = []
        while time.perf_counter() < until:
            seen.append(await client.ask(next(bodies)))
        return seen

    return [one for seen in await asyncio.gather(*(again_and_again() for _ in range(num_at_once))) for one in seen]


def pace(seen: Sequence[Seen]) -> float:
    """Tokens a second, from the first request to the last answer."""
    took_s = max(one.due + one.took_s for one in seen) - min(one.due for one in seen)
    return sum(one.num_tokens for one in seen if one.status == 200) / took_s


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def require_answers(seen: Sequence[Seen]) -> Sequence[Seen]:
    """All of them, where nothing should go wrong. Raises RuntimeError with what did."""
    if wrong := [one.problem or str(one.status) for one in seen if one.problem or one.status != 200]:
        raise RuntimeError(f"{len(wrong)} of {len(seen)} requests were not answered, such as: {wrong[0]}")
    return seen
