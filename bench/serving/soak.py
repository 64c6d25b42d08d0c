"""Does half an hour at 70 % of what it bears make the endpoint slower, or larger?

A machine is not the same half an hour later: run by run, the last ten minutes' p95 was 0.5 to 1.6 times that of the
first ten. So an endpoint that has just been started is asked beside the old one, by turns.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from bench.framework import Figure, Result
from bench.plots import lines
from bench.serving.client import Client, Seen, closed_loop, open_loop, pace, percentile
from bench.serving.corpus import CONTENDERS, NEW_TOKENS, bodies, seconds
from bench.serving.dropping import is_lost
from bench.serving.endpoint import Endpoint, running
from bench.setting import Setting

NEEDS_PEERS = False
ALONE = True
SHARE = 0.7
LOOK_EVERY_S = 30.0
SHARE_BESIDE = 0.5
"""While two stand on the same cores, of which one is asked."""
ROUNDS_BESIDE = 10


def measure(setting: Setting) -> Result:
    """Streams of 24 tokens by chance at 70 % of the rate of 32 streams at once. --wall-s instead of 30 minutes."""
    for_s = seconds(setting, 1_800.0)
    with running(setting, f"{CONTENDERS}.ours") as endpoint:
        at_once = asyncio.run(capacity(endpoint, 1.0 if setting.tiny else min(20.0, for_s / 4)))
        looks = asyncio.run(soak(endpoint, SHARE * at_once, for_s))
        with running(setting, f"{CONTENDERS}.ours") as fresh:
            each_s, rounds = min(15.0, for_s / 10), 2 if setting.tiny else ROUNDS_BESIDE
            old_s, new_s = asyncio.run(beside([endpoint.url, fresh.url], SHARE_BESIDE * at_once, each_s, rounds))
    third = max(1, len(looks) // 3)
    before, after = looks[:third], looks[-third:]

    def growth(name: str) -> float:
        return float(median(one[name] for one in after) / median(one[name] for one in before))

    minutes = [one["minute"] for one in looks]
    panels = [
        (what, unit, {what: dict(zip(minutes, (one[name] for one in looks), strict=True))})
        for what, unit, name in (("p95 of replies", "s", "p95_s"), ("memory of the replica", "MB", "replicas_mb"))
    ]
    return Result(
        [
            Figure("reply p95 after the soak, and of an endpoint just started", "s", old_s, new_s, less_is_better=True),
            Figure("p95 of replies, last by first third", "times", [growth("p95_s")], less_is_better=True,
                   note="the machine's own drift is in it"),
            Figure("replica's memory, last by first third", "times", [growth("replicas_mb")], less_is_better=True),
            Figure("proxy's memory, last by first third", "times", [growth("proxies_mb")], less_is_better=True),
            Figure("requests lost in the soak", "requests", [float(sum(one["lost"] for one in looks))],
                   less_is_better=True),
        ],
        {"requests_per_s": SHARE * at_once, "looks": looks},
        lambda file: lines(file, "minutes", panels, log=False),
    )  # fmt: skip


async def capacity(endpoint: Endpoint, for_s: float) -> float:
    """Requests a second of 32 streams at once."""
    client = Client(endpoint.url)
    seen = await closed_loop(client, bodies(True), 32, for_s)
    client.close()
    return pace(seen) / NEW_TOKENS


async def soak(endpoint: Endpoint, rate: float, for_s: float) -> list[dict[str, Any]]:
    """A look at it every half minute."""
    client, requests, begun, looks = Client(endpoint.url), bodies(True), time.monotonic(), list[dict[str, Any]]()
    each_s = min(LOOK_EVERY_S, for_s / 6)
    while time.monotonic() - begun < for_s:
        seen: list[Seen] = await open_loop(client, requests, rate, each_s, len(looks))
        looks.append({
            "minute": (time.monotonic() - begun) / 60, "p95_s": percentile([one.took_s for one in seen], 0.95),
            "lost": sum(map(is_lost, seen)), **endpoint.tell("memory"),
        })  # fmt: skip
    client.close()
    return looks


async def beside(urls: list[str], rate: float, each_s: float, num_rounds: int) -> list[list[float]]:
    """The p95 of replies of each, round by round, in seconds; both get the same requests, and go first by turns."""
    clients = [Client(url) for url in urls]
    for client in clients:
        await open_loop(client, bodies(True), rate, each_s)
    found: list[list[float]] = [[] for _ in clients]
    for number in range(num_rounds):
        by_turns = list(zip(clients, found, strict=True))[:: 1 if number % 2 else -1]
        for client, p95_s in by_turns:
            seen = await open_loop(client, bodies(True), rate, each_s, number)
            p95_s.append(percentile([one.took_s for one in seen], 0.95))
    for client in clients:
        client.close()
    return found
