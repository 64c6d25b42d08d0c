"""What every request needs, in one place: the model's versions, the shared database, the settings, the counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rejoinder.engine import Statistics
from rejoinder.recipe import Recipe, ServingSection
from rejoinder.registry import Registry
from serve import retreat
from serve.following import Following, first_replica
from serve.metrics import Metrics
from serve.replica import ChatReplica, load_replica
from serve.retreat import Judge
from serve.rounds import Rounds
from serve.shadow import Shadow
from serve.store import Database, url_of
from serve.store.keys import Key
from serve.tallies import Window
from serve.versions import Versions


@dataclass(frozen=True)
class Load:
    """What one process has to do, all its loaded versions together."""

    num_running: int
    """Slots in use: a row of a reply each."""
    num_waiting: int
    """Requests that wait for a slot."""
    num_running_tokens: int
    """What those that are written read and may say, all rows together."""
    num_waiting_tokens: int
    """The same of those that wait."""
    num_slots: int
    """Of all versions."""

    @classmethod
    def of(cls, engines: Iterable[Statistics]) -> Load:
        """The sum over engines."""
        found = list(engines)
        return cls(*(sum(getattr(one, name) for one in found) for name in cls.__dataclass_fields__))


@dataclass
class Service:
    """One replica's side of the application. Knows no HTTP and no Ray."""

    versions: Versions
    database: Database
    serving: ServingSection
    metrics: Metrics
    following: Following | None = None

    def __post_init__(self) -> None:
        """Begins what goes on beside the requests."""
        serving, versions, metrics = self.serving, self.versions, self.metrics
        self.window = Window(serving.retreat.window_s)
        self.shadow = Shadow(versions, self.database, serving, metrics) if serving.shadow.to is not None else None
        self.rounds: list[Rounds] = []
        self.judge = Judge(versions, self.window, self.database, serving, metrics.replica)
        _watch(metrics, versions, self.following)

    def begin(self) -> None:
        """Follows the registry and judges canaries, in threads, until `close`."""
        serving = self.serving
        if serving.canary.to is not None or serving.ab_test:
            self.judge.read()
            self.rounds.append(Rounds("judging versions", self.judge.look, retreat.EVERY_S))
        if self.following is not None:
            self.rounds.append(Rounds("following the registry", self.following.look, serving.follow_every_s))

    @property
    def replica(self) -> ChatReplica:
        """The champion."""
        return self.versions.champion

    def load(self) -> Load:
        """What the engines of all loaded versions are doing now; for autoscaling."""
        return Load.of(statistics for _, statistics in self.versions.engines())

    def close(self) -> None:
        """Ends the engines, and what was begun in the database."""
        for rounds in self.rounds:
            rounds.close()
        if self.shadow is not None:
            self.shadow.close()
        self.versions.close()
        self.database.close()


def start_service(recipe: Recipe, replica_id: str | None = None) -> Service:
    """The recipe's champion loaded, asked, and followed. Blocks for seconds.

    Raises RegistryError without a version to serve, CheckpointError when it is damaged, ServingError when it does not
    answer; StoreUnavailable without the database.
    """
    database = Database(url_of(recipe))
    database.migrate()  # done at deploying; but a database may be new since
    registry = Registry(recipe)
    champion = first_replica(recipe, registry)
    versions = Versions(champion, recipe.serving, lambda number: load_replica(recipe, registry, registry.find(number)))
    following = Following(recipe, registry, versions)
    service = Service(versions, database, recipe.serving, Metrics(replica_id), following)
    service.begin()
    return service


def _watch(metrics: Metrics, versions: Versions, following: Following | None) -> None:
    metrics.watch_engines(versions.engines)
    metrics.watch(
        "version_held", "Versions that are loaded, and what for.", ("version", "role"),
        lambda: [((str(replica.version), role), 1.0) for replica, role in versions.held()],
    )  # fmt: skip
    model = versions.champion.version.model
    metrics.watch(
        "version_retreated", "Versions that were called back from canary and A/B traffic.", ("version",),
        lambda: [((f"models:/{model}/{number}",), 1.0) for number in sorted(versions.retreated())],
    )  # fmt: skip
    metrics.watch(
        "version_changes", "Since the start: versions loaded, failed to load or to answer, taken over.", ("what",),
        lambda: [
            (("loaded",), versions.num_loaded), (("failed",), versions.num_failures),
            (("taken_over",), versions.num_takeovers),
        ],
    )  # fmt: skip
    metrics.watch(
        "registry_away", "Whether the registry did not answer last time.", (),
        lambda: [((), float(following is not None and following.is_away))],
    )  # fmt: skip


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
