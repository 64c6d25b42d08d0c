"""Runs and checkpoints in, MLflow runs, model versions and aliases out. The only room that imports mlflow."""

from rejoinder.registry.contest import Contestant, contest, looked_at
from rejoinder.registry.gate import LATENCY, Verdict, judge, table
from rejoinder.registry.latency import compare_latency
from rejoinder.registry.ledger import PROMOTED, REFUSED, ROLLED_BACK, Decision, Entry, Standing
from rejoinder.registry.lineage import CHECKPOINT, Link, differences, links_now
from rejoinder.registry.store import CHECKPOINT_TAG, Registry
from rejoinder.registry.tracking import Ended, MlflowTracker, tracked_run, tracked_search
from rejoinder.registry.versions import Version

__all__ = [
    "CHECKPOINT",
    "CHECKPOINT_TAG",
    "LATENCY",
    "PROMOTED",
    "REFUSED",
    "ROLLED_BACK",
    "Contestant",
    "Decision",
    "Ended",
    "Entry",
    "Link",
    "MlflowTracker",
    "Registry",
    "Standing",
    "Verdict",
    "Version",
    "compare_latency",
    "contest",
    "differences",
    "judge",
    "links_now",
    "looked_at",
    "table",
    "tracked_run",
    "tracked_search",
]
