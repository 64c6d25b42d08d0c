"""Sessions and their like in; tallies, retreats and shadows' replies beside them out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Only new tables: what an older Rejoinder knows stays as it was."""
    text, number, time = sa.String(64), sa.Integer(), sa.Float()
    op.create_table(
        "tallies",
        sa.Column("replica", text, primary_key=True),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("written_at", time, nullable=False),
    )
    op.create_table(
        "retreats",
        sa.Column("model", sa.String(256), primary_key=True),
        sa.Column("version", number, primary_key=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("replica", text, nullable=False),
        sa.Column("began_at", time, nullable=False),
    )
    op.create_table(
        "shadow_replies",
        sa.Column("id", text, primary_key=True),
        sa.Column("reply_id", text, nullable=False),
        sa.Column("session_id", text, sa.ForeignKey("sessions.id", ondelete="CASCADE")),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("version", text, nullable=False),
        sa.Column("text", sa.Text()),
        sa.Column("is_same", sa.Boolean(), nullable=False),
        sa.Column("num_reply_tokens", number, nullable=False),
        sa.Column("first_token_s", time, nullable=False),
        sa.Column("seconds", time, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=False),
    )
    for name in ("reply_id", "session_id", "expires_at"):
        op.create_index(f"ix_shadow_replies_{name}", "shadow_replies", [name])


def downgrade() -> None:
    """They go, with what they hold."""
    for name in ("shadow_replies", "retreats", "tallies"):
        op.drop_table(name)
