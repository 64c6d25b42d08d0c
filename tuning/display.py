"""A search in, what people see of it while it runs out: a live table in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from rejoinder import console
from tuning.history import FAILED, RUNNING, Trial

if TYPE_CHECKING:
    from tuning.search import Search

_NUM_ROWS = 20
_SECONDS_BETWEEN_LINES = 10.0
_OF_STATE = {"running": "cyan", "finished": "green", "stopped": "yellow", "failed": "red"}


class Display:
    """Is told what happens; the table reads the search's history itself."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._live: console.LiveView | None = None
        self._said_at = 0.0
        self._best: int | None = None
        self._done_before = 0.0

    def __enter__(self) -> Display:
        self._done_before = self._share_done()
        self._live = console.LiveView(self.table)
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__()
        self._live = None

    def begun(self, trial: Trial) -> None:
        """A trial starts."""
        self._say(f"trial {trial.number} begins: {shown_sample(trial.sample)}")

    def reported(self, trial: Trial) -> None:
        """A trial has validated."""
        best = self._search.history.best(self._search.objectives)
        if best is not None and best.number != self._best:
            self._best = best.number
            self._say(f"trial {best.number} is the best so far: {self._shown(best)} at step {_step(best)}")
        elif time.monotonic() - self._said_at >= _SECONDS_BETWEEN_LINES:
            self._say(f"trial {trial.number}, step {_step(trial)}: {self._shown(trial)}; {self.summary()}")

    def lost(self, trial: Trial) -> None:
        """A trial's process is gone, and it begins again."""
        self._say(f"trial {trial.number} was lost ({trial.reason}); it goes on from its last checkpoint")

    def ended(self, trial: Trial) -> None:
        """A trial is over."""
        why = f" ({trial.reason})" if trial.reason else ""
        text = f"trial {trial.number} {trial.state} at step {_step(trial)}{why}: {self._shown(trial)}; {self.summary()}"
        if trial.state == FAILED and self._live is not None and self._live.is_live:
            console.say(f"   {text}")  # above the table, to be read later
        self._say(text)

    def summary(self) -> str:
        """How far it is, the best so far, and how long it may still take."""
        search = self._search
        trials, best = search.history.trials, search.history.best(search.objectives)
        ended = sum(trial.state != RUNNING for trial in trials)
        parts = [f"{ended} of {search.num_trials} trials ended"]
        if best is not None:
            parts.append(f"best {self._shown(best)} (trial {best.number})")
        if (left_s := self._left_s()) is not None:
            parts.append(f"about {console.duration(left_s)} left")
        return ", ".join(parts)

    def table(self) -> Group:
        """The newest trials, a row each, and the summary below."""
        search, measured = self._search, [one.metric for one in self._search.objectives]
        best = search.history.best(search.objectives)
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.add_column("trial", justify="right", no_wrap=True)
        table.add_column("settings", overflow="fold")
        for name in ("step", *measured):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for trial in _shown_rows(search.history.trials):
            is_best = best is not None and trial.number == best.number
            point = trial.best(search.objectives)
            values = [f"{point.metrics[name]:.4g}" if point else "–" for name in measured]
            table.add_row(
                Text(f"{'*' if is_best else ''}{trial.number}"), Text(shown_sample(trial.sample)), _step(trial),
                *(Text(value, style="bold" if is_best else "") for value in values),
                Text(trial.state, style=_OF_STATE[trial.state]),
            )  # fmt: skip
        return Group(table, Text(self.summary(), style="dim"))

    def _shown(self, trial: Trial) -> str:
        point = trial.best(self._search.objectives)
        if point is None:
            return "nothing measured"
        return ", ".join(f"{one.metric} {point.metrics[one.metric]:.4g}" for one in self._search.objectives)

    def _say(self, text: str) -> None:
        if self._live is None or not self._live.is_live:
            self._said_at = time.monotonic()
            console.say(f"   {text}")

    def _share_done(self) -> float:
        """Of the trials, or of whichever budget is further."""
        search, tuning = self._search, self._search.recipe.tuning
        made = sum(1.0 if trial.state != RUNNING else min(1.0, _at(trial) / search.num_steps)
                   for trial in search.history.trials)  # fmt: skip
        shares = [made / max(1, search.num_trials)]
        if tuning.max_wall_s:
            shares.append(search.elapsed_s / tuning.max_wall_s)
        if tuning.max_tokens:
            shares.append(search.history.num_tokens / tuning.max_tokens)
        return min(1.0, max(shares))

    def _left_s(self) -> float | None:
        made = self._share_done() - self._done_before
        return None if made <= 0.02 else self._search.history.session_s * (1 - self._share_done()) / made


def shown_sample(sample: dict[str, Any]) -> str:
    """learning_rate 0.0123, schedule cosine."""
    parts = []
    for path, value in sample.items():
        name = path.removesuffix(".name").rsplit(".", 1)[-1]
        parts.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(parts)


def _shown_rows(trials: Sequence[Trial]) -> list[Trial]:
    """All that run, and the newest of the others."""
    running = [trial for trial in trials if trial.state == RUNNING]
    others = [trial for trial in trials if trial.state != RUNNING]
    room = max(0, _NUM_ROWS - len(running))
    return sorted(running + (others[-room:] if room else []), key=lambda trial: trial.number)


def _at(trial: Trial) -> int:
    return trial.points[-1].step if trial.points else 0


def _step(trial: Trial) -> str:
    return f"{_at(trial):,}"
