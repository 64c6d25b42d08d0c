"""Every search space fits the recipes it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rejoinder import catalog
from rejoinder.recipe import Recipe
from tuning.search import with_sample

SPACES = catalog.names("tuning.spaces")


@pytest.mark.parametrize("name", SPACES)
def test_every_sample_is_a_valid_recipe_that_differs_where_the_space_says(
    name: str, make_recipe: Callable[..., Recipe]
) -> None:
    space = catalog.pick("tuning.spaces", name).space()
    recipe = make_recipe("training.num_steps=100")
    assert space
    for _ in range(20):
        sample = {path: domain.sample() for path, domain in space.items()}
        tree: dict[str, Any] = with_sample(recipe, sample).model_dump()
        for path, value in sample.items():
            node: Any = tree
            for key in path.split("."):
                node = node[key]
            assert node == pytest.approx(value)
