"""The serving bench: its client notices what is lost, its searches and comparisons do what they say."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.framework import read_floors
from bench.serving import corpus, dropping, goodput
from bench.serving.client import Client, Seen, closed_loop, open_loop, percentile, require_answers
from bench.setting import Setting
from rejoinder.recipe import validate

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    """As HTTP/1.1 sends it."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@asynccontextmanager
async def server(answer: Callable[[Any, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Client]:
    """A client of a server that answers each body so; connections stay open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                await answer(json.loads(await reader.readexactly(length)), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    yield client
    client.close()
    listening.close()


def asked(body: dict[str, Any], *pieces: bytes, cut: bool = False, pause_s: float = 0.0) -> Seen:
    """What the client says of an answer in these pieces; `cut` closes the connection after them."""

    async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if cut:
            writer.close()

    async def ask() -> Seen:
        async with server(answer) as client:
            return await client.ask(body)

    return asyncio.run(ask())


def test_a_whole_reply_and_a_stream_with_its_end_are_answers() -> None:
    whole = asked({"max_tokens": 7}, WHOLE)
    assert (whole.status, whole.num_tokens, whole.problem) == (200, 7, "")
    stream = asked({"stream": True}, STREAM, chunk(b"data: {}\n\n"), chunk(DONE), b"0\r\n\r\n", pause_s=0.05)
    assert stream.problem == ""
    assert 0.04 < stream.first_s < stream.took_s - 0.04
    assert not dropping.is_lost(whole)
    assert require_answers([whole, stream])


@pytest.mark.parametrize(
    ("pieces", "cut"),
    [
        ([STREAM, chunk(b"data: {}\n\n")], True),
        ([STREAM, chunk(b'data: {"error": {}}\n\n'), b"0\r\n\r\n"], False),
        ([b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"], False),
        ([b"HTTP/1.1 429 No\r\ncontent-length: 2\r\n\r\nno"], False),
        ([], True),
    ],
)
def test_what_is_cut_or_refused_is_lost(pieces: list[bytes], cut: bool) -> None:
    seen = asked({"stream": True}, *pieces, cut=cut)
    assert dropping.is_lost(seen)
    with pytest.raises(RuntimeError, match="1 of 1 requests were not answered"):
        require_answers([seen])


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    async def then_close(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Model-Version: models:/chat/3\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def ask() -> list[Seen]:
        async with server(then_close) as client:
            seen = [await client.ask({})]
            while not client.idle[0][0].at_eof():
                await asyncio.sleep(0.001)
            return [*seen, await client.ask({})]

    for seen in asyncio.run(ask()):
        assert (seen.status, seen.problem, seen.version) == (200, "", "models:/chat/3")


async def at_once(_: Any, writer: asyncio.StreamWriter) -> None:
    """Answers without waiting."""
    writer.write(WHOLE)


def test_an_open_loop_comes_by_chance_and_a_closed_one_in_turn() -> None:
    async def ask() -> tuple[list[Seen], list[Seen]]:
        async with server(at_once) as client:
            bodies = itertools.repeat({"max_tokens": 1})
            return await open_loop(client, bodies, 100, 0.5), await closed_loop(client, bodies, 3, 0.2)

    opened, closed = asyncio.run(ask())
    assert 25 <= len(opened) <= 85
    assert closed
    assert {seen.status for seen in opened + closed} == {200}


def test_the_search_finds_the_rate_that_is_borne(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that is late above 20 requests a second."""

    async def as_if(client: Client, bodies: Any, rate: float, for_s: float, seed: int = 0) -> list[Seen]:
        return [Seen(at * for_s / 50, 200, took_s=0.1 if rate <= 20 else 3.0, num_tokens=int(rate)) for at in range(50)]

    class Running:
        def __enter__(self) -> Any:
            return SimpleNamespace(url="")

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(goodput, "open_loop", as_if)
    monkeypatch.setattr(goodput, "running", lambda *_, **__: Running())
    found = goodput.highest(Setting(tmp_path, cores=1), "ours", 5.0)
    assert 16 <= found["rate"] <= 20
    assert len(found["trials"]) == goodput.NUM_TRIALS


def test_an_event_comes_again_and_again_and_at_least_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now, events = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
    monkeypatch.setattr(dropping, "time", clock)
    dropping.every(10.0, 120.0, lambda: events.append(now[0]))()
    assert len(events) == 12
    events.clear()
    dropping.every(10.0, 1.0, lambda: events.append(now[0]))()
    assert len(events) == 1


def test_the_floors_are_the_promised_ones() -> None:
    """Never lowered to pass."""
    assert (read_floors("serving.goodput")["goodput against @serve.batch and generate"].ratio or 0) >= 5
    lost = read_floors("serving.dropping")
    assert len(lost) == 4
    assert {floor.at_most for floor in lost.values()} == {0}


def test_requests_are_the_same_each_time_and_their_recipe_is_a_valid_one(tmp_path: Path) -> None:
    one, other = corpus.bodies(True, None, 3), corpus.bodies(True, None, 3)
    drawn = [next(one) for _ in range(50)]
    assert drawn == [next(other) for _ in range(50)]
    assert {body["max_tokens"] for body in drawn} <= set(range(corpus.SHORTEST, corpus.LONGEST + 1))
    assert validate(corpus.recipe(tmp_path, 8000, min_replicas=0)).serving.min_replicas == 0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
