"""The real corpora beside the checkout, where they are: what was counted in them is what is read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rejoinder.corpora import BrokenRecord, Conversation, ReadReport, cornell_movie, daily_dialog, pairs, read_corpora

Records = list[Conversation | BrokenRecord]


@pytest.fixture(scope="module")
def dailydialog(shared_data: Path) -> Records:
    """All of DailyDialog."""
    return list(daily_dialog.read(daily_dialog.Settings(path=str(shared_data / "dailydialog"))))


def test_dailydialog_is_whole(dailydialog: Records) -> None:
    assert not [record for record in dailydialog if isinstance(record, BrokenRecord)]
    assert Counter(record.split for record in dailydialog) == {"train": 11_118, "valid": 1_000, "test": 1_000}
    assert sum(len(record.turns) for record in dailydialog) == 102_979
    said = {(record.split, *((turn.speaker, turn.text) for turn in record.turns)) for record in dailydialog}
    assert len({record.id for record in dailydialog}) == len(said) == 12_540


def test_dailydialogs_acts_and_emotions_stand_by_their_turns(dailydialog: Records) -> None:
    assert all(len(dict(record.notes)["acts"].split()) == len(record.turns) for record in dailydialog)
    emotions = Counter(turn.emotion for record in dailydialog for turn in record.turns)
    assert set(emotions) == set(daily_dialog.EMOTIONS.values())
    assert emotions["happiness"] == 12_885  # table 6 of the paper


def test_dailydialogs_stray_mark_parts_no_turn(dailydialog: Records) -> None:
    (bicycle,) = [record for record in dailydialog if record.turns[0].text.endswith("stop at this bicycle shop ?")]
    assert len(bicycle.turns) == 11
    assert bicycle.turns[4].text.endswith("as well . I've been using Jim's old bike but he needs it back .")
    assert bicycle.turns[5].text == "Let's go then ."


def test_dailydialogs_leak_shows_in_the_names(dailydialog: Records) -> None:
    """The part of a name after the split is the hash of what is said."""
    said = {split: set() for split in ("train", "valid", "test")}
    for record in dailydialog:
        said[record.split].add(record.id.split("/")[2])
    assert len(said["test"] & said["train"]) > 80
    assert len(said["valid"] & said["train"]) > 60


def test_a_part_of_dailydialog_has_the_names_that_it_has_in_the_whole(dailydialog: Records, shared_data: Path) -> None:
    alone = daily_dialog.read(daily_dialog.Settings(path=str(shared_data / "dailydialog"), splits=("test",)))
    assert [record.id for record in alone] == [record.id for record in dailydialog if record.split == "test"]


def test_cornells_share_is_whole(shared_data: Path) -> None:
    """None is broken. Two lines have no text, and leave one conversation with one turn."""
    report = ReadReport()
    corpus = cornell_movie.Settings(path=str(shared_data / "cornell"))
    conversations = list(read_corpora([corpus], 0, report))
    assert (report.num_conversations, report.num_unanswered, report.num_broken) == (6_522, 1, 0)
    assert report.num_turns == 28_586 - 2 - 1
    assert conversations[0].turns[0].speaker == "BIANCA"
    assert dict(conversations[0].notes)["movie"] == "10 things i hate about you"


def test_cornells_titles_are_cp1252(shared_data: Path) -> None:
    corpus = cornell_movie.Settings(path=str(shared_data / "cornell"))
    titles = (shared_data / "cornell" / cornell_movie.TITLES).read_bytes()
    with pytest.raises(UnicodeDecodeError):
        titles.decode()
    assert not [record for record in cornell_movie.read(corpus) if isinstance(record, BrokenRecord)]


def test_cornells_pairs_are_whole(shared_data: Path) -> None:
    file = shared_data / "cornell" / "pairs_merged.tsv.xz"
    corpus = pairs.Settings(path=str(file), header=False, context_column=1, reply_column=2)
    report, distinct, ids = ReadReport(), set(), set()
    for pair in read_corpora([corpus], 0, report):
        distinct.add(pair.turns)
        ids.add(pair.id)
    assert (report.num_broken, report.num_unanswered) == (0, 171)
    assert report.num_conversations == 130_393 - 171
    assert len(distinct) == len(ids)
    assert 127_888 - 171 <= len(distinct) <= 127_888
