"""API keys of the endpoint: `python jobs/keys.py [RECIPE] create | list | revoke ID`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated, Literal

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from serve.keys import keys_job


def keys(
    recipe: Recipe,
    what: Annotated[Literal["create", "list", "revoke"], "what to do"] = "list",
    which: Annotated[str, "the key's id, for revoke"] = "",
    *,
    name: Annotated[str, "what the key is for, to know it again"] = "",
    scopes: Annotated[str, "what it opens: chat, metrics"] = "chat",
    days: Annotated[float, "until it expires; 0 for never"] = 365.0,
    requests_per_minute: Annotated[int | None, "quota; default: serving.requests_per_minute"] = None,
    tokens_per_day: Annotated[int | None, "quota; default: serving.tokens_per_day"] = None,
) -> None:
    """Makes a key and shows it once; lists keys, with what they used today; revokes one."""
    keys_job(recipe, what, which, name, scopes, days, requests_per_minute, tokens_per_day)


if __name__ == "__main__":
    run(keys)
