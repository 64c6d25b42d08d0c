"""Alembic's own doorway: runs the migrations on the connection that it is given, in that connection's transaction."""

from __future__ import annotations

from alembic import context

from serve.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="serving_version",  # MLflow may have a table `alembic_version` in the same database
)
context.run_migrations()
