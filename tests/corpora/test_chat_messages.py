"""JSON lines of chat messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rejoinder.corpora import BrokenRecord, Conversation, Turn
from rejoinder.corpora.chat_messages import Settings, read


def read_lines(directory: Path, *lines: bytes | object) -> list[Conversation | BrokenRecord]:
    file = directory / "chats.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return list(read(Settings(path=str(file))))


def messages(*contents: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content} for content in contents]} | more


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"messages": [', "Expecting value"),
        (b'{"messages": "\xff"}', "'utf-8' codec can't decode"),
        (["a", "list"], 'the line needs a list "messages"'),
        ({"message": []}, 'the line needs a list "messages"'),
        ({"messages": [{"content": "hi"}]}, 'messages[0] needs a "role" and a "content" of text'),
        ({"messages": [{"role": "", "content": "hi"}]}, 'messages[0] needs a "role"'),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": 1}]},
            'messages[1] needs a "role"',
        ),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0] needs"),
        ({"messages": ["hi"]}, "messages[0] needs"),
        (b"[" * 100_000, "maximum recursion depth"),
    ],
)
def test_a_broken_line_is_named_by_its_number_and_the_next_one_is_read(
    tmp_path: Path, line: object, reason: str
) -> None:
    broken, good = read_lines(tmp_path, line, messages("a", "b"))
    assert isinstance(broken, BrokenRecord)
    assert broken.place == f"{tmp_path}/chats.jsonl:1"
    assert reason in broken.reason
    assert "\n" not in broken.reason
    assert isinstance(good, Conversation)


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    _, broken = read_lines(tmp_path, messages("a", "b"), b"", b"  ", b"{")
    assert broken.place.endswith("chats.jsonl:4")


def test_an_id_names_a_conversation_wherever_it_stands(tmp_path: Path) -> None:
    (conversation,) = read_lines(tmp_path, messages("a", "b", id=17))
    assert conversation == Conversation("17", (Turn("user", "a"), Turn("user", "b")))


def test_without_an_id_the_content_names_it(tmp_path: Path) -> None:
    first, other, same = read_lines(tmp_path, messages("a", "b"), messages("a", "c"), messages("a", "b"))
    assert first.id == same.id != other.id


def test_a_blank_message_is_no_turn(tmp_path: Path) -> None:
    (conversation,) = read_lines(tmp_path, messages("a", " \n", "b"))
    assert [turn.text for turn in conversation.turns] == ["a", "b"]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (conversation,) = read_lines(tmp_path, b"\xef\xbb\xbf" + json.dumps(messages("hi", "ho")).encode())
    assert isinstance(conversation, Conversation)
