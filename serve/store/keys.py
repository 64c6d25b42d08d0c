"""API keys: made, found by what a request presents, listed, revoked. The database has only hashes of them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from serve.store.tables import keys

PREFIX = "rj"
SCOPES = {
    "chat": "replies, sessions, feedback and the list of models",
    "metrics": "/metrics",
}
"""What a key may be for."""
_NOBODYS = hashlib.sha256(b"nobody").digest()


@dataclass(frozen=True)
class Key:
    """What is known of a key; never the key itself. Times are seconds since 1970."""

    id: str
    name: str
    scopes: tuple[str, ...]
    requests_per_minute: int | None
    """null: as the recipe says."""
    tokens_per_day: int | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def problem(self, now: float) -> str | None:
        """Why it opens nothing any more."""
        if self.revoked_at is not None:
            return "was revoked"
        return "has expired" if self.expires_at is not None and self.expires_at <= now else None


def create(connection: Connection, key: Key) -> str:
    """Writes a key and returns its text, which is shown once and kept by nobody."""
    secret = secrets.token_urlsafe(32)
    values: dict[str, Any] = vars(key) | {"scopes": list(key.scopes), "digest": _digest(secret)}
    connection.execute(insert(keys).values(**values))
    return f"{PREFIX}-{key.id}-{secret}"


def new_key_id() -> str:
    """Names a key; no secret."""
    return secrets.token_hex(6)


def find(connection: Connection, presented: str) -> Key | None:
    """The key of this text, in the same time whether only its name is right or nothing is."""
    prefix, _, rest = presented.partition("-")
    id, _, secret = rest.partition("-")
    row = connection.execute(select(keys).where(keys.c.id == id)).first() if prefix == PREFIX else None
    is_right = hmac.compare_digest(_digest(secret), _NOBODYS if row is None else bytes(row.digest))
    return _key(row) if row is not None and is_right else None


def named(connection: Connection, id: str) -> Key | None:
    """The key of this name as it is now, for one who has shown it before."""
    row = connection.execute(select(keys).where(keys.c.id == id)).first()
    return None if row is None else _key(row)


def listed(connection: Connection) -> list[Key]:
    """All keys, the oldest first."""
    return [_key(row) for row in connection.execute(select(keys).order_by(keys.c.created_at, keys.c.id))]


def revoke(connection: Connection, id: str, now: float) -> bool:
    """A key opens nothing from now on; whether there is such a key."""
    there = keys.c.id == id
    connection.execute(update(keys).where(there, keys.c.revoked_at.is_(None)).values(revoked_at=now))
    return connection.execute(select(keys.c.id).where(there)).first() is not None


def _digest(secret: str) -> bytes:
    # 32 random bytes cannot be guessed from their hash: no slow hash is needed, and none would suit each request.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _key(row: Any) -> Key:
    return Key(
        row.id, row.name, tuple(row.scopes), row.requests_per_minute, row.tokens_per_day, row.created_at,
        row.expires_at, row.revoked_at,
    )  # fmt: skip
