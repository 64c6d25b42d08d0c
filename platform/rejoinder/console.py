"""What people see while a job runs: stages, facts and progress; rich in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

# Text is printed as it is: rich would make an emoji of the `:100:` in `chats.jsonl:100: broken`.
_out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def say(text: str = "") -> None:
    """One line of result or progress on standard output."""
    _out.print(text)


def fail(text: str) -> None:
    """An error, on standard error."""
    _err.print(text)


@contextmanager
def stage(title: str) -> Iterator[None]:
    """Prints the title of a stage, and how long it took when it ends well."""
    started = time.monotonic()
    _out.print(f"\n── {title} ──" if _out.is_terminal else f"\n== {title}", style="bold")
    yield
    _out.print(f"   done in {duration(time.monotonic() - started)}", style="dim")


class ProgressLine:
    """A bar in a terminal; elsewhere a line every few seconds. `total` is in `unit`s."""

    def __init__(self, title: str, total: int | None, unit: str, seconds_between_lines: float = 10) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._pause, self._printed_at, self._started = seconds_between_lines, time.monotonic(), time.monotonic()
        self._done_at_start: int | None = None
        self._done_when_printed = 0
        self._bar: Progress | None = None
        if _out.is_terminal:
            count = "{task.completed:,.0f}/{task.total:,.0f} " if total else "{task.completed:,.0f} "
            self._bar = _BarWithNote(
                TextColumn("   {task.description}"),
                BarColumn(bar_width=20),
                TextColumn(count + unit),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=_out,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total, note="")
            self._bar.start()

    def update(self, done: int, note: str = "") -> None:
        """How far it has come, and what else is worth saying."""
        if self._done_at_start is None:  # what it takes to start says nothing of the pace
            self._done_at_start, self._started = done, time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
        elif time.monotonic() - self._printed_at >= self._pause and done > self._done_when_printed:
            self._printed_at, self._done_when_printed = time.monotonic(), done
            _out.print(f"   {self._title}: {self._counted(done)}{', ' + note if note else ''}{self._left(done)}")

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _counted(self, done: int) -> str:
        return f"{done:,}/{self._total:,} {self._unit}" if self._total else f"{done:,} {self._unit}"

    def _left(self, done: int) -> str:
        made = done - (self._done_at_start or 0)
        if not self._total or made <= 0:
            return ""
        pace_s = (time.monotonic() - self._started) / made
        return f", {duration(pace_s * (self._total - done))} left"

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _BarWithNote(Progress):
    """The note has a line of its own under the bar: a terminal of 80 columns has no room for both in one."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if note := task.fields["note"]:
                yield Text(f"   {note}", style="dim", no_wrap=True, overflow="ellipsis")


class LiveView:
    """What `make` gives is shown and kept up to date while the block lasts, in a terminal; elsewhere nothing is.

    Lines that are said meanwhile stand above it; what it showed last stays.
    """

    def __init__(self, make: Callable[[], RenderableType]) -> None:
        self.is_live = _out.is_terminal
        self._live = Live(get_renderable=make, console=_out, refresh_per_second=2) if self.is_live else None

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()


def duration(seconds: float) -> str:
    """75.3 -> `1 min 15 s`; below ten seconds with one decimal."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
