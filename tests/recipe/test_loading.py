"""A file and `section.key=value` words make a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rejoinder.errors import RecipeError
from rejoinder.recipe import Recipe, load_recipe, override

MakeRecipe = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("word", "section", "field", "value"),
    [
        ("training.num_steps=100", "training", "num_steps", 100),
        ("training.learning_rate=1e-3", "training", "learning_rate", 0.001),  # a string to YAML 1.1
        ("training.max_microbatch_tokens=null", "training", "max_microbatch_tokens", None),
        ("training.precision=bf16", "training", "precision", "bf16"),
        ("serving.fallback_reply='a: b = c'", "serving", "fallback_reply", "a: b = c"),
        ("serving.fallback_reply=you = me?", "serving", "fallback_reply", "you = me?"),
        ("registry.model='2026'", "registry", "model", "2026"),
    ],
)
def test_a_word_is_read_as_yaml_and_typed(
    make_recipe: MakeRecipe, word: str, section: str, field: str, value: object
) -> None:
    found = getattr(getattr(make_recipe(word), section), field)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("training.num_steps=yes", "training.num_steps: true"),
        ("training.learning_rate=true", "training.learning_rate: true"),
        ("serving.max_replicas=on", "serving.max_replicas: true"),
        ("serving.target_tokens=off", "serving.target_tokens: false"),
        ("model.width=yes", "model.width: true"),
        ("serving.ab_test.champion=yes", "serving.ab_test: true"),
        ("registry.model=no", "registry.model: false"),
    ],
)
def test_yes_and_no_are_neither_numbers_nor_texts(make_recipe: MakeRecipe, word: str, place: str) -> None:
    with pytest.raises(RecipeError, match=rf"{place} \(yes, no, on or off in YAML\) is no number"):
        make_recipe(word)


def test_yes_and_no_are_what_a_switch_takes(make_recipe: MakeRecipe) -> None:
    assert make_recipe("serving.log_text=yes").serving.log_text is True
    assert make_recipe("serving.require_keys=no").serving.require_keys is False


def test_an_item_of_a_list_is_set_by_its_index(make_recipe: MakeRecipe) -> None:
    (corpus,) = make_recipe("data.corpora.0.seed=3").data.corpora
    assert (corpus.seed, corpus.num_conversations) == (3, 40)


def test_a_list_is_replaced_whole(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe("data.corpora=[chitchat, {name: made_up, seed: 5}]")
    assert [corpus.name for corpus in recipe.data.corpora] == ["chitchat", "made_up"]


def test_a_later_word_wins(make_recipe: MakeRecipe) -> None:
    assert make_recipe("training.seed=1", "training.seed=2").training.seed == 2


def test_another_plugin_drops_the_settings_of_the_one_before(make_recipe: MakeRecipe) -> None:
    assert make_recipe("model.hidden_width=32", "model.name=transformer").model.name == "transformer"


def test_the_same_plugin_keeps_its_settings(make_recipe: MakeRecipe) -> None:
    assert make_recipe("model.name=gru_attention").model.width == 16


def test_a_plugin_may_be_given_by_its_name_alone(make_recipe: MakeRecipe) -> None:
    training = make_recipe("training.schedule=linear", "training.schedule.final_fraction=0.1").training
    assert (training.schedule.name, training.schedule.final_fraction) == ("linear", 0.1)


def test_a_setting_of_a_default_plugin_needs_no_name(make_recipe: MakeRecipe) -> None:
    training = make_recipe("training.schedule.final_fraction=0.1", "training.optimizer.beta1=0.5").training
    assert (training.schedule.name, training.schedule.final_fraction) == ("cosine", 0.1)
    assert (training.optimizer.name, training.optimizer.beta1) == ("adamw", 0.5)


def test_overriding_leaves_the_tree_alone(tree: dict[str, Any]) -> None:
    assert override(tree, ["data.corpora.0.seed=3"]) != tree
    assert "seed" not in tree["data"]["corpora"][0]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("training", r"'training' is no override; write section.key=value"),
        ("=3", r"'=3' is no override"),
        ("training.seed=[1", r"training.seed = \[1: not valid YAML .*quote the value"),
        ("training.num_steps.x=3", r"training.num_steps = 4 is a value, not a section"),
        ("data.corpora.1.seed=3", r"data.corpora.1: '1' is no index of a list of 1; they count from 0"),
        ("data.corpora.first=3", r"data.corpora.first: 'first' is no index of a list of 1"),
    ],
)
def test_a_word_that_cannot_be_applied_is_refused(make_recipe: MakeRecipe, word: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        make_recipe(word)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no such recipe file; jobs/recipes/ has some to start from"),
        (b"a: [", "not valid YAML"),
        (b"\xff\xfe", "cannot be read"),
        (b"- a\n- b", "a recipe is a mapping of sections, this file holds list"),
        (b"", "a recipe is a mapping of sections, this file holds NoneType"),
        (b"name: x\nmodel: gru_attention", "1 problem\n  data: missing, and it has no default"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RecipeError) as refusal:
        load_recipe(file)
    assert str(refusal.value).startswith(f"{file}: ")
    assert sentence in str(refusal.value)


def test_a_directory_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)
