"""A recipe with its space in, the times of each trial of its search on Ray Tune out."""

from __future__ import annotations

import json
import time
from typing import Any

from bench.setting import answers
from rejoinder import cluster
from rejoinder.recipe import validate
from rejoinder.shards import prepare
from tuning import search
from tuning.history import FILE


def measure(recipe: dict[str, Any]) -> dict[str, Any]:
    """Unix times of what happened in each trial, and of the search."""
    wanted = validate(recipe)
    with cluster.connect(wanted):
        prepared = prepare(wanted)
        begun_s = time.time()
        found = search(wanted, prepared)
        ended_s = time.time()
    ended = ends(found.folder.read_text(FILE) or "")
    trials = [
        {"whole_s": trial.seconds(0), "facts": trial.facts, "ended_s": at}
        for trial, at in zip(found.history.trials, ended, strict=True)
    ]
    return {"begun_s": begun_s, "ended_s": ended_s, "trials": trials, "shards": str(prepared.folder)}


def ends(lines: str) -> list[float]:
    """When each trial ended, by number."""

    events = [json.loads(line) for line in lines.splitlines()]
    return [ms / 1000 for _, ms in sorted((one["number"], one["ms"]) for one in events if one["event"] == "end")]


if __name__ == "__main__":
    answers(measure)
