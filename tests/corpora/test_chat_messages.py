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
        (b'{"messages": "\xff"}', "byte 0xff at position 15 of the line is no utf-8 text"),
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
    assert first.id != other.id
    assert same == first


def test_a_blank_message_is_no_turn(tmp_path: Path) -> None:
    (conversation,) = read_lines(tmp_path, messages("a", " \n", "b"))
    assert [turn.text for turn in conversation.turns] == ["a", "b"]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (conversation,) = read_lines(tmp_path, b"\xef\xbb\xbf" + json.dumps(messages("hi", "ho")).encode())
    assert isinstance(conversation, Conversation)


SHAREGPT = {
    "id": "s1",
    "conversations": [
        {"from": "system", "value": "Be kind."},
        {"from": "human", "value": "hi"},
        {"from": "gpt", "value": "hello"},
    ],
}


def test_sharegpts_form_is_read_and_its_broken_lines_are_named_in_its_words(tmp_path: Path) -> None:
    good, broken = read_lines(tmp_path, SHAREGPT, {"conversations": [{"from": "gpt", "content": "hi"}]})
    assert isinstance(good, Conversation)
    assert good.turns == (Turn("human", "hi"), Turn("gpt", "hello"))
    assert isinstance(broken, BrokenRecord)
    assert broken.reason == 'conversations[0] needs a "from" and a "value" of text'


def test_a_system_message_is_a_note_or_where_that_is_asked_for_a_turn(tmp_path: Path) -> None:
    (noted,) = read_lines(tmp_path, SHAREGPT)
    (said,) = read(Settings(path=f"{tmp_path}/chats.jsonl", keep_system=True))
    assert isinstance(noted, Conversation)
    assert noted.notes == (("system", "Be kind."),)
    assert isinstance(said, Conversation)
    assert said.turns == (Turn("system", "Be kind."), *noted.turns)
    assert said.notes == ()


def test_a_name_that_comes_from_the_content_is_the_same_with_and_without_system_turns(tmp_path: Path) -> None:
    unnamed = {key: value for key, value in SHAREGPT.items() if key != "id"}
    other = {"conversations": [{"from": "system", "value": "Be rude."}, *SHAREGPT["conversations"][1:]]}
    first, second = read_lines(tmp_path, unnamed, other)
    kept = list(read(Settings(path=f"{tmp_path}/chats.jsonl", keep_system=True)))
    assert [record.id for record in kept] == [first.id, second.id]
    assert first.id != second.id
