"""A path as people write it in, open files out: a file, a pattern, a folder, a zip member, packed or not, near or far.

talks.jsonl                 one file; .gz, .bz2, .xz and .zst are unpacked on the way
talks/*.jsonl.gz            a pattern: its files in the order of their names; `**` goes down into folders
talks                       a folder: its files in the order of their names, but those that begin with . or _
talks.zip                   a zip archive's only member
talks.zip!part-*.txt        the members of that name or pattern
s3://bucket/talks.jsonl     an object, or all in a "folder", through pyarrow.fs (as gs:// and file:// are)
"""

from __future__ import annotations

import bz2
import fnmatch
import glob
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any

from rejoinder.errors import CorpusError
from rejoinder.storage import filesystem_of


@dataclass(frozen=True, slots=True)
class Source:
    """Something to read from the beginning to the end. Its text is the place that messages name."""

    file: str
    """An absolute path or an address such as s3://bucket/key."""
    member: str | None = None
    """The member of the zip archive that `file` is."""
    start: int | None = None
    """Of a cut source, the byte from which records that begin are read; None: the first."""
    stop: int | None = None
    """The byte from which records that begin are another piece's; None: none."""

    def __str__(self) -> str:
        return self.file if self.member is None else f"{self.file}!{self.member}"

    @property
    def name(self) -> str:
        """The last part, with its suffixes."""
        return PurePosixPath(self.member or self.file).name


def files_of(path: str) -> list[Path | str]:
    """The real files behind a path, for hashing: of zip members the archive; a remote one as its address.

    A plain path is given back though nothing may be there. Raises CorpusError for a pattern or folder without files.
    """
    file, _ = _split(path)
    if "://" in file:
        return [*_remote_files(file)]
    there = Path(file)
    if there.is_dir():
        found: list[Path | str] = [
            entry for entry in sorted(there.iterdir()) if entry.is_file() and _is_shown(entry.name)
        ]
        if not found:
            raise CorpusError(f"{file}: the folder holds no file to read")
        return found
    if there.exists() or not glob.has_magic(file):
        return [there]
    found = [Path(match) for match in sorted(glob.glob(file, recursive=True)) if Path(match).is_file()]
    if not found:
        raise CorpusError(f"{file}: no file matches this pattern")
    return found


def sources(path: str) -> list[Source]:
    """What there is to read behind a path, in reading order. Raises CorpusError where that is nothing."""
    _, pattern = _split(path)
    found: list[Source] = []
    for file in map(str, files_of(path)):
        if pattern is None and not file.endswith(".zip"):
            found.append(Source(file))
            continue
        members = members_of(file)
        chosen = members if pattern is None else [name for name in members if fnmatch.fnmatchcase(name, pattern)]
        if not chosen or (pattern is None and len(chosen) > 1):
            wanted = "say which member to read" if pattern is None else f"no member is called {pattern!r}"
            raise CorpusError(f"{file}: {wanted}, as ARCHIVE.zip!MEMBER; there are: {', '.join(members) or 'none'}")
        found += [Source(file, name) for name in chosen]
    return found


def cut(source: Source, max_bytes: int) -> list[Source]:
    """The source in ranges of at most `max_bytes`, or as it is where one cannot begin in its middle.

    That is so of packed files, members of archives and addresses. Nothing of the file is read.
    """
    file = Path(source.file)
    if source.member is not None or "://" in source.file or file.suffix in _UNPACKERS or not file.is_file():
        return [source]
    num_bytes = file.stat().st_size
    num_ranges = max(1, -(-num_bytes // max_bytes))
    bounds = [None, *(num_bytes * number // num_ranges for number in range(1, num_ranges)), None]
    return [replace(source, start=start, stop=stop) for start, stop in pairwise(bounds)]


def members_of(archive: str) -> list[str]:
    """The files in a zip archive, sorted; without those that a Mac or a packer left there."""
    with _damage_is_said(archive), _open(archive) as stream, zipfile.ZipFile(stream) as packed:
        names = sorted(name for name in packed.namelist() if not name.endswith("/"))
    return [name for name in names if all(_is_shown(part) for part in PurePosixPath(name).parts)]


@contextmanager
def opened(source: Source) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a source. Raises CorpusError, also while they are read, where it is missing or damaged."""
    with _damage_is_said(str(source)), ExitStack() as stack:
        stream: Any = stack.enter_context(_open(source.file))
        if source.member is not None:
            archive = stack.enter_context(zipfile.ZipFile(stream))
            try:
                stream = stack.enter_context(archive.open(source.member))
            except (KeyError, RuntimeError) as error:  # not there; a password or a compression that Python lacks
                raise CorpusError(f"{source}: {' '.join(map(str, error.args))}") from None
        unpack = _UNPACKERS.get(PurePosixPath(source.name).suffix)
        if unpack is not None:
            stream = stack.enter_context(unpack(stream))
        yield stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, 1 << 16)


def sha256_of_remote(address: str) -> str:
    """Hexadecimal sha256 of what stands at an address. Raises CorpusError where nothing does."""
    digest, size = hashlib.sha256(), 0
    with _damage_is_said(address), _open(address) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    if size == 0:
        raise CorpusError(f"{address}: the file is empty; there is nothing to learn from")
    return digest.hexdigest()


def _split(path: str) -> tuple[str, str | None]:
    file, mark, member = path.partition(".zip!")
    return (file + ".zip", member) if mark else (path, None)


def _is_shown(name: str) -> bool:
    return not name.startswith((".", "_"))


def _open(file: str) -> Any:
    if "://" not in file:
        return open(file, "rb")
    filesystem, path = _filesystem(file)
    return filesystem.open_input_file(path)


def _remote_files(address: str) -> list[str]:
    from pyarrow import fs

    with _damage_is_said(address):
        filesystem, path = _filesystem(address)
        if filesystem.get_file_info(path).type != fs.FileType.Directory:
            return [address]
        entries = filesystem.get_file_info(fs.FileSelector(path))
    root = address.rstrip("/")
    names = sorted(entry.base_name for entry in entries if entry.type == fs.FileType.File)
    return [f"{root}/{name}" for name in names if _is_shown(name)]


def _filesystem(address: str) -> tuple[Any, str]:
    try:
        return filesystem_of(address)
    except ValueError as error:
        raise CorpusError(f"{address}: cannot be read from ({error})") from None


def _zstandard(stream: Any) -> Any:
    import pyarrow as pa  # which has the decoder; Python's own comes with 3.14

    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")


_UNPACKERS: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstandard,
}


@contextmanager
def _damage_is_said(place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise CorpusError(f"{place}: no such file") from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError) as error:
        reason = " ".join(str(error).split())
        raise CorpusError(f"{place}: damaged, cut short or not to be read ({reason}); fetch it again") from None
