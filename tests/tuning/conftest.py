"""Searches without Ray: the conductor is asked as Ray Tune asks it, and trials are a formula."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rejoinder.recipe import Recipe
from rejoinder.storage import Folder
from tuning import population, searchers
from tuning.history import History
from tuning.objectives import read_objectives
from tuning.search import Search
from tuning.space import Space, read_space
from tuning.trial import FACTS, FAILURE

MakeRecipe = Callable[..., Recipe]
Outcome = Callable[[dict[str, Any], int], float]
"""Sample and step to validation loss; raises ValueError where the trial fails."""


class Killed(Exception):
    """The driver of a search is gone."""


@pytest.fixture
def make_space(make_recipe: MakeRecipe, tmp_path: Path) -> Callable[..., Space]:
    """`make_space({"training.seed": {"int": [0, 9]}}, "tuning.seed=1")`: a space of one's own, validated."""

    def make(lines: dict[str, Any], *words: str) -> Space:
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(lines, sort_keys=False))
        return read_space(make_recipe("training.num_steps=100", f"tuning.space={file}", *words))

    return make


@pytest.fixture
def make_search(tmp_path: Path) -> Callable[..., Search]:
    """`make_search(space)`: a search that knows all that one of this test has done before."""

    def make(space: Space, num_concurrent: int = 2) -> Search:
        recipe = space.recipe
        is_population = recipe.tuning.search == "pbt"
        num = population.num_trials(recipe) if is_population else searchers.num_trials(space, recipe.tuning)
        objectives = read_objectives(recipe.tuning.objectives, is_of_decoding=space.is_of_decoding)
        history = History(Folder(tmp_path / "search"))
        history.open_session()
        return Search(recipe, space, objectives, history, num_concurrent, num, recipe.training.num_steps)

    return make


@pytest.fixture
def play() -> Callable[..., list[int]]:
    """`play(search, outcome)` runs it to its end; the numbers of the trials begun. `killed_after` points it is gone."""

    def run(search: Search, outcome: Outcome, every: int = 10, killed_after: int | None = None) -> list[int]:
        running: dict[str, tuple[dict[str, Any], int]] = {}
        begun, num_points = list[int](), 0
        while True:
            while isinstance(config := search.next_config(f"tune-{len(begun)}"), dict):
                work = json.loads(config["work"])
                known = search.history.trials[work["number"]]
                step = known.points[-1].step if known.points else known.first_step
                running[f"tune-{len(begun)}"] = work["sample"], step
                begun.append(work["number"])
            assert len(running) <= search.num_concurrent
            if not running or search.is_over():
                return begun
            for tune_id, (sample, step) in list(running.items()):
                num_points += 1
                if num_points == killed_after:
                    raise Killed
                goes_on = report(search, tune_id, outcome, sample, step + every)
                running[tune_id] = sample, step + every
                if not goes_on or step + every >= search.num_steps:
                    search.ended(tune_id)
                    del running[tune_id]

    return run


def report(search: Search, tune_id: str, outcome: Outcome, sample: dict[str, Any], step: int) -> bool:
    """What a trial's driver would say, and whether it goes on."""
    try:
        metrics = {"valid_loss": outcome(sample, step), "num_parameters": float(sample.get("model.width", 1))}
    except ValueError as error:
        search.goes_on(tune_id, {FAILURE: str(error)})
        return False
    goes_on = search.goes_on(tune_id, {"step": step, **metrics, "training_iteration": 1})
    if goes_on and step >= search.num_steps:
        search.goes_on(tune_id, {f"{FACTS}/recorded_s": 0.0})
    return goes_on
