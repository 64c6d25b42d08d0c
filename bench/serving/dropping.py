"""How many requests are lost while replicas die, the champion changes, the code is updated, the database restarts?"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from bench.framework import Figure, Result
from bench.serving.client import Client, Seen, open_loop, percentile
from bench.serving.corpus import CONTENDERS, Body, bodies, seconds
from bench.serving.endpoint import Endpoint, running
from bench.setting import Setting

NEEDS_PEERS = False
RATE = 6.0
"""Requests a second, by chance; every other one is a stream, every third in a session that it begins."""
KILL_EVERY_S = 10.0


def measure(setting: Setting) -> Result:
    """Two replicas. A request is lost that is not answered with 200, or whose stream has no end; 429 counts as lost,
    too, for nobody is overloaded. Replies have 24 tokens."""
    killing_s = seconds(setting, 120.0, 0.5)
    other_s = seconds(setting, 40.0, 0.2)
    phases: dict[str, list[Seen]] = {}
    with database() as server:
        serving: dict[str, Any] = {} if server is None else {"database_url": server.url}
        with running(setting, f"{CONTENDERS}.ours", min_replicas=2, max_replicas=2, **serving) as endpoint:
            asyncio.run(open_loop(Client(endpoint.url), mixed(), RATE, 3.0))

            def kill() -> None:
                endpoint.tell("kill")

            phases[f"a replica killed every {KILL_EVERY_S:g} s"] = during(
                endpoint, killing_s, every(KILL_EVERY_S, killing_s, kill)
            )
            wait_for_two(endpoint)
            phases["a new champion"] = during(endpoint, other_s, lambda: endpoint.tell("champion"))
            phases["the code redeployed"] = during(endpoint, other_s, lambda: endpoint.tell("redeploy"))
            if server is not None:
                phases["the database restarted"] = during(endpoint, other_s, lambda: restart(server))
    lost = {name: [one.problem or str(one.status) for one in seen if is_lost(one)] for name, seen in phases.items()}
    for name, reasons in lost.items():
        for reason, count in Counter(reasons).most_common(3):
            print(f"  lost, {name}: {count} times {reason}", flush=True)
    return Result(
        [
            Figure(f"requests lost, {name}", "requests", [float(sum(map(is_lost, seen)))], less_is_better=True,
                   note=f"of {len(seen)}; slowest {max(one.took_s for one in seen):.1f} s, "
                        f"p95 {percentile([one.took_s for one in seen], 0.95):.2f} s")
            for name, seen in phases.items()
        ],
        {"lost": lost},
    )  # fmt: skip


def is_lost(seen: Seen) -> bool:
    """Whether somebody waited for nothing."""
    return bool(seen.problem) or seen.status != 200


def mixed() -> Iterator[Body]:
    """Streams, whole replies, sessions."""
    for number, stream, whole in zip(itertools.count(), bodies(True), bodies(False), strict=False):
        body = stream if number % 2 else whole
        yield body | {"session_id": "new"} if number % 3 == 0 else body


def during(endpoint: Endpoint, for_s: float, event: Callable[[], object]) -> list[Seen]:
    """What becomes of requests while it happens, and until it has ended."""

    async def ask() -> list[Seen]:
        client, requests, seen = Client(endpoint.url), mixed(), list[Seen]()
        happening = asyncio.create_task(asyncio.to_thread(event))
        until = time.perf_counter() + for_s
        while not happening.done() or time.perf_counter() < until:
            seen += await open_loop(client, requests, RATE, 5.0, len(seen))
        await happening
        client.close()
        return seen

    return asyncio.run(ask())


def every(period_s: float, for_s: float, event: Callable[[], object]) -> Callable[[], None]:
    """The event again and again for so long; at least once."""

    def repeat() -> None:
        until = time.monotonic() + for_s
        time.sleep(2.0)
        event()
        while time.monotonic() + period_s < until:
            time.sleep(period_s)
            event()

    return repeat


def wait_for_two(endpoint: Endpoint) -> None:
    """Until both replicas run again."""
    deadline = time.monotonic() + 180
    while endpoint.tell("replicas")["running"] < 2 and time.monotonic() < deadline:
        time.sleep(0.2)


def restart(server: Any) -> None:
    """Cuts every connection."""
    time.sleep(2.0)
    server.stop()
    time.sleep(1.0)
    server.start()


@contextlib.contextmanager
def database() -> Iterator[Any]:
    """A PostgreSQL of our own, as the tests have it; None, and SQLite for the endpoint, where none is installed."""
    from _pytest.outcomes import Skipped

    try:
        with importlib.import_module("tests.real").postgresql() as server:
            yield server
    except Skipped:
        yield None
