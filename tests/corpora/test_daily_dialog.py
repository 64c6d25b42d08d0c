"""DailyDialog's files, packed and unpacked."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from rejoinder.corpora import BrokenRecord, Conversation
from rejoinder.corpora.daily_dialog import Settings, files, read, sample
from rejoinder.errors import CorpusError


def test_a_zip_and_what_was_in_it_read_the_same(tmp_path: Path) -> None:
    settings, conversations = sample(tmp_path)
    with zipfile.ZipFile(tmp_path / "train.zip") as archive:
        archive.extractall(tmp_path)
    (tmp_path / "train.zip").unlink()
    assert list(read(settings)) == conversations
    assert [Path(file).name for file in files(settings)][:2] == ["dialogues_train.txt", "dialogues_act_train.txt"]


def test_acts_and_emotions_may_be_missing(tmp_path: Path) -> None:
    settings, _ = sample(tmp_path)
    for kind in ("act", "emotion"):
        (tmp_path / "test" / f"dialogues_{kind}_test.txt").unlink()
    conversation = list(read(settings))[-1]
    assert isinstance(conversation, Conversation)
    assert conversation.notes == ()
    assert [turn.emotion for turn in conversation.turns] == [None, None]


def test_a_topic_is_found_by_the_text(tmp_path: Path) -> None:
    settings, _ = sample(tmp_path)
    (tmp_path / "dialogues_text.txt").write_text(
        "Bye . __eou__\nHi , Kathy .  __eou__ Do you like traveling ? __eou__ \n"
    )
    (tmp_path / "dialogues_topic.txt").write_text("1\n6\n")
    assert [dict(record.notes)["topic"] for record in read(settings) if isinstance(record, Conversation)] == [
        "Tourism",
        "Tourism",
    ]
    assert Path(settings.path, "dialogues_topic.txt") in files(settings)


@pytest.mark.parametrize(
    ("file", "line", "sentence"),
    [
        ("dialogues_test.txt", "Hi . __eou__ Bye", "dialogues_test.txt:2: the last turn does not end with __eou__"),
        ("dialogues_test.txt", "Hi . __eou__", "dialogues_act_test.txt has 2 numbers for them"),
        ("dialogues_act_test.txt", "1", "dialogues_test.txt:2: 2 turns, but "),
        ("dialogues_act_test.txt", "1 5", "dialogues_act_test.txt has '5' for a turn; there are: 1, 2, 3, 4"),
        ("dialogues_emotion_test.txt", "0 7", "dialogues_emotion_test.txt has '7' for a turn"),
        ("dialogues_emotion_test.txt", "0 \xff", "dialogues_emotion_test.txt:2: byte 0xff"),
    ],
)
def test_a_dialogue_that_does_not_align_is_broken_and_the_next_is_read(
    tmp_path: Path, file: str, line: str, sentence: str
) -> None:
    settings, _ = sample(tmp_path)
    for other in (tmp_path / "test").iterdir():
        first = other.read_bytes()
        other.write_bytes(first + (line.encode("latin-1") + b"\n" if other.name == file else first) + first)
    *_, before, broken, after = read(settings)
    assert isinstance(broken, BrokenRecord)
    assert sentence in str(broken)
    assert isinstance(before, Conversation)
    assert isinstance(after, Conversation)
    assert after == before


def test_a_file_that_ends_early_is_named(tmp_path: Path) -> None:
    settings, _ = sample(tmp_path)
    (tmp_path / "test" / "dialogues_act_test.txt").write_text("")
    *_, broken = read(settings)
    file = tmp_path / "test" / "dialogues_act_test.txt"
    assert str(broken) == f"{file}: ends before {tmp_path}/test/dialogues_test.txt does, so the two cannot be aligned"


def test_a_split_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    sample(tmp_path)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(CorpusError, match=r"validation\.zip.*: no such file"):
        list(read(Settings(path=str(tmp_path))))
    with pytest.raises(ValidationError):
        Settings(path=str(tmp_path), splits=())
