"""What the report shows besides figures: asked for by the recipe, or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder import checkpoints
from rejoinder.evaluation import extra_sections
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """An untrained model's checkpoint."""
    return make_checkpoint()


def test_what_the_recipe_asks_for_is_there_with_its_figures(
    make_recipe: Callable[..., Recipe], checkpoint: Path, prepared_set: Path
) -> None:
    recipe = make_recipe(
        "evaluation.behaviour=[{name: greetings, num_cases: 2}]", "evaluation.num_self_chats=2",
        "evaluation.num_attention_maps=1",
    )  # fmt: skip
    trained, shards = checkpoints.load(checkpoint), ShardSet(prepared_set, "test")
    found = [make(recipe, trained, shards) for make in extra_sections.OF_ONE]
    assert [section.title for section in found if section] == ["Behaviour", "Talking to itself", "Where it looks"]
    names = {name for section in found if section for name in section.metrics or {}}
    assert {"behaviour_greetings", "self_chat_loops"} <= names
    (of_two,) = [make(recipe, trained, trained, shards) for make in extra_sections.OF_TWO]
    assert of_two is not None
    assert of_two.title == "Talking to each other"


def test_what_is_not_asked_for_costs_nothing(recipe: Recipe, checkpoint: Path, prepared_set: Path) -> None:
    trained, shards = checkpoints.load(checkpoint), ShardSet(prepared_set, "test")
    assert [make(recipe, trained, shards) for make in extra_sections.OF_ONE] == [None] * 3
    assert [make(recipe, trained, trained, shards) for make in extra_sections.OF_TWO] == [None]


def test_a_family_that_is_not_there_is_named(make_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(Exception, match=r"no behaviour is called 'typo'; did you mean 'typos'\?"):
        make_recipe("evaluation.behaviour=[typo]")
