"""A reply that is complete in; in one transaction its turns, itself and what it used. Then it may be acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update

from serve.store import tickets
from serve.store.tables import replies, sessions, turns

Said = tuple[str, str]
"""A role and its text."""


class SessionMovedOn(Exception):
    """The session was deleted, or went on without this reply, whose lease had expired."""


@dataclass(frozen=True)
class KeptReply:
    """A reply with what feedback on it needs."""

    id: str
    owner: str
    model: str
    version: str
    text: str
    num_context_tokens: int
    num_reply_tokens: int
    finish: str
    session_id: str | None = None
    position: int | None = None
    """Among the session's turns."""
    messages: list[Said] = field(default_factory=list)
    """What was replied to, where there is no session."""


def storable(text: str | None) -> str | None:
    """Without the one character that PostgreSQL takes in no text."""
    return None if text is None else text.replace("\0", "")


def finish(
    connection: Connection, reply: KeptReply, new: list[Said], system: list[str] | None, holder: str | None,
    now: float, ttl_s: float,
) -> None:  # fmt: skip
    """Writes a reply; in a session after its `new` turns, ending the holder's turn to speak. Done before, it does
    nothing. `system` replaces the session's system messages. Raises SessionMovedOn."""
    if connection.execute(select(replies.c.id).where(replies.c.id == reply.id)).first() is not None:
        return
    values: dict[str, Any] = {**vars(reply), "text": storable(reply.text), "created_at": now}
    if reply.session_id is None:
        connection.execute(insert(replies).values(**values | {"expires_at": now + ttl_s}))
        return
    query = select(sessions.c.num_turns).where(sessions.c.id == reply.session_id).with_for_update()
    first = connection.execute(query).scalar()
    if first is None or holder is None or not tickets.release(connection, holder):
        raise SessionMovedOn(reply.session_id)
    last = first + len(new)
    said = [(role, text, None) for role, text in new] + [("assistant", reply.text, reply.id)]
    same = {"session_id": reply.session_id, "created_at": now}
    rows = [
        same | {"position": first + i, "role": role, "text": storable(text), "reply_id": id}
        for i, (role, text, id) in enumerate(said)
    ]
    connection.execute(insert(turns), rows)
    changes: dict[str, Any] = {"num_turns": last + 1, "used_at": now, "expires_at": now + ttl_s}
    if system is not None:
        changes["system"] = system
    connection.execute(update(sessions).where(sessions.c.id == reply.session_id).values(**changes))
    connection.execute(insert(replies).values(**values | {"position": last, "messages": None}))


def find_reply(connection: Connection, id: str, owner: str, now: float) -> KeptReply | None:
    """The owner's reply of this name, with what it replied to when there is no session; not when it has expired."""
    row = connection.execute(select(replies).where(replies.c.id == id, replies.c.owner == owner)).first()
    if row is None or (row.expires_at or now + 1) <= now:
        return None
    return KeptReply(
        row.id, row.owner, row.model, row.version, row.text, row.num_context_tokens, row.num_reply_tokens, row.finish,
        row.session_id, row.position, [(role, text) for role, text in row.messages or []],
    )  # fmt: skip
