"""The other end of `bench.serving.endpoint`: orders from standard input, answers to standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

Order = Callable[..., dict[str, Any]]


def answer(**what: Any) -> None:
    """Said to whoever gave the order."""
    print("ANSWER " + json.dumps(what), flush=True)


def obey(orders: dict[str, Order]) -> None:
    """Until nobody gives any more."""
    for line in sys.stdin:
        told = json.loads(line)
        answer(**orders[told.pop("order")](**told))


def arguments() -> dict[str, Any]:
    """What the program was started with."""
    return dict(json.loads(sys.argv[1]))
