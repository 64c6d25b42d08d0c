"""What is known of a public corpus in; its official files out, fetched once, checked by sha256, unpacked.

$REJOINDER_HOME/corpora/NAME/FILE             as it was fetched
$REJOINDER_HOME/corpora/NAME/FILE.partial     while it is fetched; what came is kept and gone on from
$REJOINDER_HOME/corpora/NAME/unpacked/        what a reader needs of an archive
"""

from __future__ import annotations

import http.client
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from ssl import SSLError
from typing import IO

from rejoinder import console
from rejoinder.errors import CorpusError
from rejoinder.storage import disk_errors, locked, sha256_of, written_whole

NUM_ATTEMPTS = 4
"""How often in a row an address may give nothing new before it is given up."""
PAUSE_S, TIMEOUT_S, LOCK_WAIT_S, SECONDS_BETWEEN_LINES = 1.0, 30.0, 3600.0, 5.0
UNPACKED = "unpacked"
_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True)
class OfficialFile:
    """An archive, zip or tar, that can be fetched; pinned to its content."""

    urls: tuple[str, ...]
    """Where it is, the authors' own address first; of the others, the hash says whether they have the same."""
    sha256: str
    num_bytes: int | None
    """None where nobody published it."""
    unpacked: tuple[str, ...]
    """Names, without folders, of what a reader needs of it."""

    @property
    def name(self) -> str:
        """What it is called here."""
        return PurePosixPath(self.urls[0]).name


@dataclass(frozen=True)
class About:
    """What is known of a public corpus."""

    name: str
    """The reader's name, and that of the folder."""
    title: str
    licence: str
    """As its authors state it."""
    citation: str
    """Where it is described."""
    files: tuple[OfficialFile, ...] = ()
    otherwise: str = "fetch them from the authors"
    """What to do where no file has a published hash: the end of a sentence."""


def home() -> Path:
    """The folder of all corpora that were fetched."""
    return Path(os.environ.get("REJOINDER_HOME", "~/.rejoinder")).expanduser().absolute() / "corpora"


def located(path: str | None, about: About) -> str:
    """The path of a reader; without one, the folder of the official files, which are fetched if they are not there."""
    return path or str(official_files(about, home() / about.name)[0].parent)


def official_files(about: About, directory: Path) -> list[Path]:
    """The corpus's files in `directory`: what is not there is fetched, checked and unpacked.

    Raises CorpusError with what to fetch, from where and where to put it, when there is no network, no such file, or
    other content than the hash says; StorageError where another process has been fetching it for an hour.
    """
    if not about.files:
        raise CorpusError(
            f"{about.title} has no official file with a published hash to fetch: {about.otherwise}, then set the "
            f"path of the reader {about.name!r}"
        )
    unpacked = directory / UNPACKED
    there = [unpacked / name for file in about.files for name in file.unpacked]
    if all(file.is_file() for file in there):
        return there
    with locked(directory, f"fetching {about.title}", wait_s=LOCK_WAIT_S), disk_errors(directory):
        if not all(file.is_file() for file in there):  # else another process has just fetched it
            directory.mkdir(parents=True, exist_ok=True)
            for file in about.files:
                _obtain(about, file, directory / file.name)
            with written_whole(unpacked) as filling:
                for file in about.files:
                    _unpack(directory / file.name, file.unpacked, filling)
    return there


def _obtain(about: About, file: OfficialFile, target: Path) -> None:
    if target.is_file():  # put there by hand, or fetched before
        if (found := sha256_of(target)) != file.sha256:
            raise CorpusError(
                f"{target}: its sha256 is {found}, not the {file.sha256} of {about.title}; delete it, and it is "
                f"fetched from {file.urls[0]}"
            )
        return
    reasons = []
    for url in file.urls:
        reason = _fetch(about, file, url, target)
        if reason is None:
            return
        reasons.append(f"{url}: {reason}")
    raise CorpusError(
        f"{about.title} could not be fetched ({'; '.join(reasons)}); fetch {file.urls[0]} (sha256 {file.sha256}) by "
        f"other means and put it at {target}, or set the path of the reader {about.name!r}"
    )


def _fetch(about: About, file: OfficialFile, url: str, target: Path) -> str | None:
    """Fetches the file from one address, going on where it was cut. None when it is whole, else why it is not."""
    unfinished = target.with_name(f"{target.name}.partial")
    reason, most, num_idle = "", _size_of(unfinished), 0
    total = None if file.num_bytes is None else max(1, file.num_bytes // 10**6)
    with console.ProgressLine(f"fetching {about.title}", total, "MB", SECONDS_BETWEEN_LINES) as progress:
        while num_idle < NUM_ATTEMPTS:
            try:
                start = _download(url, unfinished, progress)
            except urllib.error.HTTPError as error:
                reason = f"the server says {error.code} {error.reason}"
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    unfinished.unlink(missing_ok=True)  # what is here is no beginning of what is there
                elif error.code < 500 and error.code not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
                    return reason
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, SSLError) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            else:
                found = sha256_of(unfinished)
                if found == file.sha256:
                    unfinished.replace(target)
                    return None
                unfinished.unlink()
                reason = f"what came has the sha256 {found}, so it is another file; nothing of it was kept"
                if start == 0:
                    return reason
            num_idle = 0 if _size_of(unfinished) > most else num_idle + 1
            most = max(most, _size_of(unfinished))
            if num_idle < NUM_ATTEMPTS:
                time.sleep(PAUSE_S * 2**num_idle)
    return reason


def _download(url: str, unfinished: Path, progress: console.ProgressLine) -> int:
    """Appends what `unfinished` lacks, or writes it anew where the server gives no parts. The first new byte."""
    start = _size_of(unfinished)
    headers = {"User-Agent": "rejoinder"} | ({"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
        start = start if answer.status == HTTPStatus.PARTIAL_CONTENT else 0
        with unfinished.open("ab" if start else "wb") as out:
            done = start
            while block := answer.read(_BLOCK_BYTES):
                out.write(block)
                done += len(block)
                progress.update(done // 10**6)
        length = answer.headers.get("Content-Length")
    if length is not None and done - start < int(length):
        raise ConnectionError(f"the connection was cut after {done - start} of {length} bytes")
    return start


def _size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _unpack(archive: Path, names: Sequence[str], directory: Path) -> None:
    """Takes files out of a zip or tar archive, without its folders."""
    with ExitStack() as stack:
        members: dict[str, Callable[[], IO[bytes] | None]] = {}
        if zipfile.is_zipfile(archive):
            packed = stack.enter_context(zipfile.ZipFile(archive))
            members = {PurePosixPath(name).name: partial(packed.open, name) for name in packed.namelist()}
        else:
            tar = stack.enter_context(tarfile.open(archive))
            members = {PurePosixPath(one.name).name: partial(tar.extractfile, one) for one in tar if one.isfile()}
        for name in names:
            stream = members[name]() if name in members else None
            if stream is None:
                raise CorpusError(f"{archive}: holds no {name}; there are: {', '.join(sorted(members))}")
            with stream, (directory / name).open("wb") as out:
                shutil.copyfileobj(stream, out)
