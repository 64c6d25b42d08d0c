"""What is learnt from and what is measured on: no leaks, no duplicates, no reply too often."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rejoinder.corpora import Conversation, Piece, Turn
from rejoinder.errors import CorpusError
from rejoinder.recipe import Recipe
from rejoinder.shards import gather
from rejoinder.shards.gathered import Gathered
from rejoinder.shards.selection import Selection, select
from rejoinder.storage import Folder
from rejoinder.text import SPLITS

MakeRecipe = Callable[..., Recipe]
ROWS = [  # (id, split, what is said)
    ("a", "train", ["How are you?", "Fine!"]),
    ("b", "train", ["how ARE you", "fine"]),  # the same but for case and marks
    ("c", "train", ["Is it late?", "Yes."]),
    ("d", "valid", ["Is it late?", "Yes."]),
    ("e", "train", ["Who is it?", "Me."]),
    ("f", "test", ["Who is it?", "Me."]),
    ("g", "valid", ["who is it", "me"]),
    ("h", "train", ["😀", "😀"]),
    ("i", "train", ["🎉", "🎉"]),  # other emoji are other words
]


@dataclass
class Found:
    """What was selected."""

    gathered: Gathered
    selection: Selection

    @property
    def kept(self) -> dict[str, str]:
        """The ids of kept conversations, and their splits."""
        ids = [id for _, rows in self.gathered.rows(self.numbers, ["id"]) for id in rows["id"].to_pylist()]
        return {id: SPLITS[self.gathered.splits[number]] for id, number in zip(ids, self.numbers, strict=True)}

    @property
    def numbers(self) -> Any:
        return np.flatnonzero(self.selection.is_kept)

    @property
    def skipped(self) -> dict[str, list[int]]:
        """The turns of each kept conversation that are not learnt."""
        offsets = self.gathered.turn_offsets
        turns = [self.selection.is_skipped[offsets[n] : offsets[n + 1]] for n in self.numbers]
        return {id: np.flatnonzero(of).tolist() for id, of in zip(self.kept, turns, strict=True)}


@pytest.fixture
def selected(make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Found]:
    """`selected("data.on_leak=warn")`: what is kept of ROWS, gathered in two pieces."""
    number = count()

    def run(*words: str, rows: list[Any] = ROWS) -> Found:
        conversations = [
            Conversation(id, tuple(Turn("ab"[number % 2], text) for number, text in enumerate(said)), split)
            for id, split, said in rows
        ]
        middle = len(conversations) // 2
        parts = [conversations[:middle], conversations[middle:]]
        folder, recipe = Folder(tmp_path / str(next(number))), make_recipe(*words)
        records = []
        for piece, part in enumerate(parts):
            monkeypatch.setattr(gather, "read_piece", lambda *_, part=part: iter(part))
            records.append(gather.gather(folder, piece, Piece(0), recipe))
        gathered = Gathered(folder, [record.num_conversations for record in records], [0, 0])
        return Found(gathered, select(gathered, recipe.data))

    return run


def test_leaks_go_from_training_and_duplicates_go_from_their_split(selected: Callable[..., Found]) -> None:
    found = selected()
    assert found.kept == {"a": "train", "d": "valid", "f": "test", "h": "train", "i": "train"}
    assert found.selection.left_out["leaks between splits"] == 3
    assert found.selection.left_out["duplicates within a split"] == 1
    assert found.selection.examples["leaks between splits"][0] == "c (train, also in valid): Is it late?"


def test_leaks_can_be_left_in_and_counted(selected: Callable[..., Found]) -> None:
    found = selected("data.on_leak=warn", "data.on_duplicate=keep")
    assert len(found.kept) == len(ROWS)
    assert found.selection.left_in["leaks between splits"] == 3
    assert found.selection.left_in["duplicates within a split"] == 1
    assert not any(found.selection.left_out.values())


def test_leaks_can_be_refused(selected: Callable[..., Found]) -> None:
    with pytest.raises(CorpusError, match=r"conversation c of the train split stands in the valid split too"):
        selected("data.on_leak=refuse")


def test_an_official_split_is_respected_and_a_hash_decides_the_rest(selected: Callable[..., Found]) -> None:
    rows = [(f"id {number}", None, [f"question {number}", "answer"]) for number in range(200)]
    rows.append(("official", "test", ["mine", "yours"]))
    kept = selected(rows=rows).kept
    assert kept["official"] == "test"
    assert set(kept.values()) == {"train", "valid", "test"}


def test_a_reply_is_learnt_so_often_and_stays_context_after(selected: Callable[..., Found]) -> None:
    rows = [(f"id {number}", "train", [f"question {number}", "I don't know!"]) for number in range(5)]
    found = selected("data.max_same_reply=2", rows=rows)
    assert list(found.skipped.values()) == [[], [], [1], [1], [1]]
    assert found.selection.left_out["replies that were learnt often enough"] == 3


def test_what_is_held_out_is_learnt_from_nowhere_whatever_was_cleaned_away(selected: Callable[..., Found]) -> None:
    rows = [("a", "train", ["see <b>this</b>", "ok"]), ("b", "test", ["see this", "ok"])]
    assert set(selected("text.cleaning=[html]", rows=rows).kept) == {"b"}
    assert set(selected(rows=rows).kept) == {"a", "b"}


TALK = "I went to the market on Saturday morning and bought three kilos of very good apples for my mother"
NEARLY = TALK.replace("three", "four")


def test_nearly_the_same_conversation_is_a_leak_and_a_duplicate_where_it_is_asked_for(
    selected: Callable[..., Found],
) -> None:
    rows = [
        ("a", "train", [TALK, "How nice of you, she must have been happy about that"]),
        ("b", "train", [NEARLY, "How nice of you, she must have been happy about that"]),
        ("c", "train", ["Something quite different from all the others", "Yes"]),
        ("d", "train", [TALK + " again", "Is the market still open on Saturdays in the winter months?"]),
        ("e", "valid", [NEARLY + " again", "Is the market still open on Saturdays in the winter months?"]),
    ]
    assert set(selected(rows=rows).kept) == set("abcde")
    found = selected("data.near_duplicate_similarity=0.7", rows=rows)
    assert set(found.kept) == set("ace")
    assert found.selection.left_out["leaks between splits"] == 0
    assert found.selection.left_out["near leaks between splits"] == 1
    assert found.selection.left_out["near duplicates within a split"] == 1


def test_an_exchange_that_was_learnt_already_can_be_left_to_be_context(selected: Callable[..., Found]) -> None:
    rows = [
        ("a", "train", ["Hi", "Hello", "Late?", "Yes"]),
        ("b", "train", ["hi!", "hello!", "Who?", "Me"]),
        ("c", "test", ["What?", "Late?", "yes"]),
    ]
    kept = selected(rows=rows)
    assert kept.skipped == {"a": [], "b": [], "c": []}
    assert kept.selection.left_in["exchanges that stand in their split already"] == 1
    assert kept.selection.left_in["exchanges that also stand in a held-out split"] == 1
    dropped = selected("data.on_duplicate_exchange=drop", rows=rows)
    assert dropped.skipped == {"a": [3], "b": [1], "c": []}
    nearly = [
        ("a", "train", ["What did you do?", TALK, "Where is that market, and what else do they sell there?"]),
        ("b", "train", ["What did you do?", NEARLY, "I had no idea that you like to cook so much, tell me more"]),
        ("c", "train", [TALK, "What did you do?"]),  # the same words the other way round
    ]
    both = ("data.on_duplicate_exchange=drop", "data.near_duplicate_similarity=0.7")
    assert selected(*both, rows=nearly).skipped == {"a": [], "b": [1], "c": []}


def test_a_filter_leaves_out_a_reply_or_a_conversation(selected: Callable[..., Found]) -> None:
    rows = [
        ("a", "train", ["Where?", "There", "no no no no", "Oh"]),
        ("b", "train", ["no no no no", "Why?"]),
        ("c", "valid", ["Who?", "Me"]),
    ]
    assert selected("text.filters=[{name: length, max_words: 3}]", rows=rows).skipped == {"a": [2], "b": [], "c": []}
    whole = selected("text.filters=[{name: length, max_words: 3, what: conversation}]", rows=rows)
    assert set(whole.kept) == {"c"}


def test_shards_are_cut_at_whole_conversations(selected: Callable[..., Found]) -> None:
    rows = [(f"id {number}", "train", [f"question {number}", "a", "b"]) for number in range(7)]
    found = selected(rows=rows)
    assert [len(block) for block in found.selection.blocks(found.gathered, 0, 5)] == [3, 3, 1]
    assert [len(block) for block in found.selection.blocks(found.gathered, 0, 1)] == [1] * 7
    assert found.selection.blocks(found.gathered, 1, 5) == []


def test_dailydialogs_official_test_split_is_found_in_its_training_split(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dailydialog"
    if not data.is_dir():
        pytest.skip("the DailyDialog archives are not at hand (../shared/data/dailydialog)")
    recipe = make_recipe(f"data.corpora=[{json.dumps({'name': 'daily_dialog', 'path': str(data)})}]")
    record = gather.gather(Folder(tmp_path), 0, Piece(0), recipe)
    gathered = Gathered(Folder(tmp_path), [record.num_conversations], [0])
    selection = select(gathered, recipe.data)
    assert selection.left_out["leaks between splits"] >= 93 + 69
    is_train = gathered.splits == 0
    held_out = set(gathered.keys[selection.is_kept & ~is_train].tolist())
    assert not held_out & set(gathered.keys[selection.is_kept & is_train].tolist())
