"""A row's columns to what is to be answered, and why a row cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from rejoinder.corpora import Turn
from rejoinder.replies import Question, question_of


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"text": "hi"}, Question((Turn("user", "hi"),), "assistant")),
        (
            {"turns": ["a", "b", "c"]},
            Question((Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")), "assistant"),
        ),
        ({"turns": ["a", "b"]}, Question((Turn("assistant", "a"), Turn("user", "b")), "assistant")),
        (
            {"turns": [{"speaker": "ann", "text": "hi"}, {"speaker": "bob", "text": "yes?"}]},
            Question((Turn("ann", "hi"), Turn("bob", "yes?")), "ann"),
        ),
        (
            {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}], "text": "no"},
            Question((Turn("user", "hi"),), "assistant", ("Be kind.",)),
        ),
        ({"conversations": [{"from": "human", "value": "hi"}]}, Question((Turn("human", "hi"),), "assistant")),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, Question((Turn("assistant", "hi"),), "user")),
        ({"messages": None, "text": "hi"}, Question((Turn("user", "hi"),), "assistant")),
    ],
)  # fmt: skip
def test_the_forms_that_people_write(row: dict[str, Any], question: Question) -> None:
    assert question_of(row) == question


def test_a_column_may_be_named() -> None:
    assert question_of({"text": "no", "prompt": "hi"}, "prompt").turns == (Turn("user", "hi"),)


@pytest.mark.parametrize(
    ("row", "column", "says"),
    [
        ({"a": 1}, None, "no column of messages, conversations, turns, text; there are: 'a'"),
        ({}, None, "there are: none"),
        ({"text": "hi"}, "prompt", "nothing in column 'prompt'; there are: 'text'"),
        ({"text": 7}, None, "column 'text' holds a int, where a text or a list of turns is needed"),
        ({"turns": []}, None, "column 'turns' holds nothing"),
        ({"text": " \n"}, None, "column 'text' holds nothing to reply to: every turn is empty"),
        ({"messages": [{"role": "system", "content": "x"}]}, None, "holds nothing to reply to"),
        ({"messages": [{"role": "user"}]}, None, r"messages\[0\] is an object with 'role', where an object with"),
        ({"turns": ["a", 1]}, None, r"turns\[0\] is a str, where an object with \"role\" and \"content\" or"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row: dict[str, Any], column: str | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        question_of(row, column)
