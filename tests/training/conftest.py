"""A prepared set made without Ray, and training in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from rejoinder.checkpoints import CheckpointStore
from rejoinder.recipe import Recipe
from rejoinder.training import NoTracker, Tracker, train_loop
from rejoinder.training.context import StepReport
from rejoinder.training.plain import plain_context


class Ran(NamedTuple):
    """What a training in this process has done."""

    metrics: dict[str, float]
    steps: list[StepReport]
    reports: list[dict[str, float]]
    store: CheckpointStore


@pytest.fixture
def run_here(tmp_path: Path, prepared_set: Path) -> Callable[..., Ran]:
    """Trains in one process, without Ray, into a directory of the given name."""

    def run(recipe: Recipe, name: str = "run", tracker: Tracker | None = None, data: Path = prepared_set) -> Ran:
        store = CheckpointStore(tmp_path / name)
        with plain_context() as context:
            metrics = train_loop(context, recipe, data, store, tracker or NoTracker())
            return Ran(metrics, context.steps, context.reports, store)

    return run
