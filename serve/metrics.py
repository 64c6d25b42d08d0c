"""What happened in; Prometheus' text out, for this replica and, through the database, for all others."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rejoinder.engine import Histogram, Statistics
from serve.store import Database, snapshots

log = logging.getLogger(__name__)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SNAPSHOT_EVERY_S = 5.0
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
Kind = TypeVar("Kind", Counter, PrometheusHistogram)
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_SECONDS_BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Metrics:
    """Counts of one replica. Each has the labels `replica`, and `version` where a model is concerned."""

    def __init__(self, replica: str | None = None) -> None:
        self.replica = replica or f"replica-{secrets.token_hex(4)}"
        self._registry = CollectorRegistry()
        self._written_at = 0.0
        self.requests = self._counter("requests", "Requests by path and status.", "path", "status", "version")
        self.errors = self._counter("errors", "Requests that were answered with an error.", "code", "version")
        self.rejections = self._counter("rejections", "Requests that were answered 429, by why.", "reason", "version")
        self.tokens = self._counter("tokens", "Tokens read (context) and written (reply).", "kind", "version")
        self.fallbacks = self._counter("fallbacks", "Replies in which the model said nothing.", "version")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From a request to the first text of its reply.", _SECONDS
        )
        self.between_tokens = self._histogram(
            "between_tokens_seconds", "From one piece of a reply's text to the next.", _SECONDS_BETWEEN
        )
        self.duration = self._histogram("reply_seconds", "From a request to the end of its reply.", _SECONDS)
        self.failures = self._counter("failed_replies", "Replies that the model did not come to the end of.", "version")
        self.repetition = self._histogram("repetition_share", "Share of a reply that had been said before.", _SHARES)
        self.shadows = self._counter(
            "shadow_replies", "What became of the shadow's: same, other, failed, dropped.", "version", "outcome"
        )
        self.shadow_first_token = self._histogram(
            "shadow_time_to_first_token_seconds", "From the shadow's question to its first text.", _SECONDS
        )
        self.shadow_repetition = self._histogram(
            "shadow_repetition_share", "Share of a shadow's reply that had been said before.", _SHARES
        )

    def watch_engines(self, engines: Callable[[], Iterable[tuple[str, Statistics]]]) -> None:
        """Asks the engines of the loaded versions what they do whenever somebody looks."""
        self._registry.register(_OfEngines(engines, self.replica))

    def watch(
        self, name: str, what: str, labels: Sequence[str], read: Callable[[], Iterable[tuple[Sequence[str], float]]]
    ) -> None:
        """Asks for numbers by their labels whenever somebody looks."""
        self._registry.register(_Read(f"rejoinder_{name}", what, labels, read, self.replica))

    def text(self) -> str:
        """This replica's counts."""
        return generate_latest(self._registry).decode()

    async def text_of_all(self, database: Database) -> str:
        """This replica's counts as they are, and those that the others wrote last."""
        others = await database.run(lambda rows: snapshots.of_others(rows, self.replica, time.time()), writes=False)
        return merged([self.text(), *others])

    def share(self, database: Database) -> None:
        """Writes this replica's counts for the others, at most every few seconds; nobody waits for it."""
        if time.monotonic() - self._written_at >= SNAPSHOT_EVERY_S:
            self._written_at = time.monotonic()
            database.start(lambda rows: snapshots.write(rows, self.replica, self.text(), time.time()))

    def _counter(self, name: str, what: str, *labels: str) -> _Labelled[Counter]:
        return _Labelled(
            Counter(f"rejoinder_{name}", what, ("replica", *labels), registry=self._registry), self.replica
        )

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> _Labelled[PrometheusHistogram]:
        made = PrometheusHistogram(
            f"rejoinder_{name}", what, ("replica", "version"), registry=self._registry, buckets=buckets
        )
        return _Labelled(made, self.replica)


class _Labelled(Generic[Kind]):
    """A metric that knows its replica."""

    def __init__(self, metric: Kind, replica: str) -> None:
        self._metric: Kind = metric
        self._replica = replica

    def of(self, *labels: str) -> Kind:
        """The one with these labels."""
        return self._metric.labels(self._replica, *labels)


class _Read(Collector):
    def __init__(
        self, name: str, what: str, labels: Sequence[str], read: Callable[[], Iterable[tuple[Sequence[str], float]]],
        replica: str,
    ) -> None:  # fmt: skip
        self._name, self._what, self._labels, self._read, self._replica = name, what, labels, read, replica

    def collect(self) -> Iterable[Metric]:
        gauge = GaugeMetricFamily(self._name, self._what, labels=("replica", *self._labels))
        for labels, value in self._read():
            gauge.add_metric((self._replica, *labels), value)
        yield gauge


class _OfEngines(Collector):
    def __init__(self, engines: Callable[[], Iterable[tuple[str, Statistics]]], replica: str) -> None:
        self._engines, self._replica = engines, replica

    def collect(self) -> Iterable[Metric]:
        found = [((self._replica, version), statistics) for version, statistics in self._engines()]
        for name, what in (
            ("num_running", "Slots in use."),
            ("num_waiting", "Requests that wait for a slot."),
            ("num_slots", "Slots."),
            ("num_running_tokens", "What those that are written read and may say."),
            ("num_waiting_tokens", "The same of those that wait."),
        ):
            gauge = GaugeMetricFamily(f"rejoinder_engine_{name}", what, labels=("replica", "version"))
            for labels, now in found:
                gauge.add_metric(labels, getattr(now, name))
            yield gauge
        for name, what in (
            ("queue_wait_s", "From a request to its admission."),
            ("batch_fill", "Share of the slots that a step had rows in."),
        ):
            family = HistogramMetricFamily(
                f"rejoinder_engine_{name.replace('_s', '_seconds')}", what, labels=("replica", "version")
            )
            for labels, now in found:
                seen: Histogram = getattr(now, name)
                total, buckets = 0, []
                for bound, count in zip([*map(str, seen.bounds), "+Inf"], seen.counts, strict=False):
                    total += count
                    buckets.append((bound, float(total)))
                family.add_metric(labels, buckets or [("+Inf", 0.0)], seen.sum)
            yield family


def merged(texts: Iterable[str]) -> str:
    """Several replicas' counts as one text, in which each metric is described once."""
    described: dict[str, str] = {}
    samples: dict[str, list[str]] = {}
    for text in texts:
        for part in text.split("# HELP ")[1:]:
            lines = part.splitlines()
            name = lines[0].split(" ", 1)[0]
            described.setdefault(name, "\n".join(["# HELP " + lines[0], *lines[1:2]]))
            samples.setdefault(name, []).extend(lines[2:])
    return "".join(f"{head}\n" + "".join(f"{line}\n" for line in samples[name]) for name, head in described.items())
