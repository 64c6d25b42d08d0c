"""Readers of line-based corpora: what breaks a record, and what goes with it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from rejoinder.corpora import (
    BrokenRecord,
    Conversation,
    empathetic_dialogues,
    parallel_text,
    persona_chat,
    plain_text,
    ubuntu_dialogue,
)
from rejoinder.errors import CorpusError


def records(reader: ModuleType, directory: Path, text: str | bytes, name: str = "talk", **more: object) -> list[object]:
    (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(reader.read(reader.Settings(path=str(directory / name), **more)))


def told(found: list[object]) -> list[object]:
    """Texts of conversations; the places of broken records after the file's name."""
    return [
        [turn.text for turn in record.turns] if isinstance(record, Conversation) else str(record).split("talk", 1)[1]
        for record in found
    ]


class TestPlainText:
    def test_a_broken_line_takes_its_block_with_it(self, tmp_path: Path) -> None:
        one, broken, two = told(records(plain_text, tmp_path, b"a\nb\n\nc\n\xff\nd\n\n\ne\nf"))
        assert (one, two) == (["a", "b"], ["e", "f"])
        assert broken.startswith(":5: byte 0xff")

    def test_another_encoding_is_a_setting(self, tmp_path: Path) -> None:
        (only,) = told(records(plain_text, tmp_path, "é\nß".encode("cp1252"), encoding="cp1252"))
        assert only == ["é", "ß"]

    def test_a_conversation_does_not_go_on_in_the_next_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a\nb")
        (tmp_path / "b").write_text("c\nd")
        assert told(list(plain_text.read(plain_text.Settings(path=str(tmp_path))))) == [["a", "b"], ["c", "d"]]


class TestParallelText:
    def read(self, directory: Path, contexts: bytes, replies: bytes) -> list[object]:
        (directory / "replies").write_bytes(replies)
        return records(parallel_text, directory, contexts, reply_path=str(directory / "replies"))

    def test_an_empty_line_leaves_a_conversation_of_fewer_turns_and_the_rest_aligned(self, tmp_path: Path) -> None:
        assert told(self.read(tmp_path, b"a\n\n\nd\n", b"\nB\n\nD\n")) == [["a"], ["B"], [], ["d", "D"]]

    def test_a_wrong_byte_in_either_file_is_named_and_the_rest_aligned(self, tmp_path: Path) -> None:
        one, two, three = self.read(tmp_path, b"\xff\nb\nc\n", b"A\n\xff\nC\n")
        assert str(one).startswith(f"{tmp_path}/talk:1: byte 0xff")
        assert str(two).startswith(f"{tmp_path}/replies:2: byte 0xff")
        assert isinstance(three, Conversation)

    @pytest.mark.parametrize(("contexts", "replies"), [(3, 5), (5, 3), (0, 1)])
    def test_unequal_lengths_are_refused_with_both_counts(self, tmp_path: Path, contexts: int, replies: int) -> None:
        sentence = f"^{tmp_path}/talk: {contexts} lines, but {tmp_path}/replies has {replies}; line n of one must"
        with pytest.raises(CorpusError, match=sentence):
            self.read(tmp_path, b"a\n" * contexts, b"b\n" * replies)


class TestPersonaChat:
    def test_candidates_are_kept_where_that_is_asked_for(self, tmp_path: Path) -> None:
        settings, _ = persona_chat.sample(tmp_path)
        first = next(persona_chat.read(settings.model_copy(update={"keep_candidates": True})))
        assert isinstance(first, Conversation)
        assert dict(first.notes)["candidates:3"] == "two dogs .|three cats ."
        assert first.turns[3].text == "three cats ."

    @pytest.mark.parametrize(
        ("lines", "sentence"),
        [
            ("1 a\tb\n3 c\td", ":2: number 3 where 2 must follow"),
            ("4 c\td\n5 e\tf", ":1: number 4 where 2 must follow"),
            ("1 a\tb\n2 c", ":2: needs what the partner says, a tab, and the reply"),
            ("1 a\tb\nc\td\n2 e\tf", ":2: the line begins without its number in the conversation"),
        ],
    )
    def test_a_broken_line_takes_its_conversation_with_it_and_is_named_once(
        self, tmp_path: Path, lines: str, sentence: str
    ) -> None:
        found = told(records(persona_chat, tmp_path, f"1 x\ty\n{lines}\n1 v\tw\n"))
        number, reason = sentence[1:].split(":", 1)
        assert found[-1] == ["v", "w"]
        assert f":{int(number) + 1}:{reason}" in found
        assert sum(isinstance(record, str) for record in found) == 1


class TestEmpatheticDialogues:
    def test_a_broken_row_takes_its_conversation_with_it(self, tmp_path: Path) -> None:
        rows = "c1,1,sad,it,0,a,,\nc1,x,sad,it,1,b,,\nc1,3,sad,it,0,c,,\nc2,1,sad,it,0,d,,\nc2,2,sad,it,1,e\n"
        broken, good = told(records(empathetic_dialogues, tmp_path, rows))
        assert broken.startswith(":2: needs conv_id, utterance_idx (a number)")
        assert good == ["d", "e"]

    def test_a_row_that_was_cut_short_is_named(self, tmp_path: Path) -> None:
        good, broken = told(records(empathetic_dialogues, tmp_path, "c1,1,sad,it,0,a,,\nc2,1,sa"))
        assert good == ["a"]
        assert broken.startswith(":2: needs")


class TestUbuntuDialogue:
    def test_without_labels_the_ground_truth_was_said(self, tmp_path: Path) -> None:
        text = "Context,Ground Truth Utterance,Distractor_0\nhi __eou__ all __eou__ __eot__,hello __eou__,no __eou__\n"
        (conversation,) = records(ubuntu_dialogue, tmp_path, text, "valid.csv")
        assert isinstance(conversation, Conversation)
        assert ([turn.text for turn in conversation.turns], conversation.split) == (["hi all", "hello"], "valid")

    def test_a_label_that_is_neither_is_broken(self, tmp_path: Path) -> None:
        found = told(records(ubuntu_dialogue, tmp_path, "Context,Utterance,Label\na,b,1.0\nc,d,2\ne,f,0\n"))
        assert found == [["a", "b"], ":3: the label is '2'; it must be 1 or 0"]

    def test_other_columns_are_listed(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"talk: needs the columns .*; there are: 'context', 'reply'"):
            records(ubuntu_dialogue, tmp_path, "context,reply\na,b\n")


def test_the_split_comes_from_the_name_inside_an_archive_too(tmp_path: Path) -> None:
    import zipfile

    settings, (conversation,) = ubuntu_dialogue.sample(tmp_path)
    with zipfile.ZipFile(tmp_path / "ubuntu.zip", "w") as archive:
        archive.write(settings.path, "data/train.csv")
        archive.write(settings.path, "data/test.csv")
    found = list(ubuntu_dialogue.read(ubuntu_dialogue.Settings(path=f"{tmp_path}/ubuntu.zip!data/*.csv")))
    assert [record.split for record in found if not isinstance(record, BrokenRecord)] == ["test", "train"]
    assert {record.id for record in found if isinstance(record, Conversation)} == {conversation.id}
