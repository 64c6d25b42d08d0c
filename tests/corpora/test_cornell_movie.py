"""The Cornell Movie-Dialogs Corpus' files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rejoinder.corpora import BrokenRecord, Conversation
from rejoinder.corpora.cornell_movie import CONVERSATIONS, LINES, TITLES, Settings, read, sample


def add(file: Path, line: bytes) -> None:
    file.write_bytes(file.read_bytes() + line + b"\n")


def test_the_official_zip_is_read_as_it_is(tmp_path: Path) -> None:
    _, conversations = sample(tmp_path)
    with zipfile.ZipFile(tmp_path / "official.zip", "w") as archive:
        for name in (LINES, CONVERSATIONS, TITLES):
            archive.write(tmp_path / name, f"cornell movie-dialogs corpus/{name}")
            archive.writestr(f"__MACOSX/cornell movie-dialogs corpus/._{name}", b"\0")
    assert list(read(Settings(path=str(tmp_path / "official.zip")))) == conversations


def test_a_copy_in_utf8_is_read_the_same(tmp_path: Path) -> None:
    settings, conversations = sample(tmp_path)
    for name in (LINES, TITLES):
        (tmp_path / name).write_text((tmp_path / name).read_bytes().decode("cp1252"), encoding="utf-8", newline="")
    assert list(read(settings)) == conversations


def test_a_byte_without_a_meaning_in_cp1252_is_taken_as_latin_1(tmp_path: Path) -> None:
    settings, _ = sample(tmp_path)
    file = tmp_path / LINES
    file.write_bytes(file.read_bytes().replace(b"They do to!", b"\x93They\x94 \x8d do \xe9"))
    conversation = next(read(settings))
    assert isinstance(conversation, Conversation)
    assert conversation.turns[1].text == "“They” \x8d do é"


def test_without_titles_the_films_id_is_the_note(tmp_path: Path) -> None:
    settings, _ = sample(tmp_path)
    (tmp_path / TITLES).unlink()
    assert [record.notes for record in read(settings) if isinstance(record, Conversation)] == [
        (("movie", "m0"),),
        (("movie", "m0"),),
        (("movie", "m1"),),
    ]


@pytest.mark.parametrize(
    ("file", "line", "sentence"),
    [
        (CONVERSATIONS, b"u1 +++$+++ u2 +++$+++ m0 +++$+++ ['L1', 'L99']", ":4: line 'L99' is not in movie_lines.txt"),
        (CONVERSATIONS, b"u1 +++$+++ u2 +++$+++ m0 +++$+++ ['L1', 'L", ":4: \"['L1', 'L\" is no list of line ids"),
        (CONVERSATIONS, b"u1 +++$+++ u2 +++$+++ m0 +++$+++ []", ":4: '[]' is no list of line ids"),
        (CONVERSATIONS, b"u1 +++$+++ u2 +++$+++ m0", ":4: 3 fields parted by +++$+++ where 4 are needed"),
        (LINES, b"L9 +++$+++ u2 +++$+++ m0 +++$+++ CAM", ":7: 4 fields parted by +++$+++ where 5 are needed"),
        (TITLES, b"m1 +++$+++ heat", ":2: 2 fields parted by +++$+++ where 6 are needed"),
    ],
)
def test_a_broken_line_is_named_and_all_others_are_read(tmp_path: Path, file: str, line: bytes, sentence: str) -> None:
    settings, conversations = sample(tmp_path)
    add(tmp_path / file, line)
    records = list(read(settings))
    assert [str(record) for record in records if isinstance(record, BrokenRecord)] == [f"{tmp_path / file}{sentence}"]
    assert [record for record in records if isinstance(record, Conversation)] == conversations


def test_a_text_may_hold_the_separator(tmp_path: Path) -> None:
    settings, _ = sample(tmp_path)
    add(tmp_path / LINES, b"L7 +++$+++ u1 +++$+++ m0 +++$+++ A +++$+++ one +++$+++ two")
    add(tmp_path / CONVERSATIONS, b"u1 +++$+++ u2 +++$+++ m0 +++$+++ ['L7', 'L2']")
    *_, last = read(settings)
    assert isinstance(last, Conversation)
    assert last.turns[0].text == "one +++$+++ two"
