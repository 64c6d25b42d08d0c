"""A key in; the caller that it lets in out, with one more request counted, or why it opens nothing."""

from __future__ import annotations

import time

from sqlalchemy import Connection

from rejoinder.recipe import ServingSection
from serve.errors import Refused
from serve.service import Caller
from serve.store import usage
from serve.store.keys import Key

HOW = "send it as `Authorization: Bearer KEY`; `jobs/keys.py create` makes one"
CHAT = "chat"
"""The scope whose requests are counted against a quota."""


def admitted(rows: Connection, key: Key | None, scope: str, serving: ServingSection, counts: bool = True) -> Caller:
    """The caller with this key; None is a key that there is not.

    Raises Refused for a key that opens nothing, or not this, and QuotaExceeded above its requests a minute.
    """
    now = time.time()
    if key is None:
        raise unknown(f"no such API key; {HOW}", "invalid_api_key")
    if problem := key.problem(now):
        raise unknown(f"the API key {key.id} {problem}; ask for a new one", "invalid_api_key")
    if scope not in key.scopes:
        raise Refused(
            403, f"the API key {key.id} is not for this; it needs the scope {scope!r}", kind="permission_error",
            code="insufficient_scope",
        )  # fmt: skip
    caller = Caller(key)
    if counts and scope == CHAT:
        usage.count_request(rows, key.id, caller.requests_per_minute(serving), now)
    return caller


def unknown(message: str, code: str) -> Refused:
    """Nobody knows who asks."""
    return Refused(401, message, kind="authentication_error", code=code, headers={"www-authenticate": "Bearer"})
