"""The tables that all replicas share, as SQLAlchemy sees them; migrations/ makes them. Times are seconds since 1970."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()


def _of_a_session(**options: Any) -> Column[str]:
    return Column("session_id", String(64), ForeignKey("sessions.id", ondelete="CASCADE"), **options)


sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),  # the key that made it, "" where none is needed
    Column("system", JSON, nullable=False),  # texts of the system messages
    Column("num_turns", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Index("ix_sessions_of_owner", "owner", "created_at"),
)

turns = Table(
    "turns",
    metadata,
    _of_a_session(primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("reply_id", String(64)),  # of an assistant's turn that was written here
    Column("created_at", Float, nullable=False),
)

# Who wants to speak in a session stands in a queue: the smallest id that has not expired is its turn.
tickets = Table(
    "tickets",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _of_a_session(nullable=False, index=True),
    Column("holder", String(64), nullable=False, unique=True),
    Column("expires_at", Float, nullable=False),
    sqlite_autoincrement=True,
)

replies = Table(
    "replies",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    _of_a_session(nullable=True, index=True),
    Column("position", Integer),  # of the reply among the session's turns
    Column("messages", JSON),  # what was replied to, where there is no session
    Column("text", Text, nullable=False),
    Column("model", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("num_context_tokens", Integer, nullable=False),
    Column("num_reply_tokens", Integer, nullable=False),
    Column("finish", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, index=True),  # where there is no session
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("reply_id", String(64), nullable=False, index=True),
    Column("session_id", String(64), index=True),
    Column("model", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("thumb", String(8)),
    Column("rating", Integer),
    Column("correction", Text),
    Column("regenerate", Boolean, nullable=False),
    Column("messages", JSON, nullable=False),  # a copy: feedback outlives the session's time
    Column("reply", Text, nullable=False),
    Column("created_at", Float, nullable=False, index=True),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),  # sha256 of the secret
    Column("name", String(256), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("requests_per_minute", Integer),
    Column("tokens_per_day", Integer),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
)

usage = Table(
    "usage",
    metadata,
    Column("key_id", String(16), ForeignKey("keys.id", ondelete="CASCADE"), primary_key=True),
    Column("window", String(8), primary_key=True),  # minute or day
    Column("began_at", Integer, primary_key=True),
    Column("num_requests", Integer, nullable=False),
    Column("num_tokens", Integer, nullable=False),
)

# What each replica last counted, so that any replica can tell a scraper of all.
snapshots = Table(
    "snapshots",
    metadata,
    Column("replica", String(64), primary_key=True),
    Column("metrics", Text, nullable=False),
    Column("written_at", Float, nullable=False),
)

# What each replica counted of each version's replies in the last minutes, so that all judge by the same sums.
tallies = Table(
    "tallies",
    metadata,
    Column("replica", String(64), primary_key=True),
    Column("model", String(256), nullable=False),
    Column("counts", JSON, nullable=False),
    Column("written_at", Float, nullable=False),
)

# Versions that were called back from canary and A/B traffic, on all replicas, until somebody clears them.
retreats = Table(
    "retreats",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("replica", String(64), nullable=False),  # which one saw it
    Column("began_at", Float, nullable=False),
)

# What a shadow said; its text only where the conversation is kept, and no longer than that.
shadow_replies = Table(
    "shadow_replies",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("reply_id", String(64), nullable=False, index=True),  # of the reply that was given
    _of_a_session(nullable=True, index=True),
    Column("model", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("text", Text),
    Column("is_same", Boolean, nullable=False),  # whether it said what was given
    Column("num_reply_tokens", Integer, nullable=False),
    Column("first_token_s", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
)
