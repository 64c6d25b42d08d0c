"""Retreats at the command line: listed with their reasons, cleared."""

from __future__ import annotations

from datetime import UTC, datetime

from rejoinder import console
from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe
from serve.store import Database, retreats, url_of


def retreats_job(recipe: Recipe, what: str, which: int) -> None:
    """What jobs/retreats.py is asked for. Raises ServingError for a version that was not called back."""
    model = recipe.registry.model
    with Database(url_of(recipe)) as database:
        database.migrate()
        if what == "clear":
            if not database.work(lambda rows: retreats.clear(rows, model, which)):
                raise ServingError(
                    f"version {which} of {model!r} was not called back; `python jobs/retreats.py list` shows who was"
                )
            console.say(f"version {which} may answer again, within seconds on all replicas")
            return
        found = database.work(lambda rows: retreats.listed(rows, model), writes=False)
    for retreat in found:
        console.say(
            f"version {retreat.version}  {datetime.fromtimestamp(retreat.began_at, UTC):%Y-%m-%d %H:%M} UTC  "
            f"{retreat.reason}"
        )
    if not found:
        console.say(f"no version of {model!r} was called back")
