"""What becomes of replies when more are asked for than the endpoint bears, and is it itself again afterwards?"""

from __future__ import annotations

import asyncio

from bench.framework import Figure, Result
from bench.serving.client import Client, Seen, closed_loop, open_loop, pace, percentile
from bench.serving.corpus import CONTENDERS, NEW_TOKENS, bodies, seconds
from bench.serving.endpoint import running
from bench.setting import Setting

NEEDS_PEERS = False
TIMES = 1.5
"""What 32 streams at once are answered, in requests a second that come whatever became of those before."""


def measure(setting: Setting) -> Result:
    """Streams of 24 tokens by chance at 1.5 times the rate of 32 streams at once, after and before that rate."""
    for_s = seconds(setting, 20.0, 1 / 3)
    with running(setting, f"{CONTENDERS}.ours") as endpoint:
        borne, crowd, again = asyncio.run(_asked(endpoint.url, for_s))
    answered = [one for one in crowd if one.status == 200 and not one.problem]
    refused = [one for one in crowd if one.was_rejected]
    last_due, last_end = max(one.due for one in crowd), max(one.due + one.took_s for one in crowd)
    return Result(
        [
            Figure("overload: replies that are answered, of what is borne", "times", [pace(crowd) / pace(borne)]),
            Figure("overload: reply p95", "s", [percentile([one.took_s for one in answered], 0.95)],
                   less_is_better=True),
            Figure("overload: refusal p95", "s", [percentile([one.took_s for one in refused] or [0.0], 0.95)],
                   less_is_better=True),
            Figure("overload: last answer after the last request", "s", [last_end - last_due], less_is_better=True),
            Figure("overload: neither answered nor refused", "requests",
                   [float(len(crowd) - len(answered) - len(refused))], less_is_better=True),
            Figure("after it: what is borne, of what was before", "times", [pace(again) / pace(borne)]),
        ],
        {"asked_per_s": TIMES * pace(borne) / NEW_TOKENS, "answered": len(answered), "refused": len(refused)},
    )  # fmt: skip


async def _asked(url: str, for_s: float) -> tuple[list[Seen], list[Seen], list[Seen]]:
    client = Client(url)
    await closed_loop(client, bodies(True), 32, min(5.0, for_s))
    borne = await closed_loop(client, bodies(True), 32, for_s)
    crowd = await open_loop(client, bodies(True), TIMES * pace(borne) / NEW_TOKENS, for_s)
    again = await closed_loop(client, bodies(True), 32, for_s)
    client.close()
    return borne, crowd, again
