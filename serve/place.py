"""A place in a session's queue: taken before the reply, held while it is made, left when it is kept or given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future

from sqlalchemy import Connection

from serve.attempts import Told
from serve.errors import Refused
from serve.messages import new_id
from serve.store import Database, StoreUnavailable, sessions, tickets
from serve.store.turns import SessionMovedOn

NEW_SESSION = "new"
_LOOK_AGAIN_S = (0.01, 0.1)
"""How soon whoever waits in a session looks whether it is its turn: first, and in the end."""


class Place:
    """One reply's place in the queue of its session. Whoever has entered must leave: release `holder`, and `stop`."""

    def __init__(self, database: Database, owner: str, ttl_s: float, told: Told | None) -> None:
        self.holder = told.ticket if told else new_id("ticket")
        """Whom the queue knows this reply as."""
        self.queued: Future[bool] | None = None
        """The taking of the ticket, which goes on to its end though nobody waits for it any more."""
        self._database, self._owner, self._ttl_s, self._told = database, owner, ttl_s, told
        self._renewing: asyncio.Task[None] | None = None

    async def enter(self, name: str, time_left: Callable[[], float]) -> str:
        """Waits until those who asked before have been answered; the session's id. `time_left` raises when it waits
        too long. Raises Refused for an unknown session, SessionMovedOn when it is deleted meanwhile."""
        id = sessions.new_session_id() if name == NEW_SESSION else name

        def take(rows: Connection) -> bool:
            now = time.time()
            if name == NEW_SESSION:
                sessions.create(rows, id, self._owner, now, self._ttl_s, [])
            for earlier in self._told.earlier_tickets if self._told else ():
                tickets.hand_over(rows, id, earlier, self.holder)
            return tickets.take(rows, id, self._owner, self.holder, now, tickets.LEASE_S)

        try:
            self.queued = self._database.start(take)
            is_ours, wait_s = await asyncio.wrap_future(self.queued), _LOOK_AGAIN_S[0]
        except LookupError:
            raise unknown_session(name) from None
        self._renewing = asyncio.create_task(self._keep_lease(id))
        try:
            while not is_ours:
                await asyncio.sleep(min(wait_s, time_left()))
                wait_s = min(2 * wait_s, _LOOK_AGAIN_S[1])
                is_ours = await self._database.run(
                    lambda rows: tickets.is_next(rows, id, self.holder, time.time()), writes=False
                ) and await self._claim(id)
        except LookupError:
            raise SessionMovedOn(id) from None
        return id

    def stop(self) -> None:
        """Renews the lease no longer."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    async def _claim(self, session: str) -> bool:
        return await self._database.run(
            lambda rows: tickets.claim(rows, session, self.holder, time.time(), tickets.LEASE_S)
        )

    async def _keep_lease(self, session: str) -> None:
        """As long as the reply is waited for and written, nobody takes its place, and nobody else's turn comes."""
        wait_s = tickets.LEASE_S / 3
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self._claim(session)
                wait_s = tickets.LEASE_S / 3
            except StoreUnavailable:  # it was patient before it said so: little of the lease is left
                wait_s = tickets.LEASE_S / 15
            except Exception:  # who waits, or keeps the reply, will find out and say so
                return


def unknown_session(name: str) -> Refused:
    """The same words for a session that is not there and one of somebody else."""
    return Refused(
        404, f"no session of yours is called {name!r}; begin one with session_id = \"new\", or POST /v1/sessions",
        param="session_id", code="session_not_found",
    )  # fmt: skip
