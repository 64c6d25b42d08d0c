"""What happens in a search in, its trials out: one line of JSON an event, so that a killed search knows them all.

The file is the search's whole memory: the next sample, the scheduler's rungs, budgets and the report are functions of
it. Nothing is pickled, and a line that was cut off by the kill is passed over.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rejoinder.storage import Folder, disk_errors
from tuning.objectives import Objective
from tuning.space import Sample

FILE = "trials.jsonl"
RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


@dataclass(frozen=True)
class Point:
    """What a trial had measured at a step."""

    step: int
    metrics: dict[str, float]
    s: float
    """Seconds that the trial had run, over all of the search's sessions."""


@dataclass
class Trial:
    """One sample and what became of it."""

    number: int
    sample: Sample
    parent: int | None = None
    """The trial whose checkpoint it began from."""
    until_step: int | None = None
    """Where it ends, when not at the last step."""
    state: str = RUNNING
    reason: str = ""
    """Why it was stopped, or failed; of one that runs, how it was lost the last time."""
    num_losses: int = 0
    """How often its process was lost, and it began again."""
    points: list[Point] = field(default_factory=list)
    batch_tokens: int = 0
    first_step: int = 0
    """The step it began after: that of its parent's checkpoint."""
    earlier_s: float = 0.0
    begun_s: float | None = None
    """Unix time at which it began in this session; None when it has not."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What its driver measured of itself."""

    @property
    def num_steps(self) -> int:
        """Steps that it is known to have made."""
        return self.points[-1].step - self.first_step if self.points else 0

    @property
    def num_tokens(self) -> int:
        """Tokens of global batches that it learnt from, padding included."""
        return self.num_steps * self.batch_tokens

    def seconds(self, now_s: float) -> float:
        """How long it has run."""
        is_on = self.state == RUNNING and self.begun_s is not None
        return self.earlier_s + (now_s - self.begun_s if is_on and self.begun_s is not None else 0.0)

    def best(self, objectives: Sequence[Objective]) -> Point | None:
        """The point it counts by: its best validation, by the first objective."""
        first = objectives[0]
        known = [one for one in self.points if all(has_number(one, other.metric) for other in objectives)]
        if first.counts_at_the_end:
            return known[-1] if known else None
        return min(known, key=lambda one: first.cost(one.metrics[first.metric]), default=None)


