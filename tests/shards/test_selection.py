"""What is learnt from and what is measured on: no leaks, no duplicates, no reply too often."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rejoinder.corpora import Conversation, ReadReport, Turn
from rejoinder.errors import CorpusError
from rejoinder.recipe import Recipe
from rejoinder.shards import selection
from rejoinder.shards.selection import Selected, SelectionReport, select

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


@pytest.fixture
def selected(make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`selected("data.on_leak=warn")`: what is kept of ROWS, and the report."""

    def run(*words: str, rows: list[Any] = ROWS) -> tuple[dict[str, Selected], SelectionReport]:
        conversations = [
            Conversation(id, tuple(Turn("ab"[number % 2], text) for number, text in enumerate(said)), split)
            for id, split, said in rows
        ]
        monkeypatch.setattr(selection, "read_corpora", lambda *_: iter(conversations))
        report = SelectionReport()
        return {one.conversation.id: one for one in select(make_recipe(*words), ReadReport(), report)}, report

    return run


def test_leaks_go_from_training_and_duplicates_go_from_their_split(selected: Callable[..., Any]) -> None:
    kept, report = selected()
    assert {id: one.split for id, one in kept.items()} == {
        "a": "train", "d": "valid", "f": "test", "h": "train", "i": "train",
    }  # fmt: skip
    assert (report.num_leaks, report.num_duplicates) == (3, 1)
    assert report.examples["leak"][0] == "c (train, also in valid): Is it late?"


def test_leaks_can_be_left_in_and_counted(selected: Callable[..., Any]) -> None:
    kept, report = selected("data.on_leak=warn", "data.on_duplicate=keep")
    assert len(kept) == len(ROWS)
    assert (report.num_leaks, report.num_duplicates) == (3, 0)


def test_leaks_can_be_refused(selected: Callable[..., Any]) -> None:
    with pytest.raises(CorpusError, match=r"conversation c of the train split stands in the valid split too"):
        selected("data.on_leak=refuse")


def test_an_official_split_is_respected_and_a_hash_decides_the_rest(selected: Callable[..., Any]) -> None:
    rows = [(f"id {number}", None, [f"question {number}", "answer"]) for number in range(200)]
    rows.append(("official", "test", ["mine", "yours"]))
    kept, _ = selected(rows=rows)
    assert kept["official"].split == "test"
    assert {one.split for one in kept.values()} == {"train", "valid", "test"}


def test_a_reply_is_learnt_so_often_and_stays_context_after(selected: Callable[..., Any]) -> None:
    rows = [(f"id {number}", "train", [f"question {number}", "I don't know!"]) for number in range(5)]
    kept, report = selected("data.max_same_reply=2", rows=rows)
    assert [sorted(one.skipped) for one in kept.values()] == [[], [], [1], [1], [1]]
    assert report.num_capped_replies == 3


def test_what_is_held_out_is_learnt_from_nowhere_whatever_was_cleaned_away(selected: Callable[..., Any]) -> None:
    rows = [
        ("a", "train", ["see <b>this</b>", "ok"]),
        ("b", "test", ["see this", "ok"]),
    ]
    assert set(selected("text.cleaning=[html]", rows=rows)[0]) == {"b"}
    assert set(selected(rows=rows)[0]) == {"a", "b"}


def test_dailydialogs_official_test_split_is_found_in_its_training_split(make_recipe: MakeRecipe) -> None:
    data = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dailydialog"
    if not data.is_dir():
        pytest.skip("the DailyDialog archives are not at hand (../shared/data/dailydialog)")
    recipe = make_recipe(f"data.corpora=[{json.dumps({'name': 'daily_dialog', 'path': str(data)})}]")
    report = SelectionReport()
    kept = list(select(recipe, ReadReport(), report))
    held_out = {selection.fingerprint_of(one.conversation, recipe) for one in kept if one.split != "train"}
    assert report.num_leaks >= 93 + 69
    assert all(
        selection.fingerprint_of(one.conversation, recipe) not in held_out for one in kept if one.split == "train"
    )
