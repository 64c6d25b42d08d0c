"""Searches on a real Ray: populations, schedulers, several objectives, failures, budgets, decoding settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from ray.util import placement_group_table

from rejoinder.errors import TuningError
from rejoinder.recipe import Recipe, load_recipe
from rejoinder.registry.connection import tracking_uri
from rejoinder.registry.lineage import code_links
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder
from tuning import search, search_decoding
from tuning.history import FAILED, FINISHED, STOPPED, Trial
from tuning.searches import BEST, Found
from tuning.trial import run_name_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("ray_cluster")]
SHORT = (
    "scaling.num_workers=1", "training.validate_every_steps=2", "training.max_restarts=1", "tuning.grace_steps=2",
    "tuning.num_random_trials=2", "model.width=8",
)  # fmt: skip


# Weights of half a petabyte: no allocator gives as much, however generous the system is with memory it does not have.
TOO_WIDE = 2**43


@pytest.fixture
def prepared(prepared_set: Path) -> Prepared:
    """The set that all trials share."""
    return Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True)


@pytest.fixture
def searched(make_recipe: Callable[..., Recipe], prepared: Prepared, tmp_path: Path) -> Callable[..., Found]:
    """`searched({"training.seed": {"int": [0, 9]}}, "tuning.num_trials=3")`: a search of it, over."""

    def run(lines: dict[str, Any], *words: str) -> Found:
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(lines, sort_keys=False))
        return search(make_recipe(*SHORT, f"tuning.space={file}", *words), prepared)

    return run


def test_a_population_goes_on_from_the_better_ones_checkpoints(searched: Callable[..., Found]) -> None:
    """Not from later ones: so short a trial makes further steps before Tune has ended its processes."""
    rates = {"training.learning_rate": {"loguniform": [1e-3, 1e-1]}}
    words = ("tuning.search=pbt", "tuning.population=2", "tuning.generation_steps=2", "training.num_steps=4")
    found = searched(rates, *words)
    first, second, third, fourth = trials = found.history.trials
    assert {trial.state for trial in trials} == {FINISHED}
    assert [(trial.first_step, [point.step for point in trial.points]) for trial in trials] == [
        (0, [2]), (0, [2]), (2, [4]), (2, [4]),
    ]  # fmt: skip
    better = min(first, second, key=loss)
    assert (third.parent, fourth.parent) == (better.number, better.number)
    assert max(loss(third), loss(fourth)) < loss(better)  # they have learnt on, and did not begin anew
    assert found.trial in (third, fourth)
    assert statuses(found) == ["FINISHED"] * 4


def test_one_trial_is_cut_off_and_goes_on_one_is_stopped_one_finds_no_memory_and_the_rest_makes_a_front(
    searched: Callable[..., Found],
) -> None:
    """In the first go, which has two workers a trial, a budget is spent with the first tokens; the second has none."""
    lines = {
        "model.name": "transformer",
        "model.num_heads": 2,
        "model.width": {"choice": [16, 8]},
        "training.learning_rate": {"choice": [1e-9], "when": {"model.width": 8}},
        "model.feedforward_width": {"choice": [32, TOO_WIDE], "when": {"model.width": 8}},
    }
    words = (
        "tuning.objectives=[valid_loss, num_parameters]", "tuning.search=grid", "tuning.scheduler=hyperband",
        "tuning.num_brackets=1", "tuning.reduction_factor=2", "tuning.max_concurrent_trials=1", "tuning.num_steps=60",
        "training.num_steps=300", "training.learning_rate=0.01", "training.validate_every_steps=10",
        "tuning.grace_steps=10",
    )  # fmt: skip
    (cut_off,) = searched(lines, *words, "scaling.num_workers=2", "tuning.max_tokens=1").history.trials
    assert (cut_off.state, cut_off.reason) == (STOPPED, "the search's budget was spent: tuning.max_tokens = 1")
    assert held_groups() == []  # --train-best would wait for what they hold

    found = searched(lines, *words)
    good, slow, too_wide = found.history.trials
    assert [trial.state for trial in found.history.trials] == [FINISHED, STOPPED, FAILED]
    assert good.points[: len(cut_off.points)] == cut_off.points
    assert slow.reason == f"hyperband at step {slow.points[-1].step}"
    assert (good.points[-1].step, slow.points[-1].step < 60) == (60, True)
    assert too_wide.reason.startswith("out of memory: RuntimeError: ")
    assert found.front == [good, slow]  # which has fewer weights
    assert found.trial is good
    assert found.recipe.training.num_steps == 300  # what --train-best is to make
    assert statuses(found) == ["FINISHED", "KILLED", "FAILED"]
    page = found.report.read_text()
    assert "id=front" in page
    assert "out of memory" in page


def test_decoding_settings_are_searched_on_a_models_replies(
    make_recipe: Callable[..., Recipe], prepared: Prepared, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """In two goes: at first there is so little time that it is spent before anything is measured."""
    file = tmp_path / "own.yaml"
    file.write_text("decoding.repetition_penalty: {choice: [1.0, 5.0]}\n")
    words = (
        f"tuning.space={file}", "tuning.search=grid", "tuning.num_exchanges=8", "tuning.grace_steps=8",
        "tuning.objectives=[word_f1, distinct_1]", "decoding.top_k=7",
    )  # fmt: skip
    checkpoint = make_checkpoint()
    with pytest.raises(TuningError, match=r"had measured anything when tuning\.max_wall_s = 1\.5 was spent; give more"):
        search_decoding(make_recipe(*words, "tuning.max_wall_s=1.5"), prepared, checkpoint)
    found = search_decoding(make_recipe(*words), prepared, checkpoint)
    trials = found.history.trials
    assert [(trial.state, trial.reason) for trial in trials] == [(FINISHED, "")] * 2
    assert [[point.step for point in trial.points] for trial in trials] == [[2, 4, 6, 8]] * 2
    assert {"word_f1", "distinct_1", "chrf", "s_per_reply"} <= set(found.metrics)
    best = found.trial.sample["decoding.repetition_penalty"]
    assert found.recipe.decoding.repetition_penalty == best
    # So that the model is served as it was measured, though it has learnt with another top-k.
    written = load_recipe(found.folder.path(BEST))
    assert written.serving.decoding == {"repetition_penalty": best, "top_k": 7}
    assert found.trial in found.front
    assert statuses(found) == ["FINISHED"] * 2
    assert not list(found.folder.directory.glob("trial-*"))  # nothing was trained


def loss(trial: Trial) -> float:
    """What it came to in the end."""
    return trial.points[-1].metrics["valid_loss"]


def statuses(found: Found) -> list[str]:
    """Of the trials' runs in MLflow, by number; each is a child of the search's and has its sample for parameters."""
    client = MlflowClient(tracking_uri(found.recipe))
    runs = client.search_runs([client.get_experiment_by_name("rejoinder").experiment_id])
    parents = [run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs if run.info.run_id not in parents} == set(parents)
    code = {run.data.tags["rejoinder.code_sha256"] for run in runs}
    assert code == {code_links()[0].sha256}  # the driver's; a trial's process has no checkout
    children = {run.data.tags["rejoinder.run"]: run for run in runs if run.info.run_id not in parents}
    ordered = [children[run_name_of(found.run_name, trial.number)] for trial in found.history.trials]
    for run, trial in zip(ordered, found.history.trials, strict=True):
        assert {path: run.data.params[path] for path in trial.sample} == {
            path: str(value) for path, value in trial.sample.items()
        }
    return [run.info.status for run in ordered]


def held_groups() -> list[Any]:
    """Placement groups that would keep others from CPUs; Ray may take a moment to give them back."""
    give_up_at = time.monotonic() + 60
    while (held := [of for of in placement_group_table().values() if of["state"] != "REMOVED"]) and (
        time.monotonic() < give_up_at
    ):
        time.sleep(0.5)
    return held


def test_a_search_leaves_nothing_behind_that_would_hold_cpus() -> None:
    """After the searches above, some trials of which were stopped."""
    assert held_groups() == []
