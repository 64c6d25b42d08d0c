"""Runs and checkpoints in, MLflow runs, model versions and aliases out. The only room that imports mlflow."""

from rejoinder.registry.store import Registry
from rejoinder.registry.tracking import MlflowTracker, tracked_run, tracked_search
from rejoinder.registry.versions import Version

__all__ = ["MlflowTracker", "Registry", "Version", "tracked_run", "tracked_search"]
