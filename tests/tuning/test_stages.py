"""What cannot be searched is refused before anything has started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from rejoinder.errors import ClusterError, TuningError
from rejoinder.recipe import Recipe
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder
from tuning import search, search_decoding, tune_stage

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def prepared(prepared_set: Path) -> Prepared:
    """The set that every trial learns from."""
    return Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True)


def test_a_space_of_decoding_asks_for_the_model_to_search_it_on(make_recipe: MakeRecipe, prepared: Prepared) -> None:
    recipe = make_recipe("tuning.space=decoding")
    with pytest.raises(TuningError, match=r"is searched on a trained model; say which with --of"):
        tune_stage(recipe)
    with pytest.raises(TuningError, match=r"say which with --of"):
        search(recipe, prepared)
    assert not Path(recipe.storage.uri).exists()


def test_a_space_of_training_is_not_searched_on_a_checkpoint(
    make_recipe: MakeRecipe, prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=r"its settings decide on training; leave --of away"):
        search_decoding(make_recipe("training.num_steps=100"), prepared, tmp_path)
    for word, said in (
        ("tuning.search=pbt", r"a population learns, and decoding does not"),
        ("tuning.max_tokens=5", r"tuning\.max_tokens = 5: .* decoding does not learn; set tuning\.num_trials or"),
        ("serving.decoding.top_k=3", r"serving\.decoding\.top_k = 3, and decoding\.top_k = 40: other replies would be"),
        ("tuning.objectives=[embedding_greedy]", r"embedding_greedy is a figure of the metric embedding, which needs"),
    ):
        with pytest.raises(TuningError, match=said):
            search_decoding(make_recipe("tuning.space=decoding", word), prepared, tmp_path)


def test_what_else_does_not_fit_is_said_before_ray_starts(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for of, word, said in (
        (None, "tuning.objectives=[chrf]", r"chrf is not measured in a search of training"),
        (None, "scaling.num_workers=9", r"one trial \(9 workers of 1 CPU\) needs 9 CPUs .* this machine has 4 CPUs"),
        (None, "tuning.search=pbt", r"tuning\.generation_steps = 100: a generation ends with a validation"),
        ("candidate", "tuning.space=optimisation", r"leave --of away"),
    ):
        recipe = make_recipe("training.num_steps=400", "training.validate_every_steps=300", word)
        with pytest.raises((TuningError, ClusterError), match=said):
            tune_stage(recipe, of=of)
        assert not Path(recipe.storage.uri).exists()


def test_a_wrong_space_is_said_before_shards_are_made(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("training.lerning_rate: {uniform: [0, 1]}\n")
    recipe = make_recipe(f"tuning.space={tmp_path}/own.yaml")
    with pytest.raises(TuningError, match="did you mean 'learning_rate'"):
        tune_stage(recipe)
    assert not Path(recipe.storage.uri).exists()
