"""Decoding settings and a checkpoint in, figures of its replies to the validation split out; nothing is trained."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from ray import tune

from rejoinder import catalog, checkpoints
from rejoinder.errors import TuningError
from rejoinder.evaluation import FIGURES, Bootstrap, in_ids_of
from rejoinder.evaluation.answers import answers, drawn
from rejoinder.evaluation.metrics import ROOM, Answers, problems, statistics
from rejoinder.recipe import PluginSettings, Recipe
from rejoinder.registry import tracked_run
from rejoinder.shards import Prepared, ShardSet, fetched
from rejoinder.storage import Folder
from tuning.space import with_sample
from tuning.trial import FACTS, FAILURE, Work, reason, run_name_of, title_of

_NUM_PARTS = 4
"""Measurements of a trial: after each a scheduler may stop it."""
_ALWAYS = ("chrf", "word_f1", "distinct_2")


def decoding_trial(
    config: dict[str, Any], recipe: Recipe, prepared: Prepared, checkpoint: Folder, run_name: str, search_run_id: str
) -> None:
    """The driver of one trial: it replies, compares, and reports after each quarter of the exchanges."""
    work = Work(**json.loads(config["work"]))
    try:
        trial = with_sample(recipe, work.sample)
        name, title = run_name_of(run_name, work.number), title_of(recipe, work.number)
        with tracked_run(trial, prepared, name, parent_run_id=search_run_id, title=title) as tracker:
            for step, metrics in _measured(trial, prepared, checkpoint):
                tracker.log(metrics, step)
                tune.report({"step": step, **metrics})
        tune.report({FACTS: {"recorded_s": time.time()}})
    except Exception as error:
        tune.report({FAILURE: reason(error)})


def _measured(recipe: Recipe, prepared: Prepared, checkpoint: Folder) -> Any:
    """(exchanges replied to, figures of all of them), a quarter more each time."""
    torch.set_num_threads(1)
    directory = checkpoints.fetched(checkpoint)
    trained = checkpoints.load(directory)
    shard_set = ShardSet(fetched(in_ids_of(directory, prepared.folder, "valid"), ["valid"]), "valid")
    conversations = [shard_set.conversation_id(number) for number in range(len(shard_set))]
    numbers = drawn(conversations, recipe.tuning.num_exchanges)
    wanted = dict.fromkeys([*_ALWAYS, *(name for name in recipe.tuning.objectives or () if name in FIGURES)])
    plugins = plugins_of(recipe, wanted)
    model, human, replying_s = list[str](), list[str](), 0.0
    for part in range(_NUM_PARTS):
        share = numbers[part * len(numbers) // _NUM_PARTS : (part + 1) * len(numbers) // _NUM_PARTS]
        if not share:
            continue
        begun_s = time.monotonic()
        model += answers(recipe, trained, shard_set, share)
        replying_s += time.monotonic() - begun_s
        human += [trained.tokenizer.to_text(ids.tolist()) for ids in shard_set.rows(np.array(share)).reply_ids]
        counted = statistics(plugins, Answers(human, model))
        bootstrap = Bootstrap(np.arange(len(model)), num_resamples=2)
        figures = {name: bootstrap.estimate(counted[name], FIGURES[name].of).value for name in wanted}
        known = {name: value for name, value in figures.items() if math.isfinite(value)}
        yield len(model), known | {"s_per_reply": replying_s / len(model)}


def plugins_of(recipe: Recipe, figures: Collection[str]) -> list[PluginSettings]:
    """The metrics that give these figures, set as in the recipe where it has them.

    Raises TuningError for one that cannot do without settings, or that cannot be computed here.
    """
    own, found = {settings.name: settings for settings in recipe.evaluation.metrics}, list[PluginSettings]()
    for name in catalog.names(ROOM):
        module = catalog.pick(ROOM, name)
        given = [figure for figure in figures if figure in module.FIGURES]
        if not given:
            continue
        try:
            found.append(own[name] if name in own else module.Settings())
        except ValueError:
            raise TuningError(
                f"tuning.objectives: {given[0]} is a figure of the metric {name}, which needs settings; put it among "
                "evaluation.metrics (docs/evaluation.md)"
            ) from None
    for problem in problems(found):
        raise TuningError(problem)
    return found
