"""What every request needs, in one place: the model's replica, the shared database, the settings, the counts."""

from __future__ import annotations

from dataclasses import dataclass

from rejoinder.recipe import ServingSection
from serve.metrics import Metrics
from serve.replica import ChatReplica
from serve.store import Database
from serve.store.keys import Key


@dataclass
class Service:
    """One replica's side of the application. Knows no HTTP and no Ray."""

    replica: ChatReplica
    database: Database
    serving: ServingSection
    metrics: Metrics

    def close(self) -> None:
        """Ends the engine, and what was begun in the database."""
        self.replica.responder.engine.stop()
        self.database.close()


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    key: Key | None = None
    """None where no key is needed."""

    @property
    def owner(self) -> str:
        """To whom sessions, replies and feedback belong."""
        return self.key.id if self.key else ""

    def requests_per_minute(self, serving: ServingSection) -> int | None:
        """The quota: the key's own, else the recipe's."""
        own = self.key.requests_per_minute if self.key else None
        return serving.requests_per_minute if own is None else own

    def tokens_per_day(self, serving: ServingSection) -> int | None:
        """The quota: the key's own, else the recipe's."""
        own = self.key.tokens_per_day if self.key else None
        return serving.tokens_per_day if own is None else own
