"""Of a run's checkpoints the last ones and the best are kept, and a damaged one is passed over."""

from __future__ import annotations

import logging
import math

import pytest

from rejoinder.checkpoints import CheckpointStore
from tests.checkpoints.conftest import Save, flip_a_bit


def test_a_new_run_has_no_checkpoints(store: CheckpointStore) -> None:
    assert (store.last(), store.best()) == (None, None)


def test_what_stands_beside_checkpoints_is_none(save: Save, store: CheckpointStore) -> None:
    save(1)
    for name in ("step_00000001-evaluation-test.html", "step_00000001-evaluation-test-0a1b.npz", "step_00000002.json"):
        (store.directory / name).write_text("")
    assert store.last() == store.path(1)
    store.prune()
    assert len(list(store.directory.iterdir())) == 4


def test_the_last_one_is_the_newest(save: Save, store: CheckpointStore) -> None:
    save(9), save(100_000_000), save(20)
    assert store.last() == store.path(100_000_000)


def test_a_damaged_last_one_is_passed_over_and_said(
    save: Save, store: CheckpointStore, caplog: pytest.LogCaptureFixture
) -> None:
    save(1), flip_a_bit(save(2) / "weights.safetensors")
    with caplog.at_level(logging.WARNING):
        assert store.last() == store.path(1)
    assert f"{store.path(2)}/weights.safetensors: damaged" in caplog.text
    assert "passing over" in caplog.text


def test_a_half_written_one_is_no_checkpoint(save: Save, store: CheckpointStore) -> None:
    save(1), save(2, valid_loss=0.1).rename(store.directory / "step_00000002.partial")
    assert (store.last(), store.best()) == (store.path(1), None)


def test_the_best_one_has_the_lowest_validation_loss(save: Save, store: CheckpointStore) -> None:
    save(1, 3.0), save(2, 1.5), save(3, 2.0), save(4)  # the last one was not validated
    assert store.best() == store.path(2)


@pytest.mark.parametrize("order", [(math.nan, 1.5, math.inf), (2.0, 1.5, math.nan), (math.inf, 1.5, math.nan)])
def test_a_loss_that_is_no_number_is_never_the_best(
    save: Save, store: CheckpointStore, order: tuple[float, ...]
) -> None:
    for step, valid_loss in enumerate(order, start=1):
        save(step, valid_loss)
    assert store.best() == store.path(2)


def test_a_damaged_best_one_gives_way_to_the_next_best(save: Save, store: CheckpointStore) -> None:
    save(1, 3.0), flip_a_bit(save(2, 1.5) / "weights.safetensors"), save(3, 2.0)
    assert store.best() == store.path(3)


def test_pruning_keeps_the_last_two_and_the_best(save: Save, store: CheckpointStore) -> None:
    for step, valid_loss in enumerate((3.0, 1.5, 2.0, 2.5, 2.6), start=1):
        save(step, valid_loss)
    store.prune()
    assert sorted(path.name for path in store.directory.iterdir()) == [f"step_{step:08d}" for step in (2, 4, 5)]


def test_clearing_leaves_none(save: Save, store: CheckpointStore) -> None:
    save(1)
    store.clear()
    assert store.last() is None
