"""Official files: fetched once from a real server, resumed, checked, unpacked; and what is said when that fails."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from rejoinder import catalog
from rejoinder.corpora import downloads, pieces
from rejoinder.corpora.downloads import About, OfficialFile, official_files
from rejoinder.errors import CorpusError, StorageError
from rejoinder.storage import locked

TALK = b"1 hi\tho\n" + bytes(range(256)) * 2_000


@cache
def zipped(more: int = 0) -> bytes:
    """An archive, with so many other bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("corpus/talk.txt", TALK)
        archive.writestr("__MACOSX/corpus/._talk.txt", b"left there" + bytes(more))
    return stream.getvalue()


@dataclass
class Server:
    """What a server does with the one file it has, and what it was asked for."""

    content: bytes
    gives_parts: bool = True
    cut_after: list[int] = field(default_factory=list)
    """Of the first answers, how many bytes are sent before the connection is cut."""
    errors: list[int] = field(default_factory=list)
    """The first answers' error codes."""
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts a server at 127.0.0.1; pauses between attempts are left out."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads, "PAUSE_S", 0)
    started = []

    def start(content: bytes, **more: object) -> Server:
        server = Server(content, **more)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                server.asked.append(asked)
                if server.errors:
                    self.send_error(server.errors.pop(0))
                    return
                begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.gives_parts else 0
                if begin >= len(server.content):
                    self.send_error(416)
                    return
                body = server.content[begin:]
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after else body)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        started.append(listening)
        server.url = f"http://127.0.0.1:{listening.server_port}/corpus.zip"
        return server

    yield start
    for listening in started:
        listening.shutdown()
        listening.server_close()


def about(*urls: str, content: bytes | None = None, names: tuple[str, ...] = ("talk.txt",)) -> About:
    content = zipped() if content is None else content
    file = OfficialFile(urls, hashlib.sha256(content).hexdigest(), len(content), names)
    return About("talk", "the Talk Corpus", "MIT", "https://example.org", (file,))


