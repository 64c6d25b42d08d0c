"""What all replicas share, in one database: sessions, replies, feedback, keys, counts. Its modules are its names."""

from serve.store import feedback, keys, retreats, sessions, shadows, snapshots, tickets, turns, usage
from serve.store.database import Database, StoreUnavailable, url_of

__all__ = [
    "Database",
    "StoreUnavailable",
    "feedback",
    "keys",
    "retreats",
    "sessions",
    "shadows",
    "snapshots",
    "tickets",
    "turns",
    "url_of",
    "usage",
]
