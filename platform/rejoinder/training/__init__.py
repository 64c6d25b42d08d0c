"""Shards in, a checkpoint out.

`trainer` is the Ray side, `loop` knows no Ray: it gets a small `TrainingContext`, and one tracker that may be nothing.
"""

from rejoinder.training.context import NoTracker, Tracker, TrainingContext
from rejoinder.training.loop import train_loop
from rejoinder.training.plain import plain_context
from rejoinder.training.trainer import TrainedRun, require_workers, run_fingerprint, train

__all__ = [
    "NoTracker",
    "Tracker",
    "TrainedRun",
    "TrainingContext",
    "plain_context",
    "require_workers",
    "run_fingerprint",
    "train",
    "train_loop",
]
