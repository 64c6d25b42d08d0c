"""One way to clean, for training and for serving."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.text import clean


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  hello \t\n world ", "hello world"),
        ("a\u00a0b\u3000c", "a b c"),  # a space that does not break, an ideographic one
        ("e\u0301 👩‍👩‍👧 你好", "e\u0301 👩‍👩‍👧 你好"),  # neither accents nor joined emoji are taken apart
        ("\ud83d!", "?!"),  # half an emoji, as JSON can hold it
        (" \n ", ""),
    ],
)
def test_a_turn_is_cleaned(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@given(st.text(st.characters()))
def test_cleaning_twice_is_cleaning_once(raw: str) -> None:
    assert clean(clean(raw)) == clean(raw)


@given(st.text(st.characters()))
def test_clean_text_is_utf8_without_blanks_at_its_ends(raw: str) -> None:
    cleaned = clean(raw)
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned == cleaned.strip()
