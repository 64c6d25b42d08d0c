"""The bench of searches: the same decisions without Ray, and a trial's seconds by what they went into."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.setting import Setting
from bench.tuning import overhead, quality, small
from bench.tuning.contenders import in_process
from bench.tuning.contenders.on_ray_tune import ends
from rejoinder.recipe import validate
from tuning import read_space


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """A hundredth of the work."""
    return Setting(tmp_path, cores=1, tiny=True)


def test_the_searches_of_the_bench_are_valid(tmp_path: Path) -> None:
    setting = Setting(tmp_path, cores=2)
    for tuning in (quality.GRID, quality.CLEVER):
        recipe = validate(small.recipe(setting, 1, **tuning))
        assert len(read_space(recipe).grid(recipe.tuning.grid_points)) == 36
        assert (recipe.training.seed, recipe.tuning.seed) == (1, 1)
        assert recipe.training.num_steps % recipe.training.validate_every_steps == 0


def test_a_search_in_process_trains_stops_and_keeps_to_its_budget(setting: Setting, prepared_set: Path) -> None:
    tuning = {**quality.CLEVER, "grace_steps": 2, "num_trials": 4, "num_random_trials": 4}
    recipe = small.recipe(setting, **tuning)
    recipe["model"] = {"name": "gru_attention", "width": 8}
    recipe["text"] = {"vocabulary_size": 320, "max_context_tokens": 48, "max_reply_tokens": 20}
    recipe["training"] |= {"num_steps": 4, "validate_every_steps": 2, "batch_tokens": 512, "warmup_steps": 1}
    recipe["tuning"]["space"] = str(setting.folder / "rates.yaml")
    (setting.folder / "rates.yaml").write_text("training.learning_rate: {loguniform: [1.0e-3, 3.0e-2]}\n")
    found = in_process.measure(recipe, str(prepared_set), str(setting.folder / "search"))
    assert len(found["steps"]) == len(found["trial_s"]) == 4
    assert set(found["steps"]) <= {2, 4}
    assert found["num_tokens"] == 512 * sum(found["steps"])
    assert found["loss"] < 6
    assert not (setting.folder / "search" / "checkpoints").exists()


def test_a_trials_seconds_are_all_accounted_for() -> None:
    facts = {"begun_s": 103.0, "opened_s": 104.0, "trained_s": 120.0, "recorded_s": 122.0}
    trial = {"ended_s": 122.5, "whole_s": 22.5, "facts": facts}
    parts = overhead.parts_of(trial, training_s=6.0)
    assert sum(parts.values()) == pytest.approx(trial["whole_s"])
    assert parts["Tune: its driver's process starts"] == 3.0
    assert parts["Train: workers start and end"] == 10.0


def test_the_ends_of_trials_are_read_from_the_history() -> None:
    lines = ['{"event": "session", "ms": 1}', '{"event": "end", "number": 1, "ms": 3000}']
    assert ends("\n".join([*lines, '{"event": "end", "number": 0, "ms": 4000}'])) == [4.0, 3.0]
    assert overhead.cost({"begun_s": 1.0, "trials": [{"ended_s": 4.0}, {"ended_s": 3.0}]}) == [2.0, 3.0]
