"""What counts as the same words."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.shards.keys import key_of, key_of_turns, said_in


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I don't know!", b"i don t know"),
        ("  A_b--C9 ", b"a b c9"),
        ("STRASSE, Straße", b"strasse strasse"),
        ("你好,世界!", "你好 世界".encode()),
        ("😀", "😀".encode()),  # no word, so that it is compared as it stands
        ("?!", b"?!"),
        ("", b""),
    ],
)
def test_case_and_punctuation_are_not_said(text: str, said: bytes) -> None:
    assert said_in(text) == said


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_way_for_ascii_is_the_long_way(text: str) -> None:
    assert said_in(text) == (re.sub(r"[\W_]+", " ", text.casefold()).strip() or text).encode()


def test_keys_are_stable_from_run_to_run() -> None:
    """They stand in files that another process goes on with."""
    assert key_of(b"fine") == hashlib.blake2b(b"fine", digest_size=8).digest()
    assert key_of_turns([key_of(b"a"), key_of(b"b")]) != key_of_turns([key_of(b"b"), key_of(b"a")])
