"""What do those who ask notice while a new champion is loaded and warmed up beside the one that answers them?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from statistics import median

from bench.framework import Figure, Result
from bench.serving.client import Client, Seen, percentile, require_answers
from bench.serving.corpus import CONTENDERS, bodies, seconds
from bench.serving.endpoint import Endpoint, running
from bench.setting import Setting

NEEDS_PEERS = False
AT_ONCE = 8
PATIENCE_S = 180.0
LOOK_EVERY_S = 0.5
"""At where the alias points: the rest is loading."""


def measure(setting: Setting) -> Result:
    """8 streams at once of 24 tokens; one replica. As many new champions as rounds: what was asked
    in the seconds before each, and from its promotion until it answers."""
    before_s = seconds(setting, 20.0, 0.3)
    before: list[Seen] = []
    meanwhile: list[Seen] = []
    took_s: list[float] = []
    with running(setting, f"{CONTENDERS}.ours", follow_every_s=LOOK_EVERY_S) as endpoint:
        asyncio.run(ask(endpoint, lambda _: False, min(before_s, 3.0)))
        for _ in range(setting.rounds):
            number = endpoint.tell("register")["number"]
            before += asyncio.run(ask(endpoint, lambda _: False, before_s))
            seen, one_took_s = asyncio.run(change(endpoint, number))
            meanwhile += seen
            took_s.append(one_took_s)
    figures = [Figure("from promotion to the first answer", "s", took_s, less_is_better=True)]
    for what, of in (("first token", first_ms), ("reply", whole_ms)):
        for share, name in ((0.5, "p50"), (0.95, "p95"), (1.0, "slowest")):
            now, then = percentile(of(meanwhile), share), percentile(of(before), share)
            note = f"{then:.0f} ms before; {len(meanwhile)} requests"
            figures.append(Figure(f"{what} {name} while loading", "ms", [now], less_is_better=True, note=note))
    facts = {"seconds_before": before_s, "requests_before": len(before), "loading_s": median(took_s)}
    return Result(figures, facts)


def first_ms(seen: Sequence[Seen]) -> list[float]:
    """Of each request the milliseconds to its first token."""
    return [1e3 * one.first_s for one in seen]


def whole_ms(seen: Sequence[Seen]) -> list[float]:
    """Of each request the milliseconds to its end."""
    return [1e3 * one.took_s for one in seen]


async def ask(endpoint: Endpoint, is_over: Callable[[Seen], bool], for_s: float) -> list[Seen]:
    """So many at once again and again, for so long or until one answer is over it all. All must be answered."""
    client, requests, seen = Client(endpoint.url), bodies(True), list[Seen]()
    until = time.perf_counter() + for_s

    async def again_and_again() -> None:
        while time.perf_counter() < until and not any(map(is_over, seen)):
            seen.append(await client.ask(next(requests)))

    await asyncio.gather(*(again_and_again() for _ in range(AT_ONCE)))
    client.close()
    return list(require_answers(seen))


async def change(endpoint: Endpoint, number: int) -> tuple[list[Seen], float]:
    """What was answered by the old champion from the promotion on, and seconds until the new one answered."""
    version = f"models:/chat/{number}"
    asking = asyncio.create_task(ask(endpoint, lambda one: one.version == version, PATIENCE_S))
    begun = time.perf_counter()
    await asyncio.to_thread(endpoint.tell, "promote", number=number)
    seen = await asking
    new = [one.due for one in seen if one.version == version]
    if not new:
        raise RuntimeError(f"{version} did not answer within {PATIENCE_S:g} s")
    return [one for one in seen if one.version != version], min(new) - begun
