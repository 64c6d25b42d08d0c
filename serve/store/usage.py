"""Requests and tokens of each key, counted for all replicas together; what is above a quota is refused.

Windows are minutes and days of UTC. Tokens are reserved before a reply and what was not used is given back after it, so
that a quota holds however many requests run at once; what a dead replica had reserved is lost until the day ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from serve.store.tables import usage

LENGTH_S = {"minute": 60, "day": 86_400}


class QuotaExceeded(Exception):
    """A key has used up what it may; says when to come back."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Used:
    """What a key has used in one window."""

    began_at: int
    num_requests: int
    num_tokens: int


def count_request(connection: Connection, key: str, per_minute: int | None, now: float) -> None:
    """One more request of a key in this minute. Raises QuotaExceeded, and counts nothing, above `per_minute`."""
    used = _add(connection, key, "minute", now, 1, 0)
    if per_minute is not None and used.num_requests > per_minute:
        again = used.began_at + LENGTH_S["minute"] - now
        raise QuotaExceeded(f"this key may make {per_minute} requests a minute; try again in {again:.0f} s", again)
    if used.num_requests == 1:
        hour_ago = int(now) - 3_600
        old = usage.c.key_id == key, usage.c.window == "minute", usage.c.began_at < hour_ago
        connection.execute(delete(usage).where(*old))


def reserve_tokens(connection: Connection, key: str, num_tokens: int, per_day: int | None, now: float) -> int:
    """Tokens that a reply may use, counted today; when today began, for `settle`. Raises QuotaExceeded, and counts
    nothing, above `per_day`."""
    used = _add(connection, key, "day", now, 1, num_tokens)
    if per_day is not None and used.num_tokens > per_day:
        again = used.began_at + LENGTH_S["day"] - now
        raise QuotaExceeded(
            f"this key may use {per_day} tokens a day and {used.num_tokens - num_tokens} are used or in use; this "
            f"request may need {num_tokens}; ask for less (max_tokens), or again in {again:.0f} s",
            again,
        )
    return used.began_at


def settle(connection: Connection, key: str, day: int, unused_tokens: int, *, has_begun: bool = True) -> None:
    """Gives back what was reserved on a day and not used; a reply that never began is not counted either."""
    _add(connection, key, "day", day, 0 if has_begun else -1, -unused_tokens)


def used(connection: Connection, key: str, window: str, now: float) -> Used:
    """What a key has used in the window that `now` is in."""
    began_at = _began(window, now)
    here = usage.c.key_id == key, usage.c.window == window, usage.c.began_at == began_at
    row = connection.execute(select(usage).where(*here)).first()
    return Used(began_at, 0, 0) if row is None else Used(began_at, row.num_requests, row.num_tokens)


def _began(window: str, now: float) -> int:
    return int(now // LENGTH_S[window]) * LENGTH_S[window]


def _add(connection: Connection, key: str, window: str, now: float, num_requests: int, num_tokens: int) -> Used:
    began_at = _began(window, now)
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {"key_id": key, "window": window, "began_at": began_at}
    statement = insert(usage).values(**row, num_requests=num_requests, num_tokens=num_tokens)
    more = {
        "num_requests": usage.c.num_requests + statement.excluded.num_requests,
        "num_tokens": usage.c.num_tokens + statement.excluded.num_tokens,
    }
    statement = statement.on_conflict_do_update(index_elements=list(row), set_=more)
    counts = connection.execute(statement.returning(usage.c.num_requests, usage.c.num_tokens)).one()
    return Used(began_at, counts.num_requests, counts.num_tokens)