class History:
    """A search's trials, and the file they are kept in. One process writes."""

    def __init__(self, folder: Folder) -> None:
        """Reads what is there; trials that ran when it was left are running still."""
        self.folder, self.trials = folder, list[Trial]()
        self.earlier_s, self._begun_s = 0.0, time.time()
        self._last_ms = 0
        self.is_open = False
        """Whether this process works on it."""
        self.born_ms = int(time.time() * 1000)
        """When the search was begun: two of the same name, one after `--fresh`, differ in it."""
        lines = []
        for line in (folder.read_text(FILE) or "").splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # cut off by a kill
                continue
            lines.append(line)
            self._take(event)
        self._close_session()
        self._file = folder.directory / FILE
        if lines:
            folder.write_text(FILE, "\n".join(lines) + "\n")

    def open_session(self) -> None:
        """A driver has begun to work on it."""
        self._begun_s, self.is_open = time.time(), True
        self._put({"event": "session"})

    def begin(self, number: int, sample: Sample, batch_tokens: int, parent: int | None, until_step: int | None) -> None:
        """A new trial, or one of an earlier session that goes on."""
        self._put(
            {
                "event": "begin", "number": number, "sample": sample, "batch_tokens": batch_tokens, "parent": parent,
                "until_step": until_step,
            }
        )  # fmt: skip

    def point(self, number: int, step: int, metrics: dict[str, float]) -> None:
        """A validation."""
        self._put({"event": "point", "number": number, "step": step, "metrics": metrics})

    def lose(self, number: int, reason: str) -> None:
        """Its process is gone; it is to begin again from its last checkpoint."""
        self._put({"event": "loss", "number": number, "reason": reason})

    def end(self, number: int, state: str, reason: str = "", facts: dict[str, Any] | None = None) -> None:
        """It is over."""
        self._put({"event": "end", "number": number, "state": state, "reason": reason, "facts": facts or {}})
        self.folder.publish(FILE)

    @property
    def session_s(self) -> float:
        """Seconds since this driver began."""
        return time.time() - self._begun_s

    @property
    def num_tokens(self) -> int:
        """Tokens that all trials have learnt from."""
        return sum(trial.num_tokens for trial in self.trials)

    def front(self, objectives: Sequence[Objective]) -> list[Trial]:
        """The trials that no other one is better than in every objective; with one objective the best one."""
        points = [
            (trial, point) for trial in self.trials if trial.state != FAILED and (point := trial.best(objectives))
        ]
        costs = [tuple(one.cost(point.metrics[one.metric]) for one in objectives) for _, point in points]
        front = [trial for (trial, _), own in zip(points, costs, strict=True) if not any(_beats(o, own) for o in costs)]
        return front if len(objectives) > 1 else front[:1]

    def best(self, objectives: Sequence[Objective]) -> Trial | None:
        """The one that is best by the first objective."""
        found = [(objectives[0].cost(point.metrics[objectives[0].metric]), trial.number)
                 for trial in self.front(objectives) if (point := trial.best(objectives))]  # fmt: skip
        return self.trials[min(found)[1]] if found else None

    def _put(self, event: dict[str, Any]) -> None:
        event["ms"] = int(time.time() * 1000)
        self._take(event)
        with disk_errors(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _take(self, event: dict[str, Any]) -> None:
        kind, now_s = event["event"], event["ms"] / 1000
        if not self._last_ms:
            self.born_ms = event["ms"]
        if kind == "session":
            self._close_session()
            self._session_from_s = now_s
        elif kind == "begin":
            number = event["number"]
            if number == len(self.trials):
                self.trials.append(Trial(number, event["sample"], event["parent"], event["until_step"]))
            trial = self.trials[number]
            trial.batch_tokens, trial.begun_s = event["batch_tokens"], now_s
            if trial.state != RUNNING:  # a budget had cut it off, and is larger now
                trial.state, trial.reason = RUNNING, ""
            if trial.parent is not None:
                trial.first_step = self.trials[trial.parent].points[-1].step if self.trials[trial.parent].points else 0
        elif kind == "point":
            trial = self.trials[event["number"]]
            trial.points.append(Point(event["step"], event["metrics"], trial.seconds(now_s)))
        elif kind == "loss":
            trial = self.trials[event["number"]]
            trial.earlier_s, trial.begun_s = trial.seconds(now_s), None
            trial.num_losses, trial.reason = trial.num_losses + 1, event["reason"]
        elif kind == "end":
            trial = self.trials[event["number"]]
            trial.earlier_s, trial.begun_s = trial.seconds(now_s), None
            trial.state, trial.reason, trial.facts = event["state"], event["reason"], event["facts"]
        self._last_ms = event["ms"]

    def _close_session(self) -> None:
        """What was running when a driver was killed had run until its last sign of life."""
        last_s = self._last_ms / 1000
        for trial in self.trials:
            if trial.begun_s is not None:
                trial.earlier_s, trial.begun_s = trial.seconds(last_s), None
        if (begun_s := getattr(self, "_session_from_s", None)) is not None:
            self.earlier_s += last_s - begun_s
            self._session_from_s = None


def has_number(point: Point, metric: str) -> bool:
    """Whether the metric was measured, and came to a number."""
    return metric in point.metrics and math.isfinite(point.metrics[metric])


def _beats(other: tuple[float, ...], own: tuple[float, ...]) -> bool:
    return other != own and all(a <= b for a, b in zip(other, own, strict=True))
