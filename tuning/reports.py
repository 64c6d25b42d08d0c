"""What Ray Train reports in, the same for a trial's own thread out, which hands it to Tune.

This module is sent to other processes whole, see `tuning.trial`: it imports nothing of ours.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from ray import PlacementGroupID
from ray.train import UserCallback
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.queue import Empty, Queue

GROUP = "placement_group"
"""Key of what a trial says of itself when its workers have started: the group that holds their CPUs."""
_POLL_S = 0.5


class Reports(UserCallback):
    """Ray's `TuneReportCallback` has another thread hand reports to Tune.

    Where it meets the last word of the trial's own thread, both wait for ever (seen with Ray 2.60).
    """

    def __init__(self) -> None:
        self.constant: dict[str, float] = {}
        """Metrics that stand beside every report."""
        self._queue = Queue(actor_options={"num_cpus": 0})

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """In Ray Train's controller, after each validation; rank 0's metrics are those of all."""
        self._queue.put(metrics[0] | self.constant)

    def group(self, id: str) -> None:
        """In Ray Train's controller, when workers have started."""
        self._queue.put({GROUP: id})

    def until_end_of(self, thread: threading.Thread) -> Iterator[dict[str, Any]]:
        """Reports as they come, while the thread trains and after it."""
        while True:
            is_last = not thread.is_alive()
            try:
                yield self._queue.get(timeout=None if is_last else _POLL_S, block=not is_last)
            except Empty:
                if is_last:
                    return


class TellsItsGroup(ControllerCallback, WorkerGroupCallback):
    """In the place of Ray Train's cleaner of placement groups: the search frees the groups of trials that it stops.

    Tune stops a trial by ending its processes, and Ray keeps a group until the whole job has ended.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Ray Train's word."""
        group = worker_group.get_worker_group_state().placement_group_handle.placement_group
        self._reports.group(group.id.hex())


def free(group: str) -> None:
    """Gives back what a trial's workers held, ending them; nothing to do for a trial that did so itself."""
    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))
