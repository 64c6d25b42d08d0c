"""One change of the tables a file; Alembic finds them by their folder."""
