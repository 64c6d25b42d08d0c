"""The recipe's database in, transactions in a few threads out: SQLite on this machine, or PostgreSQL for many."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError

from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe
from rejoinder.storage import Storage, disk_errors, is_address

log = logging.getLogger(__name__)
Found = TypeVar("Found")

FROM_ENVIRONMENT = "env:"
PATIENCE_S = 8.0
"""How long a database that is being restarted is waited for."""
_BUSY_MS = 10_000
_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_OF_MIGRATIONS = 7_253_019
"""Any number, the same for all of us: PostgreSQL's name of the lock."""
_migrating = threading.Lock()  # Alembic keeps what it is doing in a global


class StoreUnavailable(ServingError):
    """The database does not answer; try again."""


def url_of(recipe: Recipe) -> URL:
    """Where the recipe's tables are. Raises ServingError where there can be none; no message has the password."""
    asked = recipe.serving.database_url
    if asked is None:
        if is_address(recipe.storage.uri):
            raise ServingError(
                f"serving.database_url = null: the database is a file and cannot lie at {recipe.storage.uri}; set "
                "serving.database_url=env:REJOINDER_DATABASE_URL to a PostgreSQL"
            )
        file = Storage(recipe).serving
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        return URL.create("sqlite", database=str(file))
    place = f"serving.database_url = {asked}"
    if asked.startswith(FROM_ENVIRONMENT):
        name = asked.removeprefix(FROM_ENVIRONMENT)
        asked = os.environ.get(name, "")
        if not asked:
            raise ServingError(f"{place}: the environment of this process has no {name}; set it on every node")
    try:
        url = make_url(asked)
    except (ArgumentError, ValueError):
        raise ServingError(f"{place}: no address of a database, such as postgresql://user@host/name") from None
    kind = url.get_backend_name()
    if kind in ("postgresql", "postgres"):
        if importlib.util.find_spec("psycopg") is None:
            raise ServingError(f"{place}: PostgreSQL needs an extra: pip install '.[postgresql]' in the checkout")
        return url.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise ServingError(f"{place}: {kind} is not known here; give postgresql:// or sqlite:///FILE")
    if not Path(url.database or "").is_absolute():
        raise ServingError(f"{place}: replicas run in other directories; give sqlite:////the/whole/path")
    return url


class Database:
    """Transactions on the shared tables. Made once a process; `close` at its end."""

    def __init__(self, url: URL | str, num_threads: int = 4, patience_s: float = PATIENCE_S) -> None:
        """`url` as `url_of` gives it. A lost connection is made anew for `patience_s` seconds."""
        self._url, self._patience_s = make_url(url), patience_s
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = _engine(self._url, num_threads)
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="store")
        # SQLite takes one writer at a time, and those who wait for it sleep: within a process they need not.
        self._writing: Any = threading.Lock() if self.is_sqlite else nullcontext()

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def migrate(self) -> None:
        """Makes or changes the tables to be today's; of several who do it at once, one does.

        Raises StoreUnavailable, or ServingError for a database of a newer Rejoinder.
        """
        self.work(_migrate)

    async def run(self, work: Callable[[Connection], Found], *, writes: bool = True) -> Found:
        """What `work` returns, called in one transaction on another thread. It is called again when the connection
        was lost, so that it must find out whether it has done its work. Raises StoreUnavailable."""
        return await asyncio.wrap_future(self.start(work, writes=writes))

    def start(self, work: Callable[[Connection], Found], *, writes: bool = True) -> Future[Found]:
        """The same for those who cannot wait, such as a request whose client is gone."""
        return self._threads.submit(self.work, work, writes=writes)

    def work(self, work: Callable[[Connection], Found], *, writes: bool = True) -> Found:
        """The same, here and now."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                with self._writing if writes else nullcontext(), self._engine.connect() as connection:
                    connection.execution_options(writes=writes)
                    with connection.begin():
                        return work(connection)
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > deadline:
                    log.error("the database %s: %s", self, _reason(error))
                    raise StoreUnavailable(
                        "the database of sessions and keys does not answer; try again in a moment"
                    ) from None
                time.sleep(0.1)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Waits for what has begun, and lets the connections go."""
        self._threads.shutdown(wait=True)
        self._engine.dispose()


def _engine(url: URL, num_threads: int) -> Engine:
    # What is written is what people say: an error that goes to the log must not have it in it (hide_parameters).
    if url.get_backend_name() != "sqlite":
        return create_engine(
            url, pool_size=num_threads, max_overflow=0, pool_pre_ping=True, connect_args={"connect_timeout": 5},
            hide_parameters=True,
        )  # fmt: skip
    engine = create_engine(url, pool_size=num_threads, max_overflow=1, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None  # sqlite3 would begin transactions by its own rules
        # Readers do not wait for a writer; what was committed outlives the power.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_MS}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that turns from reading to writing fails when another was faster: writers say so at once.
        writes = connection.get_execution_options().get("writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # for SQLite, BEGIN IMMEDIATE is such a lock
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _LOCK_OF_MIGRATIONS})
    settings = Config(attributes={"connection": connection})
    settings.set_main_option("script_location", str(_MIGRATIONS))
    settings.set_main_option("path_separator", "os")
    with _migrating:
        try:
            command.upgrade(settings, "head")
        except CommandError as error:
            raise ServingError(
                f"the database of sessions and keys was made by a newer Rejoinder ({error}); update this one"
            ) from None


def _reason(error: SQLAlchemyError) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())[:300]
