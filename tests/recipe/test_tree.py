"""The whole recipe: written back, hashed, frozen, and free of relative paths."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rejoinder.recipe import Recipe, absolute_path, load_recipe, validate

RECIPES = sorted((Path(__file__).resolve().parents[2] / "jobs" / "recipes").glob("*.yaml"))
MakeRecipe = Callable[..., Recipe]


def test_there_are_recipes_to_start_from() -> None:
    assert {"demo", "tiny"} <= {file.stem for file in RECIPES}


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_that_comes_with_us_is_valid_and_called_like_its_file(file: Path) -> None:
    assert load_recipe(file).name == file.stem


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_what_is_written_back_is_the_same_recipe(file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(file, ["training.learning_rate=0.000012", "serving.fallback_reply='yes: 你好 🙂 #1'"])
    (tmp_path / "written.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    again = load_recipe(tmp_path / "written.yaml")
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()


def test_fewest_and_most_workers_are_written_back_without_a_word(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe("scaling.num_workers=[1,4]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "num_workers:\n  - 1\n  - 4" in recipe.to_yaml()
    assert (recipe.scaling.min_workers, recipe.scaling.max_workers) == (1, 4)


def test_what_is_written_back_holds_every_default(make_recipe: MakeRecipe) -> None:
    """So that a default which changes later does not change what an old checkpoint was trained with."""
    text = make_recipe().to_yaml()
    assert "max_gradient_norm: 1.0" in text
    assert "name: adamw" in text
    assert "num_decoder_layers: 1" in text


def test_paths_are_absolute_wherever_the_recipe_is_read(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    recipe = make_recipe("storage.uri=runs", "data.corpora=[{name: chat_messages, path: ~/chats.jsonl}]")
    assert recipe.storage.uri == str(tmp_path / "runs")
    assert recipe.data.corpora[0].path == str(tmp_path / "me" / "chats.jsonl")
    assert absolute_path("gs://bucket/runs") == "gs://bucket/runs"


@pytest.mark.parametrize("home", ["relative/home", "~/home", "/absolute/home"])
def test_the_default_home_comes_from_the_environment_and_is_absolute(
    tree: dict[str, Any], home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REJOINDER_HOME", home)
    del tree["storage"]
    assert validate(tree).storage.uri == absolute_path(home)


def test_a_recipe_cannot_be_changed(recipe: Recipe) -> None:
    with pytest.raises(ValidationError):
        recipe.training.num_steps = 5  # type: ignore[misc]


def test_a_fingerprint_changes_with_its_sections_and_with_nothing_else(make_recipe: MakeRecipe) -> None:
    before = make_recipe().fingerprint("training", "model")
    assert len(before) == 16
    assert make_recipe("serving.port=9000").fingerprint("training", "model") == before
    assert make_recipe("model.width=18").fingerprint("training", "model") != before
    assert make_recipe("training.schedule.final_fraction=0.5").fingerprint("training", "model") != before
