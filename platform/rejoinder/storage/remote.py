"""An address in, a folder out whose files stand there and are read from a copy on this machine.

What stands at the address is the truth: whether a file is there is asked of it, and a file is there when its upload has
ended. The copy lies under REJOINDER_CACHE (default ~/.cache/rejoinder) and saves downloads; it may be deleted whenever
no job runs.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rejoinder.errors import StorageError
from rejoinder.storage import addresses
from rejoinder.storage.local import Folder, disk_errors, locked, sha256_of

NUM_TRANSFERS = 8
"""Files that one process moves at a time."""
BLOCK_BYTES = 8 * 2**20
NOTE = ".owed"
"""How the name of a file ends that stands beside a folder that is still to be uploaded."""
FETCH_WAIT_S = 24 * 3600.0
"""How long a process waits for another one of its node that fetches the same files."""

Made = TypeVar("Made")
log = logging.getLogger(__name__)
_known_buckets = set[tuple[str, str | None]]()


@dataclass(frozen=True)
class Remote:
    """An address under which files are kept, asked again for `retry_s` seconds when it does not answer."""

    uri: str
    retry_s: float

    @property
    def cache(self) -> Path:
        """Where copies lie on this machine."""
        root = Path(os.environ.get("REJOINDER_CACHE") or "~/.cache/rejoinder").expanduser().absolute()
        return root / hashlib.sha256(self.uri.encode()).hexdigest()[:16]

    def address(self, key: str) -> str:
        """Where a file stands, as it is shown."""
        base = addresses.without_options(self.uri).rstrip("/")
        return f"{base}/{key}" if key else base

    def sizes(self, key: str) -> dict[str, int]:
        """Every file under a key, by its name from there on, with its size in bytes."""
        from pyarrow import fs

        def list_them(filesystem: Any, path: str) -> dict[str, int]:
            found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
            names = {entry.path[len(path) + 1 :]: entry.size for entry in found if entry.type == fs.FileType.File}
            return {name: size for name, size in names.items() if not name.rsplit("/", 1)[-1].startswith(".")}

        return self._tried(key, list_them)

    def has(self, key: str) -> bool:
        """Whether a file stands there."""
        from pyarrow import fs

        return self._tried(key, lambda system, path: bool(system.get_file_info(path).type == fs.FileType.File))

    def read(self, key: str) -> bytes | None:
        """The content of a small file; None where there is none."""

        def read_it(filesystem: Any, path: str) -> bytes | None:
            try:
                with filesystem.open_input_file(path) as stream:
                    content: bytes = stream.read()
                    return content
            except FileNotFoundError:
                return None

        return self._tried(key, read_it)

    def download(self, key: str, file: Path) -> str | None:
        """Copies a file here and returns its sha256; None where there is none."""

        def copy(filesystem: Any, path: str) -> str | None:
            try:
                source = filesystem.open_input_file(path)
            except FileNotFoundError:
                return None
            digest = hashlib.sha256()
            with source, disk_errors(file), open(file, "wb") as target:
                size = source.size()
                while block := source.read(BLOCK_BYTES):
                    digest.update(block)
                    target.write(block)
                if target.tell() != size:
                    raise OSError(f"{target.tell():,} of {size:,} bytes came")
            return digest.hexdigest()

        return self._tried(key, copy)

    def upload(self, file: Path, key: str) -> None:
        """Puts a file there; it appears when it is whole."""
        import pyarrow as pa

        def put(filesystem: Any, path: str) -> None:
            is_local = filesystem.type_name == "local"
            target = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}.partial" if is_local else path
            if is_local:
                filesystem.create_dir(os.path.dirname(path))
            # In one call: a stream that an exception closes half-way makes an object of what it has.
            with pa.memory_map(str(file)) if file.stat().st_size else pa.BufferReader(b"") as source:
                content = source.read_buffer()
                with filesystem.open_output_stream(target) as stream:
                    stream.write(content)
            if is_local:
                filesystem.move(target, path)

        self._tried(key, put)

    def remove(self, key: str) -> None:
        """A file, or all that stands under a key. What is not there is gone already."""
        from pyarrow import fs

        def delete(filesystem: Any, path: str) -> None:
            kind = filesystem.get_file_info(path).type
            if kind == fs.FileType.File:
                filesystem.delete_file(path)
            elif kind == fs.FileType.Directory:
                filesystem.delete_dir(path)

        self._tried(key, delete)

    def _tried(self, key: str, action: Callable[[Any, str], Made]) -> Made:
        """Does it, again and again while the address does not answer. Raises StorageError that names the address."""
        started, pause_s, address = time.monotonic(), 0.5, self.address(key)
        base, mark, options = self.uri.partition("?")
        while True:
            try:
                filesystem, path = addresses.filesystem_of(f"{base.rstrip('/')}/{key}{mark}{options}".rstrip("/"))
                self._require_bucket(filesystem, path)
                return action(filesystem, path)
            except ValueError as error:
                raise StorageError(f"{address}: cannot be used ({error}); give s3://, gs:// or a directory") from None
            except OSError as error:
                if error.errno is not None:  # of this machine's disk, or of one that is mounted
                    raise
                if (explained := addresses.refused(error, address)) is not None:
                    raise explained from None
                waited_s = time.monotonic() - started
                if waited_s + pause_s > self.retry_s:
                    raise addresses.unreachable(error, address, waited_s) from None
                log.warning("%s does not answer (%s); trying again", address, addresses.reason_of(error))
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 10.0)

    def _require_bucket(self, filesystem: Any, path: str) -> None:
        """Without one a file is merely not found, and nothing can be written a long way from here. Asked once."""
        from pyarrow import fs

        bucket = path.partition("/")[0]
        if filesystem.type_name == "local" or (bucket, addresses.endpoint()) in _known_buckets:
            return
        if filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
            raise addresses.no_bucket(addresses.without_options(self.uri))
        _known_buckets.add((bucket, addresses.endpoint()))


class RemoteFolder(Folder):
    """A folder at an address. `directory` is its copy on the machine where it is used, whichever that is."""

    def __init__(self, remote: Remote, key: str) -> None:
        super().__init__(remote.cache / key)
        self._remote, self._key = remote, key

    def __reduce__(self) -> Any:
        return RemoteFolder, (self._remote, self._key)  # another node has another cache

    def __str__(self) -> str:
        return self._remote.address(self._key)

    def __truediv__(self, name: str) -> Folder:
        return RemoteFolder(self._remote, f"{self._key}/{name}")

    def has(self, name: str) -> bool:
        return self._remote.has(self._key_of(name))

    def sizes(self) -> dict[str, int]:
        return self._remote.sizes(self._key)

    def path(self, name: str) -> Path:
        file = self.directory / name
        if not file.exists() and self._download(name) is None:
            raise StorageError(f"{self._remote.address(self._key_of(name))}: no such file, though it was made")
        return file

    def read_text(self, name: str) -> str | None:
        content = self._remote.read(self._key_of(name))
        if content is None:
            (self.directory / name).unlink(missing_ok=True)
            return None
        with super().written(name) as file:  # those who read by path find the same
            file.write_bytes(content)
        return content.decode()

    @contextmanager
    def written(self, name: str, *, flush: bool = True) -> Iterator[Path]:
        with super().written(name, flush=flush) as file:
            yield file
        self._remote.upload(self.directory / name, self._key_of(name))

    def fetch(self, sha256s: Mapping[str, str]) -> list[str]:
        with locked(self.directory / "fetching", f"fetching {self}", wait_s=FETCH_WAIT_S):
            wanted = [name for name, sha256 in sha256s.items() if not self._is_checked(name, sha256)]
            with ThreadPoolExecutor(NUM_TRANSFERS) as transfers:
                found = list(transfers.map(self._download, wanted))
            wrong = [name for name, sha256 in zip(wanted, found, strict=True) if sha256 != sha256s[name]]
            for name in set(wanted) - set(wrong):
                self._checked(name).write_text(self._stamp(name, sha256s[name]), encoding="utf-8")
        return wrong

    def publish(self, *names: str, last: str | None = None) -> None:
        first = list[str]()
        for name in names:
            here = self.directory / name
            files = sorted(here.rglob("[!.]*")) if here.is_dir() else [here]
            first += [str(file.relative_to(self.directory)) for file in files if file.is_file()]
        if last is not None:
            first.remove(last)
            self._remote.remove(self._key_of(last))  # what it vouched for is about to change
        with ThreadPoolExecutor(NUM_TRANSFERS) as transfers:
            list(transfers.map(lambda name: self._remote.upload(self.directory / name, self._key_of(name)), first))
        if last is not None:
            self._remote.upload(self.directory / last, self._key_of(last))
        for name in names:
            self._note(name).unlink(missing_ok=True)

    def owe(self, name: str) -> None:
        with disk_errors(self.directory / name):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._note(name).touch()

    def owed(self) -> list[str]:
        noted = (note.name[1:].removesuffix(NOTE) for note in self.directory.glob(f".*{NOTE}"))
        return sorted(name for name in noted if (self.directory / name).is_dir())

    def remove(self, name: str = "") -> None:
        self._remote.remove(self._key_of(name))
        super().remove(name)
        self._note(name).unlink(missing_ok=True)

    def _key_of(self, name: str) -> str:
        return f"{self._key}/{name}".rstrip("/")

    def _download(self, name: str) -> str | None:
        """Brings a file here, in one rename; its sha256, or None where there is none."""
        target = self.directory / name
        partial = target.with_name(f".{target.name}.{os.getpid()}.fetched")
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                sha256 = self._remote.download(self._key_of(name), partial)
                if sha256 is not None:
                    partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return sha256

    def _is_checked(self, name: str, sha256: str) -> bool:
        """Whether the copy has this sha256; a file that was not touched since it was compared is not read again."""
        file, checked = self.directory / name, self._checked(name)
        if not file.exists():
            return False
        stamp = self._stamp(name, sha256)
        if checked.exists() and checked.read_text(encoding="utf-8") == stamp:
            return True
        if sha256_of(file) != sha256:
            return False
        with disk_errors(file):
            checked.write_text(stamp, encoding="utf-8")
        return True

    def _note(self, name: str) -> Path:
        file = self.directory / name
        return file.with_name(f".{file.name}{NOTE}")

    def _checked(self, name: str) -> Path:
        file = self.directory / name
        return file.with_name(f".{file.name}.checked")

    def _stamp(self, name: str, sha256: str) -> str:
        status = (self.directory / name).stat()
        return f"{sha256} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
