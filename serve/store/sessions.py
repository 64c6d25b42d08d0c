"""Conversations that the server keeps: made, found, listed, read from their end, deleted; only by their owners."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from serve.store.tables import feedback, replies, sessions, shadow_replies, turns

_PURGED_AT_ONCE = 100


@dataclass(frozen=True)
class Session:
    """One conversation, without its turns. Times are seconds since 1970."""

    id: str
    owner: str
    """The id of the key that made it; "" where no key is needed."""
    system: tuple[str, ...]
    """Texts of its system messages."""
    num_turns: int
    created_at: float
    used_at: float
    expires_at: float


@dataclass(frozen=True)
class StoredTurn:
    """What was said in a session."""

    position: int
    role: str
    text: str
    reply_id: str | None
    """Of an assistant's turn that was written here."""
    created_at: float


def new_session_id() -> str:
    """A name that nobody guesses."""
    return f"session-{secrets.token_hex(16)}"


def create(connection: Connection, id: str, owner: str, now: float, ttl_s: float, system: list[str]) -> None:
    """A session without turns, unless it stands; some that have expired go."""
    _purge(connection, now)
    if connection.execute(select(sessions.c.id).where(sessions.c.id == id)).first() is None:
        times = {"created_at": now, "used_at": now, "expires_at": now + ttl_s}
        connection.execute(insert(sessions).values(id=id, owner=owner, system=system, num_turns=0, **times))


def find(connection: Connection, id: str, owner: str, now: float) -> Session | None:
    """The owner's session of this name, unless it has expired."""
    row = connection.execute(select(sessions).where(*_mine(owner, now), sessions.c.id == id)).first()
    return None if row is None else _session(row)


def listed(connection: Connection, owner: str, now: float, limit: int, after: str | None) -> list[Session]:
    """The owner's sessions, the newest first; `after` is the id of the last one that was listed before."""
    query = select(sessions).where(*_mine(owner, now))
    if after is not None:
        last = select(sessions.c.created_at, sessions.c.id).where(sessions.c.id == after, sessions.c.owner == owner)
        if (place := connection.execute(last).first()) is None:
            return []
        older = (sessions.c.created_at == place.created_at) & (sessions.c.id < place.id)
        query = query.where((sessions.c.created_at < place.created_at) | older)
    rows = connection.execute(query.order_by(sessions.c.created_at.desc(), sessions.c.id.desc()).limit(limit))
    return [_session(row) for row in rows]


def remove(connection: Connection, id: str, owner: str) -> bool:
    """Deletes the owner's session with its turns, replies and feedback; whether there was one."""
    mine = sessions.c.id == id, sessions.c.owner == owner
    if connection.execute(delete(sessions).where(*mine)).rowcount == 0:
        return False
    connection.execute(delete(feedback).where(feedback.c.session_id == id))
    return True


def turns_before(connection: Connection, id: str, end: int, limit: int) -> list[StoredTurn]:
    """At most `limit` turns, those right before position `end`; the oldest first.

    Asked by their positions, which have no gaps: a database then needs no luck to see that an index has them.
    """
    first = max(0, end - limit)
    return turns_from(connection, id, first, end - first)


def turns_from(connection: Connection, id: str, position: int, limit: int) -> list[StoredTurn]:
    """At most `limit` turns from this position on."""
    here = turns.c.position.between(position, position + limit - 1)
    rows = connection.execute(select(turns).where(turns.c.session_id == id, here).order_by(turns.c.position))
    return [StoredTurn(row.position, row.role, row.text, row.reply_id, row.created_at) for row in rows]


def count(connection: Connection) -> int:
    """All sessions of everybody."""
    return connection.execute(select(func.count()).select_from(sessions)).scalar_one()


def _mine(owner: str, now: float) -> tuple[Any, ...]:
    return sessions.c.owner == owner, sessions.c.expires_at > now


def _purge(connection: Connection, now: float) -> None:
    """A few at a time, so that nobody waits for a great clearing; feedback stays, it has its own copy."""
    for table in (sessions, replies, shadow_replies):
        gone = select(table.c.id).where(table.c.expires_at <= now).limit(_PURGED_AT_ONCE)
        connection.execute(delete(table).where(table.c.id.in_(gone)))


def _session(row: Any) -> Session:
    times = row.created_at, row.used_at, row.expires_at
    return Session(row.id, row.owner, tuple(row.system), row.num_turns, *times)
