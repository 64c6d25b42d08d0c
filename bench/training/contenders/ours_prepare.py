"""A recipe in, the directory of its prepared set out."""

from __future__ import annotations

from typing import Any

from bench.setting import answers
from rejoinder import cluster
from rejoinder.recipe import validate
from rejoinder.shards import prepare


def measure(recipe: dict[str, Any]) -> dict[str, Any]:
    """Prepares it, or finds it prepared."""
    wanted = validate(recipe)
    with cluster.connect(wanted):
        return {"directory": str(prepare(wanted).directory)}


if __name__ == "__main__":
    answers(measure)
