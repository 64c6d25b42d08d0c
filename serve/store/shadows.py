"""What shadows said: beside the reply that was given, and forgotten with it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from serve.store.tables import sessions, shadow_replies


@dataclass(frozen=True)
class ShadowReply:
    """A reply that nobody was given."""

    id: str
    reply_id: str
    """Of the one that was given."""
    session_id: str | None
    model: str
    version: str
    text: str | None
    """None where the conversation is not kept."""
    is_same: bool
    """Whether it says what was said."""
    num_reply_tokens: int
    first_token_s: float
    seconds: float
    created_at: float
    expires_at: float


def add(connection: Connection, reply: ShadowReply) -> None:
    """Writes it, unless it stands, or its session is gone."""
    if reply.session_id is not None:
        there = select(sessions.c.id).where(sessions.c.id == reply.session_id).with_for_update()
        if connection.execute(there).first() is None:
            return
    if connection.execute(select(shadow_replies.c.id).where(shadow_replies.c.id == reply.id)).first() is None:
        connection.execute(insert(shadow_replies).values(**vars(reply)))


def beside(connection: Connection, reply_id: str) -> list[ShadowReply]:
    """Those to the question that a reply answered."""
    rows = connection.execute(select(shadow_replies).where(shadow_replies.c.reply_id == reply_id))
    return [ShadowReply(**row._mapping) for row in rows]
