"""A search on Ray Tune: many trials, one prepared set, the best as a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from rejoinder.errors import ClusterError, RecipeError, TuningError
from rejoinder.recipe import Recipe, load_recipe
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder, Storage
from tuning import search, tune_stage

pytestmark = pytest.mark.usefixtures("ray_cluster")
MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def prepared(prepared_set: Path) -> Prepared:
    """The set that every trial learns from."""
    return Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_best_trial_becomes_a_recipe_that_can_be_trained(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    words = ["tuning.num_trials=3", "tuning.grace_steps=30", "training.num_steps=30", "scaling.num_workers=1"]
    recipe = make_recipe(*words, "training.validate_every_steps=10")
    found = tune_stage(recipe, str(tmp_path / "best.yaml"))
    assert (found.num_trials, found.num_failed) == (3, 0)
    assert found.metrics["valid_loss"] > 0
    best = load_recipe(tmp_path / "best.yaml")
    assert best.training.learning_rate == pytest.approx(found.changes["training.learning_rate"])
    assert best.model_copy(update={"training": recipe.training}) == recipe
    (trials, searches) = runs_of(recipe)
    assert len(searches) == 1
    assert {trial.data.tags["mlflow.parentRunId"] for trial in trials} == {searches[0].info.run_id}
    assert len(trials) == 3
    assert all(trial.info.status in ("FINISHED", "KILLED") for trial in trials)
    assert all("valid_loss" in trial.data.metrics for trial in trials)
    assert searches[0].data.metrics["best_valid_loss"] == pytest.approx(found.metrics["valid_loss"])


def runs_of(recipe: Recipe) -> tuple[list[Any], list[Any]]:
    """The runs in the recipe's store: those with a parent, and the others."""
    client = MlflowClient(f"sqlite:///{Storage(recipe).mlflow / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name(recipe.registry.experiment).experiment_id])
    return tuple([run for run in found if ("mlflow.parentRunId" in run.data.tags) == is_child] for is_child in (1, 0))


def test_a_space_that_does_not_exist_names_those_that_do(make_recipe: MakeRecipe, prepared: Prepared) -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'optimisation'\? \(there are: architecture, optimisation\)"):
        search(make_recipe("tuning.space=optimization"), prepared)


def test_a_path_that_the_recipe_does_not_have_is_refused_before_anything_starts(
    make_recipe: MakeRecipe, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.spaces import optimisation

    monkeypatch.setattr(optimisation, "space", lambda: {"training.lerning_rate": 1})
    with pytest.raises(TuningError, match="did you mean 'learning_rate'"):
        search(make_recipe(), prepared)


def test_a_cluster_too_small_for_one_trial_is_refused(make_recipe: MakeRecipe, prepared: Prepared) -> None:
    with pytest.raises(ClusterError, match=r"one trial \(4 workers and its driver\) needs 4.1 CPUs"):
        search(make_recipe("scaling.num_workers=4", "training.num_steps=100"), prepared)