def test_a_file_is_fetched_checked_and_unpacked_once(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(zipped())
    (file,) = official_files(about(server.url), tmp_path / "talk")
    assert file == tmp_path / "talk" / "unpacked" / "talk.txt"
    assert file.read_bytes() == TALK
    assert official_files(about(server.url), tmp_path / "talk") == [file]
    assert server.asked == [None]
    assert sorted(entry.name for entry in (tmp_path / "talk").iterdir()) == ["corpus.zip", "unpacked"]


def test_a_tar_archive_is_unpacked_too(tmp_path: Path, serve: Callable[..., Server]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in (("./a/train.csv", TALK), ("./a/../../outside.csv", b"outside"), ("./a/other", b"")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = stream.getvalue()
    wanted = about(serve(content).url, content=content, names=("train.csv", "outside.csv"))
    found = official_files(wanted, tmp_path / "talk")
    assert [file.read_bytes() for file in found] == [TALK, b"outside"]
    assert all(file.parent == tmp_path / "talk" / "unpacked" for file in found)


def test_a_connection_that_is_cut_is_gone_on_from(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(zipped(), cut_after=[100_000, 1, 200_000])
    assert official_files(about(server.url), tmp_path / "talk")
    assert server.asked == [None, "bytes=100000-", "bytes=100001-", "bytes=300001-"]


def test_what_an_earlier_process_left_is_gone_on_from(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(zipped())
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "corpus.zip.partial").write_bytes(zipped()[:5_000])
    assert official_files(about(server.url), tmp_path / "talk")
    assert server.asked == ["bytes=5000-"]


@pytest.mark.parametrize("left", [b"x" * 5_000, zipped(), zipped() + b"x"], ids=["other", "all of it", "more"])
def test_what_was_left_and_is_no_beginning_of_the_file_is_fetched_anew(
    tmp_path: Path, serve: Callable[..., Server], left: bytes
) -> None:
    server = serve(zipped())
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "corpus.zip.partial").write_bytes(left)
    (file,) = official_files(about(server.url), tmp_path / "talk")
    assert file.read_bytes() == TALK
    assert server.asked == [f"bytes={len(left)}-", None]


def test_a_server_that_gives_no_parts_is_asked_from_the_beginning(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(zipped(), gives_parts=False, cut_after=[1_000])
    (file,) = official_files(about(server.url), tmp_path / "talk")
    assert file.read_bytes() == TALK
    assert server.asked == [None, "bytes=1000-"]


def test_a_server_that_is_busy_is_asked_again(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(zipped(), errors=[503, 429, 500])
    assert official_files(about(server.url), tmp_path / "talk")
    assert len(server.asked) == 4


def test_wrong_bytes_are_named_by_their_hash_and_nothing_is_kept(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(b"an error page")
    found, wanted = hashlib.sha256(b"an error page").hexdigest(), hashlib.sha256(zipped()).hexdigest()
    sentence = (
        f"^the Talk Corpus could not be fetched .*sha256 {found}, so it is another file; nothing of it was kept.*"
        f"fetch {server.url} .sha256 {wanted}. by other means and put it at {tmp_path}/talk/corpus.zip"
    )
    with pytest.raises(CorpusError, match=sentence):
        official_files(about(server.url), tmp_path / "talk")
    assert not list((tmp_path / "talk").iterdir())


@pytest.mark.parametrize("broken", [{"errors": [404] * 9}, {"content": b"gone"}, {"cut_after": [0] * 9}])
def test_a_second_address_is_asked_when_the_first_fails(
    tmp_path: Path, serve: Callable[..., Server], broken: dict[str, object]
) -> None:
    first, second = serve(**{"content": zipped()} | broken), serve(zipped())
    assert official_files(about(first.url, second.url), tmp_path / "talk")
    assert len(first.asked) == (downloads.NUM_ATTEMPTS if "cut_after" in broken else 1)
    assert second.asked == [None]


def test_without_a_network_it_is_said_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PAUSE_S", 0)
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, but nobody listens
        wanted = about(f"http://127.0.0.1:{nobody.getsockname()[1]}/corpus.zip")
        with pytest.raises(CorpusError, match=r"Connection refused.*; fetch http.*corpus\.zip \(sha256 ") as error:
            official_files(wanted, tmp_path / "talk")
        assert f"put it at {tmp_path}/talk/corpus.zip, or set the path of the reader 'talk'" in str(error.value)
        (tmp_path / "talk" / "corpus.zip").write_bytes(zipped())
        (file,) = official_files(wanted, tmp_path / "talk")
    assert file.read_bytes() == TALK


def test_what_was_put_there_by_hand_is_checked(tmp_path: Path) -> None:
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "corpus.zip").write_bytes(b"something")
    with pytest.raises(CorpusError, match=f"^{tmp_path}/talk/corpus.zip: its sha256 is {'[0-9a-f]' * 64}, not the"):
        official_files(about("http://127.0.0.1:1/corpus.zip"), tmp_path / "talk")


def test_an_archive_without_the_file_is_named(tmp_path: Path, serve: Callable[..., Server]) -> None:
    wanted = about(serve(zipped()).url, names=("talk.txt", "other.txt"))
    with pytest.raises(CorpusError, match=r"corpus\.zip: holds no other\.txt; there are: \._talk\.txt, talk\.txt"):
        official_files(wanted, tmp_path / "talk")
    assert not (tmp_path / "talk" / "unpacked").exists()


def test_two_at_once_fetch_it_once(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(zipped())
    found: list[list[Path]] = []
    both = [
        threading.Thread(target=lambda: found.append(official_files(about(server.url), tmp_path / "talk")))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(found) == 2
    assert server.asked == [None]


def test_a_lock_that_is_never_let_go_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "LOCK_WAIT_S", 0)
    with (
        locked(tmp_path / "talk", "testing"),
        pytest.raises(StorageError, match="fetching the Talk Corpus is already being done by process"),
    ):
        official_files(about("http://127.0.0.1:1/corpus.zip"), tmp_path / "talk")


def test_progress_is_said(
    tmp_path: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SECONDS_BETWEEN_LINES", 0)
    content = zipped(more=3_000_000)
    official_files(about(serve(content).url, content=content), tmp_path / "talk")
    assert "fetching the Talk Corpus: 1/3 MB" in capsys.readouterr().out


READERS = [catalog.pick("rejoinder.corpora", name) for name in catalog.names("rejoinder.corpora")]
PUBLIC = [reader for reader in READERS if hasattr(reader, "ABOUT")]


@pytest.mark.parametrize("reader", PUBLIC, ids=lambda reader: reader.ABOUT.name)
def test_every_public_corpus_says_what_it_is(reader: ModuleType) -> None:
    what = reader.ABOUT
    assert reader.__name__.endswith(f".{what.name}")
    assert all((what.title, what.licence, what.citation.startswith("https://")))
    assert reader.Settings.model_fields["path"].default is None
    for file in what.files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.unpacked
        assert all(url.startswith(("https://", "http://")) and url.endswith(file.name) for url in file.urls)


@pytest.mark.parametrize("reader", [reader for reader in PUBLIC if reader.ABOUT.files], ids=lambda one: one.ABOUT.name)
def test_without_a_path_a_reader_reads_the_official_files(
    reader: ModuleType, tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sample stands in for them."""
    (tmp_path / "sample").mkdir()
    settings, conversations = reader.sample(tmp_path / "sample")
    stream = io.BytesIO()
    names = [path.name for path in Path(tmp_path / "sample").iterdir() if path.is_file()]
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.write(tmp_path / "sample" / name, f"corpus/{name}")
    content = stream.getvalue()
    file = OfficialFile((serve(content).url,), hashlib.sha256(content).hexdigest(), None, tuple(names))
    monkeypatch.setattr(reader, "ABOUT", replace(reader.ABOUT, files=(file,)))
    monkeypatch.setenv("REJOINDER_HOME", str(tmp_path / "home"))
    official = settings.model_copy(update={"path": None})
    if reader.ABOUT.name == "daily_dialog":  # its sample of the test split is no file, but a folder
        official, conversations = official.model_copy(update={"splits": ("train",)}), conversations[:1]
    found = reader.files(official)
    assert all(path.is_relative_to(tmp_path / "home" / "corpora" / reader.ABOUT.name) for path in found)
    assert list(reader.read(official)) == conversations
    assert [record for piece in pieces([official], 100) for record in reader.read(official, piece)] == conversations


def test_a_corpus_without_a_published_hash_says_what_to_do() -> None:
    reader = catalog.pick("rejoinder.corpora", "ubuntu_dialogue")
    sentence = (
        r"^the Ubuntu Dialogue Corpus has no official file .*: make train\.csv, .*, then set the path of the reader"
    )
    with pytest.raises(CorpusError, match=sentence):
        reader.files(reader.Settings())
