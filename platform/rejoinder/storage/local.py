"""A directory of this machine in, files that are there whole or not at all out; locks, and disk errors in our words."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from rejoinder.errors import StorageError


class Folder:
    """A directory that several processes fill, file by file; each file is there whole or not at all.

    This one is the whole truth about itself; `RemoteFolder` is a copy of what stands at an address. Those who use
    folders call `fetch`, `publish` and `read_text` so that either will do. May be sent to another node.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __str__(self) -> str:
        return str(self.directory)

    def __truediv__(self, name: str) -> Folder:
        """A folder in this one."""
        return Folder(self.directory / name)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.directory.name

    def has(self, name: str) -> bool:
        """Whether a file of this name stands, whole."""
        return (self.directory / name).exists()

    def sizes(self) -> dict[str, int]:
        """Every whole file in it and in its folders, with its size in bytes."""
        found = dict[str, int]()
        for place, folders, files in os.walk(self.directory):
            folders[:] = [name for name in folders if not name.endswith(".partial")]  # `written_whole` fills these
            for file in (Path(place, name) for name in files if not name.startswith(".")):
                with suppress(FileNotFoundError):  # renamed or removed meanwhile
                    found[str(file.relative_to(self.directory))] = file.stat().st_size
        return found

    def path(self, name: str) -> Path:
        """Where the file of this name is read. For what is never replaced by something else of its name."""
        return self.directory / name

    def read_text(self, name: str) -> str | None:
        """What stands in a small file now; None where there is none."""
        try:
            return (self.directory / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    @contextmanager
    def written(self, name: str, *, flush: bool = True) -> Iterator[Path]:
        """A path to write to; what is there at the end of the block gets its name in one rename, on the disk first.

        Without `flush` the disk may have it later, so that a machine that loses its power may leave a file damaged
        under its name: for what is compared with a hash before it is used, or is flushed by `flush` before it counts.
        """
        target = self.directory / name
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        with disk_errors(target):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                yield partial
                if flush:
                    _sync(partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)

    def write_text(self, name: str, text: str, *, flush: bool = True) -> None:
        """A small file."""
        with self.written(name, flush=flush) as file:
            file.write_text(text, encoding="utf-8")

    def stands(self, name: str, sha256: str) -> bool:
        """Whether a file that was written here is whole: what this machine has of it is compared."""
        file = self.directory / name
        return sha256_of(file) == sha256 if file.exists() else self.has(name)

    def flush(self, names: Iterable[str]) -> None:
        """Waits until these files, as far as they stand on this machine, are on its disk."""
        with ThreadPoolExecutor(8) as disks:
            list(disks.map(_sync, [file for name in names if (file := self.directory / name).exists()]))

    def fetch(self, sha256s: Mapping[str, str]) -> list[str]:
        """Sees to it that these files (name to sha256) can be read in `directory`; those that cannot are returned.

        Of files that stand here for themselves nothing is asked: whoever reads them finds out.
        """
        return []

    def publish(self, *names: str, last: str | None = None) -> None:
        """Lets others see files, or folders with all they hold, that were written into `directory` by other means.

        The name "" is all of it; `last` is the name of the file that vouches for the others.
        """

    def owe(self, name: str) -> None:
        """Notes that a folder in this one is still to be published; publishing or removing it settles that."""

    def owed(self) -> list[str]:
        """The folders in this one that stand here and were to be published, sorted."""
        return []

    def remove(self, name: str = "") -> None:
        """A folder in this one with all it holds; without a name this one. Raises StorageError where it may not."""
        with disk_errors(self.directory / name):
            shutil.rmtree(self.directory / name, ignore_errors=True)


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A new directory to fill, which becomes `target` in one rename when the block ends well, and goes when not.

    A process that is killed leaves a `.partial` directory that is never taken for whole and is cleared next time.
    Call it under `locked`. Raises StorageError when the disk is full.
    """
    partial = target.with_name(target.name + ".partial")
    with disk_errors(target):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            _flush(partial)
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def write_text_whole(target: Path, text: str) -> None:
    """Replaces a small file in one rename."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with disk_errors(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, encoding="utf-8")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def locked(directory: Path, what: str, wait_s: float = 0) -> Iterator[None]:
    """Holds `directory` against other processes; the system lets go when this one ends, however it ends.

    Raises StorageError when another process still holds it after `wait_s` seconds.
    """
    with disk_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        handle = open(directory.with_name(f".{directory.name}.lock"), "a+", encoding="utf-8")  # noqa: SIM115
    with handle:
        deadline = time.monotonic() + wait_s
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                handle.seek(0)
                owner = handle.read().strip() or "unknown"
                raise StorageError(
                    f"{directory}: {what} is already being done by process {owner}; wait for it, or stop it"
                )
            time.sleep(0.1)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _try_lock(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turns a full disk, a forbidden directory and the like into a StorageError that names the place."""
    try:
        yield
    except OSError as error:
        explained = explain_os_error(error, place)
        if explained is None:
            raise
        raise explained from error


def explain_os_error(error: OSError, place: Path | None = None) -> StorageError | None:
    """Our sentence for an operating-system error that a user can put right; None for any other."""
    where = place if place is not None else error.filename or "storage.uri"
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return StorageError(f"{where}: no space left on the disk; free some, or set storage.uri to a larger one")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"{where}: may not be written to; set storage.uri to a directory of yours")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return StorageError(f"{where}: a file stands where a directory is needed; set storage.uri to another place")
    return None


def sha256_of(file: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(directory: Path) -> None:
    """Asks the system to put every file on the disk, so that the rename cannot outrun the content."""
    for file in directory.rglob("*"):
        if file.is_file():
            _sync(file)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
