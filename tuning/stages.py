"""Tuning as a stage of the corridor."""

from __future__ import annotations

from pathlib import Path

from rejoinder import cluster, console
from rejoinder.recipe import Recipe
from rejoinder.stages import prepare_stage
from rejoinder.storage import Storage
from tuning.search import Found, search


def tune_stage(recipe: Recipe, output: str | None = None) -> Found:
    """Searches, and writes the best recipe: to `output`, or under storage.uri."""
    with cluster.connect(recipe):
        prepared = prepare_stage(recipe)
        with console.stage(f"Tune: {recipe.tuning.space}"):
            found = search(recipe, prepared)
            file = Path(output).absolute() if output else Storage(recipe).tuning.directory / f"{recipe.name}-best.yaml"
            Storage(recipe).holding(file.parent).write_text(file.name, found.recipe.to_yaml())
            failed = f", {found.num_failed} of them failed" if found.num_failed else ""
            console.say(f"   {found.num_trials} trials{failed}; the best has {found.metrics}")
            for path, value in found.changes.items():
                console.say(f"      {path} = {value}")
            console.say(f"   made: {file}; train it with `python jobs/train.py {file}`")
    return found
