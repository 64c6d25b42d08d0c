"""A search on Ray Tune: many trials, one prepared set, the best as a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.errors import ClusterError, RecipeError, TuningError
from rejoinder.recipe import Recipe, load_recipe
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder
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
