"""A cluster and its training workers in, what the driver shows and what it asks of them out, while they train."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import ray

from rejoinder import cluster, console
from rejoinder.recipe import Recipe
from rejoinder.training.context import StepReport
from rejoinder.training.display import progress_note
from rejoinder.training.stopping import Signals

GROWS_AFTER_S = 30.0
"""How long there must have been room for more workers before training is interrupted for them, which costs as long."""
INTERRUPTED, PREEMPTED, GROWN = "interrupted", "preempted", "grown"


class Board:
    """To be made an actor: what the workers tell the driver, and what it asks of them. Plain values only."""

    def __init__(self) -> None:
        self._news: dict[str, Any] | None = None
        self._nodes: list[str] = []
        self._texts: list[str] = []
        self._stop_reason: str | None = None

    def join(self, node_id: str) -> None:
        """A worker has started on this node."""
        self._nodes.append(node_id)

    def put(self, news: dict[str, Any]) -> None:
        """Replaces the news that were there."""
        self._news = news

    def say(self, text: str) -> None:
        """A line for people to read."""
        self._texts.append(text)

    def look(self, num_read: int = 0) -> tuple[dict[str, Any] | None, list[str], list[str]]:
        """The newest news, the nodes on which workers have started, and the lines after the first `num_read`."""
        return self._news, self._nodes, self._texts[num_read:]

    def ask_to_stop(self, reason: str) -> None:
        """The workers are to save and end."""
        self._stop_reason = self._stop_reason or reason

    def stop_reason(self) -> str | None:
        """Why they are; None while nobody asks for it."""
        return self._stop_reason


def new_board() -> Any:
    """A board on the driver's own node: it is to outlive any worker's."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()


@dataclass
class Watcher:
    """Shows the newest report while `fit` blocks the driver, and asks the workers to stop when there is a reason."""

    board: Any
    recipe: Recipe
    num_workers: int
    signals: Signals
    stop_reason: str | None = None
    """What the workers were asked to stop for."""
    _ended: threading.Event = field(default_factory=threading.Event)
    _room_since: float | None = None

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def has_workers(self) -> bool:
        """Whether any worker has started, and so has something to save."""
        try:
            return bool(ray.get(self.board.look.remote(), timeout=5)[1])
        except ray.exceptions.RayError:
            return False

    def _watch(self) -> None:
        num_read, is_last = 0, False
        with console.ProgressLine("training", self.recipe.training.num_steps, "steps") as line:
            while not is_last:
                is_last = self._ended.wait(0.5)  # then it looks once more: workers say most at their end
                try:
                    news, nodes, texts = ray.get(self.board.look.remote(num_read), timeout=5)
                    num_read += len(texts)
                    for text in texts:
                        console.say(f"   {text}")
                    reason = self.stop_reason if is_last else self.stop_reason or self._reason_to_stop(nodes)
                    if reason != self.stop_reason:
                        ray.get(self.board.ask_to_stop.remote(reason), timeout=5)
                        self.stop_reason = reason
                except ray.exceptions.GetTimeoutError:  # a busy machine; next time
                    continue
                except Exception:  # the board may die with the cluster; fit says why
                    return
                if news is not None:
                    report = StepReport(**news)
                    line.update(report.step, progress_note(report))

    def _reason_to_stop(self, nodes: list[str]) -> str | None:
        if self.signals.received is not None:
            return INTERRUPTED
        if not nodes:
            return None
        leaving = cluster.leaving_nodes()
        if leaving & {*nodes, ray.get_runtime_context().get_node_id()}:
            return PREEMPTED
        return GROWN if self._has_grown() else None

    def _has_grown(self) -> bool:
        """Whether there has been room for more workers for long enough."""
        if self.num_workers >= self.recipe.scaling.max_workers or cluster.room(self.recipe) == 0:
            self._room_since = None
            return False
        self._room_since = self._room_since or time.monotonic()
        return time.monotonic() - self._room_since >= GROWS_AFTER_S
