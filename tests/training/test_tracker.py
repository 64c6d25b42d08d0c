"""What the loop gives a tracker: points before the checkpoint they belong to, samples, and an end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet
from rejoinder.training import NoTracker


class Kept(NoTracker):
    """Keeps what it is given, in order."""

    def __init__(self, checkpoint: Path, fails_at: int | None = None) -> None:
        self.checkpoint, self.fails_at = checkpoint, fails_at
        self.samples_of: dict[int, list[dict[str, str]]] = {}
        self.had_checkpoint: dict[int, bool] = {}
        self.num_closed = 0

    def log(self, metrics: dict[str, float], step: int) -> None:
        if step == self.fails_at:
            raise ZeroDivisionError
        if "valid_loss" in metrics:
            self.had_checkpoint[step] = (self.checkpoint / f"step_{step:08d}").exists()

    def samples(self, make: Callable[[], list[dict[str, str]]], step: int) -> None:
        self.samples_of[step] = make()

    def close(self) -> None:
        self.num_closed += 1


def test_each_validation_gives_replies_to_the_same_contexts(
    make_recipe: Callable[..., Recipe], run_here: Callable[..., Any], prepared_set: Path, tmp_path: Path
) -> None:
    tracker = Kept(tmp_path / "run")
    words = ["training.num_steps=6", "training.validate_every_steps=3", "evaluation.num_samples=2"]
    run_here(make_recipe(*words), tracker=tracker)
    first, second = tracker.samples_of[3], tracker.samples_of[6]
    assert [row["context"] for row in first] == [row["context"] for row in second]
    assert len(first) == 2
    shards = ShardSet(prepared_set, "valid")
    replies = {shards.tokenizer().to_text(shards.rows([row])[1][0].tolist()) for row in range(len(shards))}
    assert {row["reply"] for row in first} <= replies
    assert tracker.num_closed == 1


def test_samples_change_nothing_in_what_is_learnt(
    make_recipe: Callable[..., Recipe], run_here: Callable[..., Any], tmp_path: Path
) -> None:
    words = ["training.num_steps=6", "training.validate_every_steps=2", "model.dropout=0.2"]
    with_samples = run_here(make_recipe(*words), "with", tracker=Kept(tmp_path / "with"))
    assert with_samples.metrics == run_here(make_recipe(*words), "without").metrics


def test_a_validations_points_are_handed_over_before_its_checkpoint_from_which_they_would_not_come_again(
    make_recipe: Callable[..., Recipe], run_here: Callable[..., Any], tmp_path: Path
) -> None:
    tracker = Kept(tmp_path / "run")
    run_here(make_recipe("training.validate_every_steps=2"), tracker=tracker)
    assert tracker.had_checkpoint == {2: False, 4: False}


def test_a_tracker_is_closed_also_when_training_fails(
    make_recipe: Callable[..., Recipe], run_here: Callable[..., Any], tmp_path: Path
) -> None:
    tracker = Kept(tmp_path / "run", fails_at=2)
    with pytest.raises(ZeroDivisionError):
        run_here(make_recipe("training.log_every_steps=1"), tracker=tracker)
    assert tracker.num_closed == 1
