"""What the engines of all replicas have to do in; how many replicas are wanted out.

Serve's controller asks several times a second. It gets this module by value, without our packages: nothing of ours is
imported here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

REQUESTS, TOKENS = "load_requests", "load_tokens"
"""What a replica tells: rows that are written or wait, and what they read and may say."""
SLACK = 0.75
"""A replica is given up only when the others would then be filled to this share of the target: else the next request
would start one again."""
COME_ROUND = 1.05
"""Over the target by less than this nobody is started."""


@dataclass(frozen=True)
class Demand:
    """What is to be done now, by all replicas together."""

    requests: float
    """Replies that are written, wait in an engine, or wait for a replica."""
    tokens: float

    def replicas(self, target_requests: float, target_tokens: float) -> float:
        """How many replicas this fills to their target: by requests or by tokens, whichever is more."""
        return max(self.requests / target_requests, self.tokens / target_tokens)


def wanted_replicas(demand: Demand, current: int, target_requests: float, target_tokens: float) -> int:
    """More at once when the target is passed; fewer only with some slack, so that it does not swing; 0 for nothing."""
    filled = demand.replicas(target_requests, target_tokens)
    if filled > current * COME_ROUND:
        return math.ceil(filled)
    if filled == 0:
        return 0  # Serve takes away all but the last, and that one only after a delay of its own
    needed = max(1, math.ceil(filled / SLACK))
    return min(current, needed)


class ByLoad:
    """A policy of Ray Serve, which puts bounds and delays around it."""

    def __init__(self, target_requests: float, target_tokens: float) -> None:
        self.target_requests, self.target_tokens = target_requests, target_tokens

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The replicas that are wanted; nothing is kept from call to call."""
        demand = demand_of(context.raw_metrics or {}, context.total_queued_requests or 0.0)
        wanted = wanted_replicas(demand, context.target_num_replicas, self.target_requests, self.target_tokens)
        # An open socket, or who waits for a turn in a session, fills no slot, but is cut off with the last replica.
        return max(wanted, 1 if context.total_num_requests > 0 else 0), {}


def demand_of(told: dict[str, dict[Any, Any]], num_queued: float) -> Demand:
    """The newest of what each replica told; those who wait for a replica are as long as the others on average."""

    def total(name: str) -> float:
        return sum(float(series[-1].value) for series in told.get(name, {}).values() if series)

    requests, tokens = total(REQUESTS), total(TOKENS)
    each = tokens / requests if requests else 0.0
    return Demand(requests + num_queued, tokens + num_queued * each)
