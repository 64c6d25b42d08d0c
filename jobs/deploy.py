"""A registered model behind an HTTP endpoint: `python jobs/deploy.py [RECIPE] [section.key=value ...]`."""

import _checkout  # noqa: F401  (first: this checkout's code)

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from serve import require_words_of_serving, serve_until_stopped


def deploy(recipe: Recipe) -> None:
    """Serves the champion with OpenAI's chat API: until Ctrl-C in a Ray of our own, for good on a cluster."""
    serve_until_stopped(recipe)


if __name__ == "__main__":
    run(deploy, require_words=require_words_of_serving)
