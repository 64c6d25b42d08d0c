"""What each replica counted by version, summed for all; and the versions that all have called back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from serve.store.tables import retreats, tallies

FRESH_S = 60.0
"""What a replica counted counts for as long after it was last heard of."""


@dataclass(frozen=True)
class Retreat:
    """A version that answers nobody any more who did not name it."""

    model: str
    version: int
    reason: str
    replica: str
    began_at: float


def write_counts(connection: Connection, replica: str, model: str, counts: dict[str, Any], now: float) -> None:
    """What this replica counted in its window."""
    mine = tallies.c.replica == replica
    values = {"model": model, "counts": counts, "written_at": now}
    if connection.execute(update(tallies).where(mine).values(**values)).rowcount == 0:
        connection.execute(insert(tallies).values(replica=replica, **values))
    connection.execute(delete(tallies).where(tallies.c.written_at < now - 60 * FRESH_S))


def counts_of_all(connection: Connection, model: str, now: float) -> list[dict[str, Any]]:
    """Of all replicas that are there, each replica's `counts`."""
    fresh = tallies.c.model == model, tallies.c.written_at > now - FRESH_S
    return list(connection.execute(select(tallies.c.counts).where(*fresh)).scalars())


def begin(connection: Connection, retreat: Retreat) -> bool:
    """Calls a version back; False when another replica was faster."""
    insert_one: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert_one(retreats).values(**vars(retreat)).on_conflict_do_nothing()
    return connection.execute(statement.returning(retreats.c.version)).first() is not None


def listed(connection: Connection, model: str) -> list[Retreat]:
    """Of a model, the oldest first."""
    rows = connection.execute(select(retreats).where(retreats.c.model == model).order_by(retreats.c.began_at))
    return [Retreat(**row._mapping) for row in rows]


def clear(connection: Connection, model: str, version: int) -> bool:
    """A version may answer again, and is judged anew; whether it had been called back."""
    connection.execute(delete(tallies).where(tallies.c.model == model))
    there = retreats.c.model == model, retreats.c.version == version
    return connection.execute(delete(retreats).where(*there)).rowcount == 1
