"""A recipe with its space and a prepared set in, the outcome of its search out: our decisions, trial after trial.

The search is `tuning.search.Search`, as Ray Tune asks it; the trials run here, one at a time and without Ray, which
changes nothing of what they learn and takes no time to start. So three full grids take minutes.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from bench.setting import answers
from rejoinder.checkpoints import CheckpointStore
from rejoinder.errors import TrainingError
from rejoinder.recipe import validate
from rejoinder.storage import Folder
from rejoinder.training import NoTracker, train_loop
from rejoinder.training.plain import PlainContext
from tuning import read_space, searchers
from tuning.history import History
from tuning.objectives import read_objectives
from tuning.search import Search
from tuning.trial import FACTS, FAILURE, recipe_of


class Enough(Exception):
    """The search has stopped this trial."""


class Reporting(PlainContext):
    """Takes validations to the search."""

    def __init__(self, search: Search, tune_id: str) -> None:
        super().__init__(0, 1, torch.device("cpu"))
        self._search, self._tune_id = search, tune_id

    def report(self, metrics: dict[str, float]) -> None:
        """Ends the training where the search says so."""
        if not self._search.goes_on(self._tune_id, dict(metrics)) or self._search.is_over():
            raise Enough


def measure(recipe: dict[str, Any], shards: str, folder: str) -> dict[str, Any]:
    """The best loss, all trials with their seconds and steps, and the tokens that all learnt from."""
    torch.set_num_threads(1)
    wanted, place = validate(recipe), Path(folder)
    space, objectives = read_space(wanted), read_objectives(None, is_of_decoding=False)
    history = History(Folder(place / "search"))
    history.open_session()
    num = searchers.num_trials(space, wanted.tuning)
    search = Search(wanted, space, objectives, history, 1, num, wanted.training.num_steps)
    seconds = list[float]()
    while not search.is_over() and isinstance(config := search.next_config(tune_id := str(len(seconds))), dict):
        trial, store = recipe_of(wanted, json.loads(config["work"])["sample"]), CheckpointStore(place / "checkpoints")
        begun_s = time.monotonic()
        try:
            train_loop(Reporting(search, tune_id), trial, Path(shards), store, NoTracker())
            search.goes_on(tune_id, {f"{FACTS}/recorded_s": time.time()})
        except Enough:
            pass
        except TrainingError as error:
            search.goes_on(tune_id, {FAILURE: str(error)})
        seconds.append(time.monotonic() - begun_s)
        search.ended(tune_id)
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
    best = history.best(objectives)
    assert best is not None, [trial.reason for trial in history.trials]
    point = best.best(objectives)
    assert point is not None
    return {
        "loss": point.metrics["valid_loss"],
        "sample": best.sample,
        "num_tokens": history.num_tokens,
        "steps": [trial.num_steps for trial in history.trials],
        "trial_s": seconds,
    }


if __name__ == "__main__":
    answers(measure)
