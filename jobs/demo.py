"""The whole corridor once: `make demo`, or `python jobs/demo.py [RECIPE] [section.key=value ...]`."""

import _checkout  # noqa: F401  (first: this checkout's code)

from rejoinder import cluster
from rejoinder.command_line import run
from rejoinder.promotion import promote_stage
from rejoinder.recipe import Recipe
from rejoinder.stages import train_stage
from serve import ask_stage, deploy_stage, say_what_next


def demo(recipe: Recipe) -> None:
    """Conversations to shards to a trained, evaluated, registered and deployed model, and one question to it."""
    with cluster.connect(recipe):
        registered = train_stage(recipe)
        promote_stage(recipe, registered.version.number)
        ask_stage(recipe, deploy_stage(recipe))
    say_what_next(recipe)


if __name__ == "__main__":
    run(demo)
