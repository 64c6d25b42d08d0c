"""API keys at the command line: made, listed, revoked. A key's text is shown once."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime

from rejoinder import console
from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe
from serve.store import Database, keys, url_of, usage
from serve.store.keys import SCOPES, Key

DAY_S = 86_400


def keys_job(
    recipe: Recipe, what: str, which: str, name: str, scopes: str, days: float, requests_per_minute: int | None,
    tokens_per_day: int | None,
) -> None:  # fmt: skip
    """What jobs/keys.py is asked for."""
    if what == "create":
        create_key(recipe, name, scopes, days, requests_per_minute, tokens_per_day)
    elif what == "revoke":
        revoke_key(recipe, which)
    else:
        list_keys(recipe)


def create_key(
    recipe: Recipe, name: str, scopes: str, days: float, requests_per_minute: int | None, tokens_per_day: int | None
) -> str:
    """A new key's text, also printed. Raises ServingError for what no key can be."""
    wanted = tuple(filter(None, (scope.strip() for scope in scopes.split(","))))
    if unknown := [scope for scope in wanted if scope not in SCOPES]:
        there_are = ", ".join(f"{scope} ({what})" for scope, what in SCOPES.items())
        raise ServingError(f"--scopes {scopes}: no scope is called {unknown[0]!r}; there are: {there_are}")
    if not wanted:
        raise ServingError(f"--scopes {scopes!r}: a key without a scope opens nothing; give {', '.join(SCOPES)}")
    for flag, value in (("requests-per-minute", requests_per_minute), ("tokens-per-day", tokens_per_day)):
        if value is not None and value < 0:
            raise ServingError(f"--{flag} {value}: must be 0 or more")
    if days < 0:
        raise ServingError(f"--days {days:g}: must be above 0, or 0 for a key that does not expire")
    now = time.time()
    key = Key(
        keys.new_key_id(), name, wanted, requests_per_minute, tokens_per_day, now, now + days * DAY_S if days else None,
        None,
    )  # fmt: skip
    with _database(recipe) as database:
        text = database.work(lambda rows: keys.create(rows, key))
    console.say(f"key {key.id}{f' ({name})' if name else ''} for {', '.join(wanted)}, {_until(key)}")
    console.say("It is shown this once; clients send it as `Authorization: Bearer KEY`:")
    console.say(text)
    return text


def list_keys(recipe: Recipe) -> None:
    """Every key, with what it used today."""
    with _database(recipe) as database:
        found = database.work(keys.listed, writes=False)
        now = time.time()
        if not found:
            console.say("no keys; `python jobs/keys.py create` makes one")
        for key in found:
            today = database.work(functools.partial(usage.used, key=key.id, window="day", now=now), writes=False)
            state = key.problem(now) or _until(key)
            console.say(
                f"{key.id}  {key.name or '-':20}  {','.join(key.scopes):12}  {state:28}  "
                f"today: {today.num_requests:,} replies, {today.num_tokens:,} tokens"
            )


def revoke_key(recipe: Recipe, id: str) -> None:
    """A key opens nothing from now on. Raises ServingError when there is none of this name."""
    with _database(recipe) as database:
        # Whoever has the whole text at hand may give it: the name stands in it.
        name = id.split("-")[1] if id.startswith(f"{keys.PREFIX}-") and id.count("-") > 1 else id
        if not database.work(lambda rows: keys.revoke(rows, name, time.time())):
            raise ServingError(f"no key is called {name}; `python jobs/keys.py list` shows them")
    console.say(f"key {name} is revoked")


def count_keys(database: Database) -> int:
    """Keys that open something."""
    now = time.time()
    return sum(key.problem(now) is None for key in database.work(keys.listed, writes=False))


def _until(key: Key) -> str:
    if key.expires_at is None:
        return "does not expire"
    return f"until {datetime.fromtimestamp(key.expires_at, UTC):%Y-%m-%d %H:%M} UTC"


def _database(recipe: Recipe) -> Database:
    database = Database(url_of(recipe))
    database.migrate()
    return database
