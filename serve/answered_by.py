"""The version that answers in, the request's headers and log line out: errors say whose they are, too."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

from rejoinder.registry import Version

_state: ContextVar[MutableMapping[str, Any] | None] = ContextVar("answered_by_state", default=None)


def listen(state: MutableMapping[str, Any]) -> None:
    """Called where a request comes in; `state["version"]` is set when it is known."""
    _state.set(state)


def say(version: Version) -> None:
    """Called where a reply begins; of several replies to one request, the last one's counts."""
    state = _state.get()
    if state is not None:
        state["version"] = version
