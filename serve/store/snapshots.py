"""What each replica counts, kept for all: a scraper reaches one of them and asks about every one."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from serve.store.tables import snapshots

FRESH_S = 60.0
"""A replica that has not written for so long is gone."""


def write(connection: Connection, replica: str, metrics: str, now: float) -> None:
    """A replica's counts as Prometheus' text."""
    mine = snapshots.c.replica == replica
    if connection.execute(update(snapshots).where(mine).values(metrics=metrics, written_at=now)).rowcount == 0:
        connection.execute(insert(snapshots).values(replica=replica, metrics=metrics, written_at=now))
    connection.execute(delete(snapshots).where(snapshots.c.written_at < now - 60 * FRESH_S))


def of_others(connection: Connection, replica: str, now: float) -> list[str]:
    """The counts of all other replicas that are there."""
    theirs = snapshots.c.replica != replica, snapshots.c.written_at > now - FRESH_S
    return list(connection.execute(select(snapshots.c.metrics).where(*theirs).order_by(snapshots.c.replica)).scalars())
