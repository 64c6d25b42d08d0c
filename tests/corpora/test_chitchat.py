"""The real chitchat-dataset package."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rejoinder.corpora import BrokenRecord, Conversation, ReadReport, fingerprints, read_corpora
from rejoinder.corpora.chitchat import Settings, files, read
from rejoinder.errors import CorpusError


def test_the_package_is_what_its_authors_say() -> None:
    (file,) = files(Settings())
    records = json.loads(file.read_text(encoding="utf-8"))
    assert len(records) == 7_168
    assert sum(len(record["messages"]) for record in records.values()) == 138_737


def test_the_whole_package_is_read() -> None:
    """What falls away: 12 turns of white space, and 3,151 conversations of one turn, which nobody answered."""
    report = ReadReport()
    conversations = list(read_corpora([Settings()], 0, report))
    assert len({conversation.id for conversation in conversations}) == report.num_conversations
    assert (report.num_conversations, report.num_unanswered) == (4_017, 3_151)
    assert report.num_turns == 138_737 - 12 - 3_151


def test_prompts_and_ratings_are_notes() -> None:
    """4 of 6,929 prompts are empty."""
    kinds = Counter(kind for record in read(Settings()) for kind, _ in record.notes)
    assert kinds == {"prompt": 6_925, "rating:witty": 5_988, "rating:upbeat": 5_988, "rating:interesting": 5_988}


def test_without_a_path_the_installed_package_is_hashed() -> None:
    (record,) = fingerprints([Settings()])
    assert record["file"].endswith("chitchat_dataset/dataset.json")


def test_a_missing_package_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CorpusError, match="`pip install chitchat-dataset`"):
        files(Settings())


def test_a_broken_record_is_named_by_its_key_and_the_next_one_is_read(tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    turn = [{"text": "hi", "sender": "a"}]
    broken_ones = {"b1": {}, "b2": {"messages": [[{"text": "hi"}]]}, "b3": [], "b4": {"messages": [[{"text": 1}]]}}
    file.write_text(json.dumps(broken_ones | {"good": {"messages": [turn, turn]}}))
    *broken, good = read(Settings(path=str(file)))
    assert [record.place for record in broken] == [f"{file}: record {key!r}" for key in broken_ones]
    assert all(isinstance(record, BrokenRecord) for record in broken)
    assert isinstance(good, Conversation)


def test_another_json_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(CorpusError, match=r"dataset\.json: holds a list instead of conversations by key; wrong file\?"):
        list(read(Settings(path=str(tmp_path / "dataset.json"))))


def test_a_file_that_was_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"c1": {"messages": [')
    with pytest.raises(CorpusError, match=r"dataset\.json: not a JSON file of UTF-8 text .*cut short"):
        list(read(Settings(path=str(tmp_path / "dataset.json"))))
