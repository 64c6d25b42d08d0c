"""Evaluation by Ray tasks: the same figures as in one process, and samples that are the same every time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder import checkpoints
from rejoinder.errors import CheckpointError
from rejoinder.evaluation import evaluate, measure_loss
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """An untrained model's checkpoint."""
    return make_checkpoint()


@pytest.mark.usefixtures("ray_cluster")
def test_tasks_measure_what_one_process_measures(recipe: Recipe, checkpoint: Path, prepared_set: Path) -> None:
    evaluation = evaluate(recipe, checkpoint, prepared_set, "test")
    test_set = ShardSet(prepared_set, "test")
    alone = measure_loss(checkpoints.load(checkpoint).model, test_set, 500)
    assert evaluation.num_exchanges == len(test_set)
    assert evaluation.metrics == pytest.approx(alone.metrics("test"), rel=1e-6)
    assert len(evaluation.samples) == 5
    assert evaluation == evaluate(recipe, checkpoint, prepared_set, "test")


def test_a_damaged_checkpoint_is_refused_before_any_task_starts(
    recipe: Recipe, checkpoint: Path, prepared_set: Path
) -> None:
    (checkpoint / checkpoints.WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged"):
        evaluate(recipe, checkpoint, prepared_set, "test")
