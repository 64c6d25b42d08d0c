"""Who asks in, the alias or version that answers out: shares of the sessions, always the same for the same one."""

from __future__ import annotations

import hashlib

from rejoinder.recipe import ServingSection


def name_for(asker: str, serving: ServingSection) -> str:
    """The canary's for `serving.canary.percent` of the askers; of the others, one of `serving.ab_test` by its weight;
    else serving.alias.

    A larger percentage keeps whom a smaller one chose, and the choice among `ab_test` does not depend on it.
    """
    canary = serving.canary
    if canary.to is not None and point_of(asker, "canary") < canary.percent / 100:
        return canary.to
    weights = {name: weight for name, weight in sorted(serving.ab_test.items()) if weight}
    left = point_of(asker, "ab_test") * sum(weights.values())
    for name, weight in weights.items():
        left -= weight
        if left < 0:
            return name
    return serving.alias


def is_shadowed(reply_id: str, serving: ServingSection) -> bool:
    """Whether the shadow is asked as well."""
    shadow = serving.shadow
    return shadow.to is not None and point_of(reply_id, "shadow") < shadow.percent / 100


def asker_of(session_id: str | None, key: str, user: str | None, reply_id: str) -> str:
    """Whom a choice sticks to: the session, else the user that a request names (of this key), else nobody: a key
    alone may be a shop with all its customers."""
    if session_id is not None:
        return f"session {session_id}"
    return f"request {reply_id}" if user is None else f"user {key} {user}"


def point_of(name: str, purpose: str) -> float:
    """From 0 to 1, evenly, the same on every replica and after every restart."""
    digest = hashlib.sha256(f"{purpose}\0{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
