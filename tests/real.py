"""Real servers for tests: a PostgreSQL of the test's own, as whoever may run one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgresql(password: str | None = None) -> Iterator[PostgreSQL]:
    """A running server with an empty database `test`; skips the test where none is installed.

    Only this machine's processes reach it, by its socket. With a password it listens at a port of its own too, and all
    who come that way are asked for it.
    """
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed here")
    # Its socket's path must be short, and the directory the server's user's own: not under tmp_path.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        server = PostgreSQL(Path(name), programs, password)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class PostgreSQL:
    """One server; its user is `tester`."""

    def __init__(self, directory: Path, programs: Path, password: str | None = None) -> None:
        self._directory, self._programs, self._password = directory, programs, password
        self.port = free_port() if password else None
        self._data = directory / "data"
        self._user = _other_user()  # PostgreSQL refuses to run as root
        if self._user is not None:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)
        of_hosts = "scram-sha-256" if password else "trust"
        words = ["-U", "tester", "--auth-local=trust", f"--auth-host={of_hosts}", "--no-sync", "--locale=C"]
        self._call("initdb", "-D", self._data, *words, "-E", "UTF8")

    @property
    def url(self) -> str:
        """Its database `test`."""
        return f"postgresql://tester@/test?host={self._directory}"

    def address_of(self, database: str) -> str:
        """Another one of its databases, as SQLAlchemy wants it."""
        return self.url.replace("postgresql://", "postgresql+psycopg://").replace("/test?", f"/{database}?")

    def start(self) -> None:
        """Starts it and waits until it answers."""
        where = f"-c listen_addresses=127.0.0.1 -p {self.port}" if self.port else "-c listen_addresses=''"
        settings = f"{where} -c unix_socket_directories={self._directory} -c fsync=off"
        self._call("pg_ctl", "-D", self._data, "-w", "-l", self._directory / "log", "-o", settings, "start")
        known = self._call("psql", *self._who, "-d", "postgres", "-Atc", "\\l")
        if "\ntest|" not in f"\n{known}":
            self._call("createdb", *self._who, "test")
            if self._password:
                self.query(f"ALTER USER tester PASSWORD '{self._password}'")

    def stop(self) -> None:
        """Stops it, cutting every connection."""
        self._call("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def query(self, statement: str) -> str:
        """What psql prints for a statement."""
        return self._call("psql", *self._who, "-d", "test", "-Atc", statement)

    @property
    def _who(self) -> list[str | Path]:
        return ["-h", self._directory, *(["-p", str(self.port)] if self.port else []), "-U", "tester"]

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
    """Where initdb, pg_ctl and psql are; distributions keep the first two off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    whole = [folder for folder in folders if all((folder / name).exists() for name in ("initdb", "pg_ctl", "psql"))]
    return whole[-1] if whole else None


def _other_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and this machine has no other user")
