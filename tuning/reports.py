"""What Ray Train reports in, the same for a trial's own thread out, which hands it to Tune.

This module is sent to other processes whole, see `tuning.trial`: it imports nothing of ours.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from ray import PlacementGroupID, get_runtime_context
from ray.train import UserCallback
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group import worker_group
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

GROUP = "placement_group"
"""Key of what a trial says of itself before its workers start: the group that holds their CPUs."""
_POLL_S = 0.5


class Reports(UserCallback):
    """Ray's `TuneReportCallback` has another thread hand reports to Tune.

    Where it meets the last word of the trial's own thread, both wait for ever (seen with Ray 2.60).
    """

    def __init__(self) -> None:
        self.constant: dict[str, float] = {}
        """Metrics that stand beside every report."""
        here = NodeAffinitySchedulingStrategy(get_runtime_context().get_node_id(), soft=False)
        self._queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})  # another node may be lost

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """In Ray Train's controller, after each validation; rank 0's metrics are those of all."""
        self.tell(metrics[0])

    def tell(self, metrics: dict[str, Any]) -> None:
        """A step and what was measured there."""
        self._queue.put(metrics | self.constant)

    def group(self, id: str) -> None:
        """In Ray Train's controller, when it has asked for room for workers."""
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

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        """Ray Train's word. It tells of the group when workers have started in it, seconds after it was made: too late
        where the node of a run's driver is lost meanwhile. In this process, the run's own, it makes no other groups."""
        worker_group.placement_group = self._made

    def _made(self, *words: Any, **named: Any) -> PlacementGroup:
        group = placement_group(*words, **named)
        self._reports.group(group.id.hex())
        return group


def groups() -> set[str]:
    """The ids of the groups that this job holds; they end with the job's."""
    job = get_runtime_context().get_job_id()
    return {id for id, of in placement_group_table().items() if of["state"] != "REMOVED" and id.endswith(job)}


def free(group: str) -> None:
    """Gives back what a trial's workers held, ending them; nothing to do for a trial that did so itself."""
    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))
