"""Whose turn it is to speak in a session: a queue in the database, in the order of asking, whichever replica asks.

A ticket is a lease: its holder renews it, from the moment that it waits, and when the holder dies it expires, so that
nobody waits for a replica that is gone. Whoever comes to the head takes the expired tickets away; a holder that was
only slow then finds its own gone and must not write (`serve.store.turns.finish` looks). The clocks of the machines must
agree to within a lease.
"""

from __future__ import annotations

from sqlalchemy import Connection, case, delete, func, insert, select, update

from serve.store.tables import sessions, tickets

LEASE_S = 15.0


def take(connection: Connection, session: str, owner: str, holder: str, now: float, lease_s: float = LEASE_S) -> bool:
    """Queues up in a session; whether it is the holder's turn already. The session must be the owner's.

    Raises LookupError when the session is unknown. A second call for the same holder changes nothing.
    """
    # The row is locked, so that numbers are given in the order in which they become visible.
    query = select(sessions.c.id).where(
        sessions.c.id == session, sessions.c.owner == owner, sessions.c.expires_at > now
    )
    if connection.execute(query.with_for_update()).first() is None:
        raise LookupError(session)
    if connection.execute(select(tickets.c.id).where(tickets.c.holder == holder)).first() is None:
        connection.execute(insert(tickets).values(session_id=session, holder=holder, expires_at=now + lease_s))
    return claim(connection, session, holder, now, lease_s)


def is_next(connection: Connection, session: str, holder: str, now: float) -> bool:
    """Whether those before the holder have gone or expired. Only looks. Raises LookupError as `claim` does."""
    is_own = tickets.c.holder == holder
    waiting = (tickets.c.session_id == session) & ((tickets.c.expires_at > now) | is_own)
    ids = select(func.min(tickets.c.id), func.min(case((is_own, tickets.c.id)))).where(waiting)
    first, own = connection.execute(ids).one()
    if own is None:
        raise LookupError(session)
    return bool(first == own)


def claim(connection: Connection, session: str, holder: str, now: float, lease_s: float = LEASE_S) -> bool:
    """Renews the holder's lease; whether it is its turn, in which case the expired ones before it are gone.

    Raises LookupError when the holder's own ticket was taken away, or its session was deleted.
    """
    renewed = update(tickets).where(tickets.c.holder == holder).values(expires_at=now + lease_s)
    if connection.execute(renewed).rowcount == 0:
        raise LookupError(session)
    if not is_next(connection, session, holder, now):
        return False
    own = select(tickets.c.id).where(tickets.c.holder == holder).scalar_subquery()
    connection.execute(delete(tickets).where(tickets.c.session_id == session, tickets.c.id < own))
    return True


def hand_over(connection: Connection, session: str, earlier: str, holder: str) -> None:
    """Who asks for somebody else whose replica died takes that one's place; should it live, it must not write."""
    of_earlier = (tickets.c.session_id == session) & (tickets.c.holder == earlier)
    connection.execute(update(tickets).where(of_earlier).values(holder=holder))


def release(connection: Connection, holder: str) -> bool:
    """Leaves the queue; whether the ticket still stood."""
    return connection.execute(delete(tickets).where(tickets.c.holder == holder)).rowcount == 1
