"""Every search space fits every recipe that it may be used with."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from rejoinder.recipe import load_recipe
from tuning import names, read_space, with_sample

RECIPES = Path(__file__).resolve().parents[2] / "jobs" / "recipes"


@pytest.mark.parametrize("space_name", names())
@pytest.mark.parametrize("recipe_name", [file.stem for file in sorted(RECIPES.glob("*.yaml"))])
def test_every_sample_is_a_valid_recipe_that_differs_where_the_space_says(space_name: str, recipe_name: str) -> None:
    space = read_space(load_recipe(RECIPES / f"{recipe_name}.yaml", [f"tuning.space={space_name}"]))
    assert space.dimensions
    assert len({str(space.draw(Random(seed))) for seed in range(20)}) > 5
    for seed in range(8):
        sample = space.draw(Random(seed))
        tree: dict[str, Any] = with_sample(space.recipe, sample).model_dump()
        for path, value in sample.items():
            node: Any = tree
            for key in path.split("."):
                node = node[key]
            assert node == pytest.approx(value) if isinstance(value, float) else node == value


@pytest.mark.parametrize("space_name", names())
def test_every_line_says_what_a_setting_may_be_and_more_than_one_thing(space_name: str) -> None:
    space = read_space(load_recipe(RECIPES / "demo.yaml", [f"tuning.space={space_name}"]))
    assert all(len(one.distribution.ends()) > 1 for one in space.dimensions)
