"""What people thought of replies: written with the conversation, read back as conversations to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from serve.store.sessions import turns_before
from serve.store.tables import feedback
from serve.store.turns import KeptReply, Said

MAX_TURNS = 256
_PAGE_ROWS = 500


@dataclass(frozen=True)
class Feedback:
    """One opinion on one reply."""

    id: str
    owner: str
    reply_id: str
    session_id: str | None
    model: str
    version: str
    thumb: str | None
    """`up` or `down`."""
    rating: int | None
    """1 to 5."""
    correction: str | None
    """What should have been said."""
    regenerate: bool
    """Whether another reply was wanted."""
    messages: list[Said]
    """What was replied to, at most its newest 256 turns."""
    reply: str
    created_at: float


def context_of(connection: Connection, reply: KeptReply) -> list[Said]:
    """What a reply replied to."""
    if reply.session_id is None:
        return reply.messages
    said = turns_before(connection, reply.session_id, reply.position or 0, MAX_TURNS)
    return [(turn.role, turn.text) for turn in said]


def add(connection: Connection, given: Feedback) -> None:
    """Writes it, unless it stands."""
    if connection.execute(select(feedback.c.id).where(feedback.c.id == given.id)).first() is None:
        connection.execute(insert(feedback).values(**vars(given)))


def everything(connection: Connection) -> Iterator[Feedback]:
    """All feedback of everybody, the oldest first."""
    after: Any = (0.0, "")
    while True:
        newer = (feedback.c.created_at == after[0]) & (feedback.c.id > after[1])
        query = select(feedback).where((feedback.c.created_at > after[0]) | newer)
        rows = connection.execute(query.order_by(feedback.c.created_at, feedback.c.id).limit(_PAGE_ROWS)).all()
        for row in rows:
            messages = [(role, text) for role, text in row.messages]
            yield Feedback(**{**row._mapping, "messages": messages})
        if len(rows) < _PAGE_ROWS:
            return
        after = (rows[-1].created_at, rows[-1].id)
