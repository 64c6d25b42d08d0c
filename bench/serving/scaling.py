"""How long from a burst to a second replica that answers, and from the first request at zero replicas to its reply?"""

from __future__ import annotations

import asyncio
import time

from bench.framework import Figure, Result
from bench.serving.client import Client, closed_loop, require_answers
from bench.serving.corpus import CONTENDERS, bodies
from bench.serving.endpoint import Endpoint, running
from bench.setting import Setting

NEEDS_PEERS = False
PATIENCE_S = 180.0
BURST = 32
DELAYS = {"upscale_delay_s": 1, "downscale_delay_s": 5, "downscale_to_zero_delay_s": 5}


def measure(setting: Setting) -> Result:
    """From one replica to two with 32 streams at once, then to none and back. As many rounds as are asked for."""
    up: list[float] = []
    back: list[float] = []
    with running(setting, f"{CONTENDERS}.ours", min_replicas=0, max_replicas=2, **DELAYS) as endpoint:
        for _ in range(setting.rounds):
            asyncio.run(warm(endpoint))
            up.append(asyncio.run(burst(endpoint)))
            wait_for(endpoint, 0)
            begun = time.perf_counter()
            asyncio.run(warm(endpoint))
            back.append(time.perf_counter() - begun)
    return Result(
        [
            Figure("burst to a second replica", "s", up, less_is_better=True, note="its start is most of it"),
            Figure("first reply from zero replicas", "s", back, less_is_better=True, note="likewise"),
        ],
        {"delays": DELAYS},
    )


async def burst(endpoint: Endpoint) -> float:
    """Seconds from the first of them to two running replicas. All are answered."""
    client, begun = Client(endpoint.url), time.perf_counter()
    asking = asyncio.create_task(closed_loop(client, bodies(True), BURST, PATIENCE_S))
    took_s = 0.0
    try:
        await asyncio.to_thread(wait_for, endpoint, 2)
        took_s = time.perf_counter() - begun
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        client.close()
    return took_s


async def warm(endpoint: Endpoint) -> None:
    """One request, answered."""
    client = Client(endpoint.url)
    require_answers([await client.ask(next(bodies(False)))])
    client.close()


def wait_for(endpoint: Endpoint, num_replicas: int) -> None:
    """Until so many run."""
    deadline = time.monotonic() + PATIENCE_S
    while endpoint.tell("replicas")["running"] != num_replicas:
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {PATIENCE_S:g} s there were not {num_replicas} replicas")
        time.sleep(0.1)
