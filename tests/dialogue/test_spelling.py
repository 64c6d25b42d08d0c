"""Tokens in, certain text out."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rejoinder.decoding import TokenLogprob
from rejoinder.dialogue.spelling import Spelling, SpeltLogprob, spelt
from rejoinder.text import END_ID, Tokenizer


def cut(text: str, stop: tuple[str, ...]) -> str:
    """The definition: before the first stop text."""
    return text[: min([place for one in stop if (place := text.find(one)) >= 0], default=len(text))]


@given(st.text("abX ", max_size=12), st.lists(st.text("abX ", min_size=1, max_size=4), max_size=3))
def test_a_reply_ends_before_the_first_stop_text_however_tokens_fall(
    tokenizer: Tokenizer, text: str, stop: list[str]
) -> None:
    spelling, pieces = Spelling(tokenizer, stop), list[str]()
    for id in tokenizer.to_ids(text):
        pieces.append(spelling.add(id))
        if spelling.has_stopped:
            break
        assert not any(one in "".join(pieces) for one in stop), "no stop text is ever given out"
    pieces.append(spelling.end())
    assert "".join(pieces) == cut(text.lstrip(), tuple(stop))
    assert Spelling(tokenizer, stop).whole(tokenizer.to_ids(text)) == "".join(pieces)


@pytest.mark.parametrize("stop", [("\n",), ("🙂",), ("Qv🙂x", "v"), ("never",)])
def test_a_character_is_never_split_and_a_stop_text_may_be_one(tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
    text = "Qv🙂 fine\nyes 你"
    spelling = Spelling(tokenizer, stop)
    pieces = [spelling.add(id) for id in tokenizer.to_ids(text)]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join([*pieces, spelling.end()]) == cut(text, stop)


def test_what_could_begin_a_stop_text_is_held_back_until_it_is_certain(tokenizer: Tokenizer) -> None:
    spelling = Spelling(tokenizer, ["QvX"])
    assert [spelling.add(id) for id in tokenizer.to_ids("QvQvZ")] == ["", "", "Qv", "", "QvZ"]
    assert not spelling.has_stopped
    assert spelling.num_tokens == 5


def test_what_is_held_back_at_the_end_is_given(tokenizer: Tokenizer) -> None:
    assert Spelling(tokenizer, ["QvX"]).whole(tokenizer.to_ids("aQv")) == "aQv"


def test_nothing_but_blanks_is_nothing(tokenizer: Tokenizer) -> None:
    spelling = Spelling(tokenizer)
    assert spelling.whole(tokenizer.to_ids("  \n")) == ""
    assert spelling.is_empty


def test_log_probabilities_are_of_tokens_as_texts(tokenizer: Tokenizer) -> None:
    (q,) = tokenizer.to_ids("Q")
    first_byte = tokenizer.to_ids("🙂")[0]
    told = spelt(TokenLogprob(q, -0.5, ((q, -0.5), (END_ID, -1.0), (first_byte, -2.0))), tokenizer)
    assert told == SpeltLogprob("Q", -0.5, (("Q", -0.5), ("<end>", -1.0), ("\ufffd", -2.0)))
