"""Many corpora as one stream, with broken and unanswered records counted."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from rejoinder.corpora import ReadReport, read_corpora
from rejoinder.corpora.chat_messages import Settings as ChatMessages
from rejoinder.corpora.made_up import Settings as MadeUp
from rejoinder.errors import CorpusError

GOOD = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]})
ALONE = json.dumps({"messages": [{"role": "user", "content": "anybody?"}, {"role": "assistant", "content": " "}]})


def chats(directory: Path, *lines: str) -> ChatMessages:
    (directory / "chats.jsonl").write_text("\n".join(lines))
    return ChatMessages(path=str(directory / "chats.jsonl"))


def test_corpora_follow_each_other(tmp_path: Path) -> None:
    report = ReadReport()
    corpora = [chats(tmp_path, GOOD), MadeUp(num_conversations=2)]
    conversations = list(read_corpora(corpora, 0, report))
    assert [conversation.id for conversation in conversations][1:] == ["made_up/0/0", "made_up/0/1"]
    assert report.num_conversations == 3
    assert report.num_turns == sum(len(conversation.turns) for conversation in conversations)


def test_broken_records_are_skipped_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = ReadReport()
    corpus = chats(tmp_path, "{", GOOD, "[]")
    with caplog.at_level(logging.WARNING):
        assert len(list(read_corpora([corpus], 2, report))) == 1
    assert report.num_broken == 2
    assert [place.split(": ")[0] for place in report.first_broken] == [f"{corpus.path}:1", f"{corpus.path}:3"]
    assert f"{corpus.path}:3" in caplog.text


def test_one_broken_record_too_many_refuses_the_corpus(tmp_path: Path) -> None:
    corpus = chats(tmp_path, "{", GOOD, "[]", GOOD)
    sentence = rf"^{corpus.path}:3: .*2 broken records were met, more than data.max_broken_lines = 1"
    with pytest.raises(CorpusError, match=sentence):
        list(read_corpora([corpus], 1, ReadReport()))


def test_the_limit_is_for_each_corpus(tmp_path: Path) -> None:
    corpus, report = chats(tmp_path, "{", GOOD), ReadReport()
    list(read_corpora([corpus, corpus], 1, report))
    assert report.num_broken == 2


def test_only_the_first_broken_records_are_kept(tmp_path: Path) -> None:
    report = ReadReport()
    list(read_corpora([chats(tmp_path, *"{" * 50, GOOD)], 50, report))
    assert (report.num_broken, len(report.first_broken)) == (50, 10)


def test_a_conversation_that_nobody_answered_is_passed_over_and_counted(tmp_path: Path) -> None:
    report = ReadReport()
    assert len(list(read_corpora([chats(tmp_path, ALONE, GOOD)], 0, report))) == 1
    assert (report.num_unanswered, report.num_conversations, report.num_turns) == (1, 1, 2)


def test_a_corpus_without_a_conversation_is_refused(tmp_path: Path) -> None:
    corpus = chats(tmp_path, ALONE)
    with pytest.raises(CorpusError, match=rf"'chat_messages' \({corpus.path}\) holds no conversation"):
        list(read_corpora([corpus], 0, ReadReport()))
