"""An S3 server in this process (moto, over HTTP), that can go away and come back with all it holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from rejoinder.storage import filesystem_of
from rejoinder.storage.remote import Remote, RemoteFolder

numbers = itertools.count()


class Server:
    """One for all tests, each with a bucket of its own at `uri`."""

    def __init__(self, server: ThreadedMotoServer) -> None:
        self._server, self.port = server, server.get_host_and_port()[1]
        self.url, self.uri = f"http://127.0.0.1:{self.port}", ""

    def files(self) -> dict[str, bytes]:
        """Every object under the prefix, by its name from there on."""
        filesystem, path = filesystem_of(self.uri)
        found = filesystem.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        of = {entry.path for entry in found if entry.type == fs.FileType.File}
        return {name.removeprefix(f"{path}/"): self._read(filesystem, name) for name in sorted(of)}

    def go(self) -> None:
        """Nobody listens any more."""
        self._server.stop()

    def come_back(self) -> None:
        """On the same port, with the same objects."""
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def forget_everyone(self) -> None:
        """From now on no key is right."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"0").raise_for_status()

    @staticmethod
    def _read(filesystem: Any, name: str) -> bytes:
        with filesystem.open_input_file(name) as stream:
            content: bytes = stream.read()
            return content


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    """The server."""
    started = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    started.start()
    server = Server(started)
    yield server
    server.go()


@pytest.fixture
def s3(moto: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """The server with a new bucket; this process and all that it starts may speak to it. An empty cache."""
    moto.uri = f"s3://bucket-{next(numbers)}/some/prefix"
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("REJOINDER_CACHE", str(tmp_path / "cache"))
    maker = fs.S3FileSystem(endpoint_override=moto.url, region="us-east-1", allow_bucket_creation=True)
    maker.create_dir(moto.uri.split("/")[2])
    yield moto
    httpx.post(f"{moto.url}/moto-api/reset-auth", content=b"inf")


@pytest.fixture
def folder(s3: Server) -> RemoteFolder:
    """A folder in the bucket."""
    return RemoteFolder(Remote(s3.uri, retry_s=1.0), "things")
