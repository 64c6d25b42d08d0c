"""The shared tables: made once however many come first, the same as the code's, kept by SQLite and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from rejoinder.errors import RecipeError, ServingError
from rejoinder.recipe import Recipe
from serve.store import Database, StoreUnavailable, sessions, url_of
from serve.store.database import PATIENCE_S
from serve.store.tables import metadata, snapshots
from tests.real import PostgreSQL

CHECKOUT = Path(__file__).resolve().parents[3]


def test_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    def differences(rows: Connection) -> list[object]:
        context = MigrationContext.configure(rows, opts={"version_table": "serving_version"})
        return list(compare_metadata(context, metadata))

    assert database.work(differences) == []


def test_two_processes_that_come_first_at_the_same_time_make_one_set_of_tables(new_url: str) -> None:
    program = f"from serve.store import Database; Database({new_url!r}).migrate()"
    environment = {"PYTHONPATH": f"{CHECKOUT / 'platform'}:{CHECKOUT}"}
    both = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE) for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[1] for process in both] == [b"", b""]
    with Database(new_url) as database:
        assert database.work(lambda rows: rows.execute(text("SELECT version_num FROM serving_version")).all()) == [
            ("0002",)
        ]


def test_migrating_again_keeps_what_is_there(database: Database) -> None:
    database.work(lambda rows: sessions.create(rows, "s", "", 1.0, 1.0, []))
    database.migrate()
    assert database.work(sessions.count) == 1


def test_a_database_of_a_newer_rejoinder_is_refused(tmp_path: Path, migrated: bytes) -> None:
    (tmp_path / "newer.db").write_bytes(migrated)
    with Database(f"sqlite:///{tmp_path / 'newer.db'}") as database:
        database.work(lambda rows: rows.execute(text("UPDATE serving_version SET version_num = '9999'")))
        with pytest.raises(ServingError, match="was made by a newer Rejoinder"):
            database.migrate()


def test_a_transaction_that_fails_leaves_nothing_behind(database: Database) -> None:
    def half(rows: Connection) -> None:
        sessions.create(rows, "s", "", 1.0, 1.0, [])
        raise KeyError

    with pytest.raises(KeyError):
        database.work(half)
    assert database.work(sessions.count) == 0


def test_many_threads_of_many_processes_write_without_losing_a_row(url: str, database: Database) -> None:
    with Database(url) as other:

        def write(into: Database, name: str) -> None:
            for number in range(10):
                row = {"replica": f"{name}-{number}", "metrics": "", "written_at": 0.0}
                into.work(lambda rows, row=row: rows.execute(insert(snapshots).values(**row)))

        threads = [
            threading.Thread(target=write, args=(into, f"{place}-{thread}"))
            for place, into in enumerate([database, other])
            for thread in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert database.work(lambda rows: rows.execute(select(func.count()).select_from(snapshots)).scalar()) == 60


def test_what_breaks_a_rule_of_the_tables_is_not_tried_again(database: Database) -> None:
    row = {"replica": "a", "metrics": "", "written_at": 0.0}
    begun = time.monotonic()
    with pytest.raises(IntegrityError):
        database.work(lambda rows: rows.execute(insert(snapshots), [row, row]))
    assert time.monotonic() - begun < PATIENCE_S


def test_a_restarted_server_is_waited_for_and_loses_nothing(server: PostgreSQL) -> None:
    server.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with Database(server.address_of("test"), patience_s=60) as database:
        database.migrate()
        database.work(lambda rows: sessions.create(rows, "before", "", 1.0, 9e9, []))
        server.stop()
        later = database.start(lambda rows: sessions.create(rows, "after", "", 1.0, 9e9, []))
        server.start()
        later.result(timeout=60)
        assert database.work(sessions.count) == 2


def test_a_server_that_does_not_come_back_is_an_error_of_the_store(server: PostgreSQL) -> None:
    server.stop()
    try:
        url = server.address_of("test")
        with Database(url, patience_s=0) as database, pytest.raises(StoreUnavailable, match="does not answer"):
            database.work(sessions.count)
    finally:
        server.start()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("env:NO_SUCH_VARIABLE", "has no NO_SUCH_VARIABLE"),
        ("mysql://host/name", "mysql is not known here"),
        ("nonsense", "no address of a database"),
        ("sqlite:///serving.db", "give sqlite:////the/whole/path"),
    ],
)
def test_an_address_that_is_none_is_named(make_recipe: Callable[..., Recipe], url: str, says: str) -> None:
    with pytest.raises(ServingError, match=says):
        url_of(make_recipe(f"serving.database_url={url}"))


def test_a_password_stands_in_the_environment_and_never_in_a_recipe(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match="credentials do not belong") as refused:
        make_recipe("serving.database_url=postgresql://user:hunter2@host/name")
    assert "hunter2" not in str(refused.value).split("serving.database_url = ")[1]
    monkeypatch.setenv("REJOINDER_DATABASE_URL", "postgresql://user:hunter2@host/name")
    url = url_of(make_recipe("serving.database_url=env:REJOINDER_DATABASE_URL"))
    assert url.password == "hunter2"
    assert "hunter2" not in str(Database(url))


def test_storage_at_an_address_needs_a_database_that_is_not_a_file(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe("storage.uri=s3://bucket/home", "registry.tracking_uri=http://127.0.0.1:5000")
    with pytest.raises(ServingError, match=r"serving\.database_url=env:REJOINDER_DATABASE_URL"):
        url_of(recipe)
