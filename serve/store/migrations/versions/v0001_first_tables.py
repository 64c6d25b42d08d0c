"""Nothing in; sessions, turns, tickets, replies, feedback, keys, usage and snapshots out."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Written out, not taken from tables.py: this file stays what it is when the tables change."""
    text, number, time = sa.String(64), sa.Integer(), sa.Float()
    op.create_table(
        "sessions",
        sa.Column("id", text, primary_key=True),
        sa.Column("owner", text, nullable=False),
        sa.Column("system", sa.JSON(), nullable=False),
        sa.Column("num_turns", number, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("used_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=False),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_index("ix_sessions_of_owner", "sessions", ["owner", "created_at"])
    op.create_table(
        "turns",
        _of_a_session(primary_key=True),
        sa.Column("position", number, primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("reply_id", text),
        sa.Column("created_at", time, nullable=False),
    )
    op.create_table(
        "tickets",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        _of_a_session(nullable=False),
        sa.Column("holder", text, nullable=False, unique=True),
        sa.Column("expires_at", time, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tickets_session_id", "tickets", ["session_id"])
    op.create_table(
        "replies",
        sa.Column("id", text, primary_key=True),
        sa.Column("owner", text, nullable=False),
        _of_a_session(nullable=True),
        sa.Column("position", number),
        sa.Column("messages", sa.JSON()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("version", text, nullable=False),
        sa.Column("num_context_tokens", number, nullable=False),
        sa.Column("num_reply_tokens", number, nullable=False),
        sa.Column("finish", sa.String(16), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time),
    )
    op.create_index("ix_replies_session_id", "replies", ["session_id"])
    op.create_index("ix_replies_expires_at", "replies", ["expires_at"])
    op.create_table(
        "feedback",
        sa.Column("id", text, primary_key=True),
        sa.Column("owner", text, nullable=False),
        sa.Column("reply_id", text, nullable=False),
        sa.Column("session_id", text),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("version", text, nullable=False),
        sa.Column("thumb", sa.String(8)),
        sa.Column("rating", number),
        sa.Column("correction", sa.Text()),
        sa.Column("regenerate", sa.Boolean(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("created_at", time, nullable=False),
    )
    for name in ("reply_id", "session_id", "created_at"):
        op.create_index(f"ix_feedback_{name}", "feedback", [name])
    op.create_table(
        "keys",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("requests_per_minute", number),
        sa.Column("tokens_per_day", number),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time),
        sa.Column("revoked_at", time),
    )
    op.create_table(
        "usage",
        sa.Column("key_id", sa.String(16), sa.ForeignKey("keys.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("window", sa.String(8), primary_key=True),
        sa.Column("began_at", number, primary_key=True),
        sa.Column("num_requests", number, nullable=False),
        sa.Column("num_tokens", number, nullable=False),
    )
    op.create_table(
        "snapshots",
        sa.Column("replica", text, primary_key=True),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("written_at", time, nullable=False),
    )


def _of_a_session(**options: Any) -> sa.Column[str]:
    return sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.id", ondelete="CASCADE"), **options)


def downgrade() -> None:
    """All of it goes, with what it holds."""
    for name in ("snapshots", "usage", "keys", "feedback", "replies", "tickets", "turns", "sessions"):
        op.drop_table(name)
