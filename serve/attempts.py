"""A request's name, seed and session from the door in; the same reply again out, when a second replica is asked for it.

The door (serve/door.py) asks another replica when one dies. What the first one drew by chance, the reply's id and its
seed, therefore comes from the door, in a header that no client can set: the door takes it away.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import count

HEADER = "x-rejoinder-attempt"
_FORM = re.compile(r"(?P<name>[0-9a-f]{32}) (?P<seed>\d{1,10}) (?P<number>\d{1,3}) (?P<session>[A-Za-z0-9_-]{0,64})")


@dataclass(frozen=True)
class Attempt:
    """One of several tries to answer a request."""

    name: str
    seed: int
    number: int = 0
    """Above 0, a replica was asked before and did not answer to the end."""
    session: str = ""
    """Which one an earlier try began for `session_id = "new"`, if it came to say so."""

    @classmethod
    def first(cls) -> Attempt:
        """With a name and a seed by chance."""
        return cls(secrets.token_hex(16), secrets.randbits(31))

    def next(self, session: str = "") -> Attempt:
        """The try after this one."""
        return replace(self, number=self.number + 1, session=session or self.session)

    def header(self) -> str:
        """As it travels."""
        return f"{self.name} {self.seed} {self.number} {self.session}"

    @classmethod
    def read(cls, header: str) -> Attempt | None:
        """None for anything that no door wrote."""
        found = _FORM.fullmatch(header)
        return found and cls(found["name"], int(found["seed"]), int(found["number"]), found["session"])


@dataclass(frozen=True)
class Told:
    """What the door said of one reply."""

    name: str
    seed: int
    number: int
    """Above 0, a replica was asked before and did not answer to the end."""
    session: str | None

    @property
    def ticket(self) -> str:
        """Whom a session knows this try as."""
        return self._ticket(self.number)

    @property
    def earlier_tickets(self) -> list[str]:
        """Those of the tries before."""
        return [self._ticket(number) for number in range(self.number)]

    def _ticket(self, number: int) -> str:
        return f"ticket-{self.name}-{number}"


class _Replies:
    """One request may ask for several replies: each has a name and a seed of its own, the same in every try."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._numbers = attempt, count()

    def next(self) -> Told:
        attempt, number = self._attempt, next(self._numbers)
        name = f"{attempt.name}-{number}" if number else attempt.name
        return Told(name, (attempt.seed + number) % 2**31, attempt.number, attempt.session or None)


_replies: ContextVar[_Replies | None] = ContextVar("attempts_replies", default=None)


def begin(header: str) -> None:
    """Called for each request, with the door's header or none."""
    attempt = Attempt.read(header)
    _replies.set(_Replies(attempt) if attempt else None)


def next_reply() -> Told | None:
    """What the door said of the request's next reply; None where there is no door."""
    replies = _replies.get()
    return replies.next() if replies else None
