"""What people read while others train."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rejoinder.recipe import Recipe
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder
from rejoinder.training import train
from rejoinder.training.context import StepReport
from rejoinder.training.display import progress_note, validation_text, warnings_told

REPORT = StepReport(
    step=50, epoch=1, loss=2.5, learning_rate=1e-3, gradient_norm=1.0, tokens_per_s=12_345.6, padding_fraction=0.03
)


def test_the_note_has_the_last_validation_when_there_was_one() -> None:
    assert progress_note(REPORT) == "epoch 2, loss 2.500, 12,346 reply tokens/s, 3% padding"
    assert "loss 2.500, valid 1.932 bits/byte, " in progress_note(replace(REPORT, valid_bits_per_byte=1.932))


def test_a_validation_is_a_line() -> None:
    metrics = {"step": 1250, "valid_loss": 2.25, "valid_perplexity": 9.488, "valid_bits_per_byte": 1.5}
    assert validation_text(metrics) == "step 1,250: validation loss 2.250, perplexity 9.5, 1.500 bits per byte"


def test_warnings_of_every_room_are_told_and_nothing_less() -> None:
    told: list[str] = []
    with warnings_told(told.append):
        logging.getLogger("rejoinder.training.loop").warning("step %d: overfitting", 5)
        logging.getLogger("rejoinder.checkpoints").info("going on")
        logging.getLogger("other").warning("not ours")
    logging.getLogger("rejoinder.training.loop").warning("too late")
    assert told == ["warning: step 5: overfitting"]


def test_a_driver_that_has_gone_does_not_stop_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def gone(text: str) -> None:
        asked.append(text)
        raise ConnectionError

    monkeypatch.setattr(logging, "raiseExceptions", False)
    with warnings_told(gone):
        logging.getLogger("rejoinder.x").warning("nobody reads this")
        logging.getLogger("rejoinder.x").warning("nor this")
    assert asked == ["warning: nobody reads this", "warning: nor this"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_validations_and_warnings_of_a_worker_reach_the_drivers_screen(
    make_recipe: Callable[..., Recipe], prepared_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["training.num_steps=6", "training.validate_every_steps=2", "training.patience=1"]
    still = ["training.optimizer=sgd", "training.learning_rate=1e-30"]
    recipe = make_recipe(*words, *still, "scaling.num_workers=2")
    train(recipe, Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True))
    shown = capsys.readouterr().out
    assert shown.count("step 2: validation loss ") == 1
    assert "bits per byte" in shown
    assert shown.count("warning: step 4: training ends, 1 validations were no better than the best") == 1
