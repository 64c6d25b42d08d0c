"""A training loop whose checkpoints go to a bucket, while the bucket's server goes away: for a while, or for good."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rejoinder.checkpoints import WEIGHTS, CheckpointStore, read_progress
from rejoinder.errors import StorageError
from rejoinder.recipe import Recipe
from rejoinder.storage.remote import Remote, RemoteFolder
from rejoinder.training import NoTracker, plain_context, train_loop

pytestmark = pytest.mark.slow
WORDS = ["training.num_steps=12", "training.checkpoint_every_steps=3", "training.log_every_steps=1"]


class Goes(NoTracker):
    """Stops the server after a step, when all that was made before is uploaded. Knows which steps were made."""

    def __init__(self, s3: Any = None, after_step: int | None = None) -> None:
        self.s3, self.after_step, self.steps = s3, after_step, list[int]()
        self.store: CheckpointStore | None = None

    def log(self, metrics: dict[str, float], step: int) -> None:
        if "train_loss" in metrics:
            self.steps.append(step)
        if step == self.after_step and self.store:
            self.store.close()
            self.s3.go()


@pytest.fixture
def train(make_recipe: Callable[..., Recipe], prepared_set: Path) -> Callable[..., CheckpointStore]:
    """`train(folder, tracker)`: a run of 12 steps, or what is left of it, in this process."""

    def run(folder: Any, tracker: Goes) -> CheckpointStore:
        store = tracker.store = CheckpointStore(folder)
        with plain_context() as context:
            train_loop(context, make_recipe(*WORDS), prepared_set, store, tracker)
        return store

    return run


def weights_of(store: CheckpointStore) -> dict[str, torch.Tensor]:
    """Of the last checkpoint."""
    last = store.last()
    assert last is not None
    assert read_progress(last).step == 12
    return load_file(last / WEIGHTS)


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_server_that_is_away_while_checkpoints_are_made_costs_no_step(
    s3: Any, train: Callable[..., CheckpointStore], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = weights_of(train(tmp_path / "undisturbed", Goes()))

    class ComesBack(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            remote.removeHandler(self)
            s3.come_back()

    remote = logging.getLogger("rejoinder.storage.remote")
    remote.addHandler(ComesBack(logging.WARNING))  # when it was said that nobody answers
    store = train(RemoteFolder(Remote(s3.uri, retry_s=120), "away"), Goes(s3, after_step=5))
    assert caplog.text.count("does not answer") >= 1
    assert_equal(weights_of(store), undisturbed)


def test_a_server_that_is_gone_ends_the_training_and_the_same_command_goes_on_from_what_is_here(
    s3: Any, train: Callable[..., CheckpointStore], tmp_path: Path
) -> None:
    folder, goes_on = RemoteFolder(Remote(s3.uri, retry_s=0.2), "gone"), Goes()
    try:
        with pytest.raises(StorageError, match=r"cannot be reached.*The same command goes on from where it was"):
            train(folder, Goes(s3, after_step=5))
        with pytest.raises(StorageError, match="cannot be reached"):  # as long as it is gone
            train(folder, goes_on)
    finally:
        s3.come_back()
    made = CheckpointStore(folder)
    assert made.last() == made.path(3)  # of which the server knows
    store = train(folder, goes_on)
    assert goes_on.steps == [10, 11, 12]
    uploaded = {name.split("/")[0] for name in folder.sizes()}
    assert uploaded == {"step_00000009", "step_00000012"}
    assert_equal(weights_of(store), weights_of(train(tmp_path / "undisturbed", Goes())))
