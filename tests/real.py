"""Real servers for tests: a PostgreSQL of the test's own, as whoever may run one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A running server with an empty database `test`; skips the test where none is installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed here")
    # Its socket's path must be short, and the directory the server's user's own: not under tmp_path.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        server = PostgreSQL(Path(name), programs)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class PostgreSQL:
    """One server, without TCP: only this machine's processes reach its socket."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self._directory, self._programs = directory, programs
        self._data = directory / "data"
        self._user = _other_user()  # PostgreSQL refuses to run as root
        if self._user is not None:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)
        self._call("initdb", "-D", self._data, "-A", "trust", "-U", "tester", "--no-sync", "--locale=C", "-E", "UTF8")

    @property
    def url(self) -> str:
        """Its database `test`."""
        return f"postgresql://tester@/test?host={self._directory}"

    def address_of(self, database: str) -> str:
        """Another one of its databases, as SQLAlchemy wants it."""
        return self.url.replace("postgresql://", "postgresql+psycopg://").replace("/test?", f"/{database}?")

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = f"-c listen_addresses='' -c unix_socket_directories={self._directory} -c fsync=off"
        self._call("pg_ctl", "-D", self._data, "-w", "-l", self._directory / "log", "-o", settings, "start")
        known = self._call("psql", "-h", self._directory, "-U", "tester", "-d", "postgres", "-Atc", "\\l")
        if "\ntest|" not in f"\n{known}":
            self._call("createdb", "-h", self._directory, "-U", "tester", "test")

    def stop(self) -> None:
        """Stops it, cutting every connection."""
        self._call("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def query(self, statement: str) -> str:
        """What psql prints for a statement."""
        return self._call("psql", "-h", self._directory, "-U", "tester", "-d", "test", "-Atc", statement)

    def _call(self, program: str, *words: str | Path) -> str:
        user = {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._directory), "LC_ALL": "C"}
        # A server that is started keeps its outputs open: they must not be pipes that somebody waits for.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [self._programs / program, *words], stdout=said, stderr=subprocess.STDOUT, cwd=self._directory,
                env=environment, check=False, timeout=60, **user,
            )  # fmt: skip
            said.seek(0)
            text = said.read()
        assert done.returncode == 0, f"{program}: {text}"
        return text


def _programs() -> Path | None:
    """Where initdb and pg_ctl are; distributions keep the latter off the path."""
    if (found := shutil.which("initdb")) is None:
        return None
    folder = Path(found).resolve().parent
    return folder if (folder / "pg_ctl").exists() and (folder / "psql").exists() else None


def _other_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and this machine has no other user")
