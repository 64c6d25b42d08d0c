"""Paths as people write them: packed, patterns, folders, zip members, addresses; and what is wrong with a file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from rejoinder.corpora import fingerprints
from rejoinder.corpora.files import files_of, sources
from rejoinder.corpora.lines import lines
from rejoinder.corpora.plain_text import Settings
from rejoinder.errors import CorpusError
from rejoinder.storage import sha256_of

CONTENT = "hello\nhi\n\n什么?\nwhat?\n".encode()
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: bytes(pa.compress(content, codec="zstd", asbytes=True)),
}


def content_of(path: object) -> bytes:
    return b"".join(line.content + b"\n" for line in lines(str(path)))


def archive(file: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name.replace("__", "/"), content)
    return file


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_is_unpacked(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"talk.txt{suffix}"
    file.write_bytes(PACKERS[suffix](CONTENT))
    assert content_of(file) == CONTENT
    assert files_of(str(file)) == [file]


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_packed_file_that_was_cut_short_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    file = tmp_path / f"talk.txt{suffix}"
    whole = PACKERS[suffix](os.urandom(300_000).hex().encode())
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CorpusError, match=f"^{file}: damaged, cut short or not to be read .*; fetch it again$"):
        content_of(file)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_that_only_calls_itself_packed_is_named(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"talk.txt{suffix}"
    file.write_bytes(CONTENT)
    with pytest.raises(CorpusError, match=f"^{file}: damaged"):
        content_of(file)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_zip_archive_that_was_cut_short_is_named(tmp_path: Path, share: float) -> None:
    file = archive(tmp_path / "talk.zip", talk=os.urandom(100_000))
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(CorpusError, match=f"^{file}: damaged"):
        content_of(file)


def test_a_zip_member_that_is_damaged_is_named(tmp_path: Path) -> None:
    file = archive(tmp_path / "talk.zip", talk=CONTENT * 100)
    content = bytearray(file.read_bytes())
    content[60] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(CorpusError, match=f"^{file}!talk: damaged"):
        content_of(file)


def test_the_only_member_of_an_archive_needs_no_name(tmp_path: Path) -> None:
    file = archive(tmp_path / "talk.zip", talks__talk=CONTENT, **{"__MACOSX__._talk": b"left there", ".hidden": b""})
    assert content_of(file) == CONTENT


def test_one_of_several_members_must_be_named_and_may_be_packed_itself(tmp_path: Path) -> None:
    file = archive(tmp_path / "t.zip", **{"b.txt": b"b\n", "a.txt": b"a\n", "c.txt.gz": gzip.compress(b"c\n")})
    with pytest.raises(CorpusError, match=r"t\.zip: say which member .* there are: a\.txt, b\.txt, c\.txt\.gz$"):
        content_of(file)
    with pytest.raises(CorpusError, match=r"t\.zip: no member is called 'd\.txt', .* there are: a\.txt"):
        content_of(f"{file}!d.txt")
    assert content_of(f"{file}!b.txt") == b"b\n"
    assert content_of(f"{file}!c.txt.gz") == b"c\n"
    assert content_of(f"{file}!*.txt") == b"a\nb\n"
    assert files_of(f"{file}!b.txt") == [file]


def test_an_archive_with_a_password_is_named(tmp_path: Path) -> None:
    file = archive(tmp_path / "t.zip", talk=CONTENT)
    content = file.read_bytes()
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the bit that says "encrypted", in both headers
        place = content.index(mark) + offset
        content = content[:place] + bytes([content[place] | 1]) + content[place + 1 :]
    file.write_bytes(content)
    with pytest.raises(CorpusError, match=r"t\.zip!talk: .*password required"):
        content_of(file)


def test_a_pattern_is_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.csv"):
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.txt").write_text("d.txt\n")
    assert content_of(tmp_path / "*.txt") == b"a.txt\nb.txt\n"
    assert files_of(str(tmp_path / "*.txt")) == [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert content_of(tmp_path / "**" / "*.txt") == b"a.txt\nb.txt\nd.txt\n"


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"\*\.txt: no file matches this pattern"):
        fingerprints([Settings(path=str(tmp_path / "*.txt"))])


def test_a_name_with_a_bracket_is_a_name_where_there_is_such_a_file(tmp_path: Path) -> None:
    (tmp_path / "talk[1].txt").write_bytes(CONTENT)
    assert content_of(tmp_path / "talk[1].txt") == CONTENT


def test_a_folder_is_its_files_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "_SUCCESS"):
        (tmp_path / name).write_text(f"{name}\n")
    assert content_of(tmp_path) == b"a\nb\n"
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="empty: the folder holds no file to read"):
        files_of(str(tmp_path / "empty"))


def test_an_address_is_read_and_hashed_where_it_stands(tmp_path: Path) -> None:
    """`file://` goes the way of `s3://`."""
    file = tmp_path / "talk.txt.gz"
    file.write_bytes(gzip.compress(CONTENT))
    archive(tmp_path / "talk.zip", talk=CONTENT)
    settings = Settings(path=f"file://{file}")
    assert files_of(settings.path) == [f"file://{file}"]
    assert content_of(settings.path) == CONTENT
    assert content_of(f"file://{tmp_path}/talk.zip") == CONTENT
    assert [str(source) for source in sources(f"file://{tmp_path}")] == [
        f"file://{file}",
        f"file://{tmp_path}/talk.zip!talk",
    ]
    expected = {"corpus": 0, "reader": "plain_text", "file": f"file://{file}", "sha256": sha256_of(file)}
    assert fingerprints([settings]) == [expected]


def test_an_address_with_nothing_behind_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"^file:.*nothing\.txt: no such file"):
        fingerprints([Settings(path=f"file://{tmp_path}/nothing.txt")])
    (tmp_path / "empty.txt").touch()
    with pytest.raises(CorpusError, match=r"^file:.*empty\.txt: the file is empty"):
        fingerprints([Settings(path=f"file://{tmp_path}/empty.txt")])
    with pytest.raises(CorpusError, match=r"^nowhere://bucket/key: cannot be read from"):
        fingerprints([Settings(path="nowhere://bucket/key")])


def test_every_file_loses_its_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbfhi\r\nho\r\n")
    assert content_of(tmp_path) == b"hi\nho\nhi\nho\n"


def test_what_has_no_lines_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rejoinder.corpora.lines.MAX_LINE_BYTES", 100)
    (tmp_path / "blob").write_bytes(b"short\n" + b"x" * 101)
    with pytest.raises(CorpusError, match="blob:2: a line of more than"):
        content_of(tmp_path / "blob")
