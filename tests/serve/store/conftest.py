"""The shared tables on both databases that there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from serve.store import Database
from serve.store.tables import metadata
from tests.real import PostgreSQL, postgresql


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    """A PostgreSQL for all tests of the store."""
    pytest.importorskip("psycopg", reason="the extra [postgresql] is not installed")
    with postgresql() as running:
        yield running


@pytest.fixture(scope="session")
def migrated_server(server: PostgreSQL) -> str:
    """The address of a database of its own with today's tables."""
    server.query("CREATE DATABASE migrated")
    url = server.address_of("migrated")
    with Database(url) as made:
        made.migrate()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'serving.db'}"
    server: PostgreSQL = request.getfixturevalue("server")
    server.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return server.address_of("test")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, migrated: bytes) -> str:
    """An address of a database with today's tables and nothing in them."""
    if request.param == "sqlite":
        file = tmp_path / "serving.db"
        file.write_bytes(migrated)
        return f"sqlite:///{file}"
    url: str = request.getfixturevalue("migrated_server")
    with Database(url) as made:
        made.work(lambda rows: rows.execute(text(f"TRUNCATE {', '.join(metadata.tables)} CASCADE")))
    return url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """That database."""
    with Database(url) as made:
        yield made
