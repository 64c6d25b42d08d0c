"""Which versions are served: the words that say it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rejoinder.errors import RecipeError
from rejoinder.recipe import Recipe, explain


def test_a_version_is_named_by_its_alias_or_its_number(make_recipe: Callable[..., Recipe]) -> None:
    serving = make_recipe("serving.canary.to=4", "serving.also_loaded=[candidate,3]").serving
    assert (serving.canary.to, serving.also_loaded) == ("4", ("candidate", "3"))
    assert serving.asked_names == ("4",)


def test_weights_are_given_one_by_one_and_by_number(make_recipe: Callable[..., Recipe]) -> None:
    words = "serving.ab_test.champion=1", "serving.ab_test.challenger=0.5"
    assert make_recipe(*words).serving.ab_test == {"champion": 1.0, "challenger": 0.5}
    serving = make_recipe("serving.ab_test={champion: 1, 4: 1}", "serving.shadow.to=next").serving
    assert serving.asked_names == ("4", "next")


def test_a_recipe_that_is_written_back_says_the_same(make_recipe: Callable[..., Recipe]) -> None:
    import yaml

    recipe = make_recipe("serving.ab_test={champion: 1, 4: 1}", "serving.canary.to=7", "serving.max_loaded=4")
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize(
    "word",
    ["serving.canary.percent=101", "serving.shadow.max_fill=1", "serving.follow_every_s=0", "serving.canary.to=a b"],
)
def test_what_is_out_of_range_is_refused_by_its_name(make_recipe: Callable[..., Recipe], word: str) -> None:
    with pytest.raises(RecipeError, match=word.partition("=")[0].replace(".", r"\.")):
        make_recipe(word)


def test_the_help_knows_them() -> None:
    text = explain()
    for name in ("serving.canary.percent", "serving.ab_test", "serving.retreat.min_replies", "serving.shadow.max_fill"):
        assert name in text
