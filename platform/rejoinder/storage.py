"""Where things are kept: paths under `storage.uri`, whole-or-nothing writing, locks, and disk errors in our words."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rejoinder.errors import StorageError
from rejoinder.recipe import Recipe


class Storage:
    """The directory tree of everything that is made."""

    def __init__(self, recipe: Recipe) -> None:
        self.root = Path(recipe.storage.uri)
        self._recipe = recipe

    def shards(self, fingerprint: str) -> Path:
        """One prepared set: tokenizer, manifest, shards."""
        return self.root / "shards" / f"{self._recipe.name}-{fingerprint}"

    def run(self, fingerprint: str) -> Path:
        """One training run: checkpoints, recipe, evaluation."""
        return self.root / "runs" / f"{self._recipe.name}-{fingerprint}"

    @property
    def ray(self) -> Path:
        """What Ray Train and Ray Tune keep of their own."""
        return self.root / "ray"

    @property
    def mlflow(self) -> Path:
        """The default MLflow store: database and artifacts."""
        return self.root / "mlflow"

    @property
    def models(self) -> Path:
        """Model versions downloaded from the registry."""
        return self.root / "models"


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
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
