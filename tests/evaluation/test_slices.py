"""Every exchange is in one slice of each kind, the right one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rejoinder.evaluation.answers import drawn
from rejoinder.evaluation.slices import MAX_NAMES, OTHERS, Slicing, slicings
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID, OTHER_ID, PERSONA_ID, SELF_ID, SPEAKER_ID, Exchange, Tokenizer


def exchange(tokenizer: Tokenizer, context: list[tuple[int, str]], num_reply_tokens: int = 3) -> Exchange:
    """A context from control tokens, each with a text, and some reply."""
    ids = [id for control, text in context for id in (control, *tokenizer.to_ids(text))]
    return Exchange(ids, [*tokenizer.to_ids("a" * 50)[:1] * (num_reply_tokens - 1), END_ID], num_reply_tokens)


@pytest.fixture
def found(tokenizer: Tokenizer, write_set: Callable[..., Path], tmp_path: Path) -> dict[str, list[str]]:
    """The slice of each of four exchanges, by kind."""
    told = exchange(tokenizer, [(SPEAKER_ID, "ann"), (PERSONA_ID, "i like cats"), (OTHER_ID, "hi")], 5)
    asked = exchange(tokenizer, [(OTHER_ID, "hi"), (SELF_ID, "hello"), (OTHER_ID, "how are you")], 6)
    first = exchange(tokenizer, [(OTHER_ID, "hi"), (OTHER_ID, "anyone?")], 11)
    named = exchange(tokenizer, [(SPEAKER_ID, "bob"), (SELF_ID, "hm"), (OTHER_ID, "what")] + [(SELF_ID, "no")] * 3, 30)
    rows = [(told, "1"), (asked, "1"), (first, "2"), (named, "3")]
    made = write_set(tmp_path / "set", {"train": [], "valid": [], "test": [rows[:3], rows[3:]]})
    parted = slicings(ShardSet(made, "test"))
    return {of.kind: [of.names[place] for place in of.slice_N] for of in parted}


def test_an_exchange_is_where_it_belongs(found: dict[str, list[str]]) -> None:
    assert found == {
        "corpus": ["corpus 0"] * 4,
        "turns of context": ["1 turn", "3 to 4 turns", "2 turns", "5 or more turns"],
        "tokens of the person's reply": ["1 to 5 tokens", "6 to 10 tokens", "11 to 20 tokens", "21 or more tokens"],
        "speaker": ["ann", "speaks again", "speaks first", "bob"],
    }


def test_a_real_set_is_parted_without_rest(prepared_set: Path) -> None:
    test_set = ShardSet(prepared_set, "test")
    for of in slicings(test_set):
        assert len(of.slice_N) == len(test_set)
        assert 0 <= of.slice_N.min() <= of.slice_N.max() < len(of.names)
        assert len(set(of.names)) == len(of.names)


def test_rare_names_share_a_slice() -> None:
    from rejoinder.evaluation.slices import _by_name

    names = [f"speaker {number}" for number in range(30) for _ in range(number + 1)]
    of: Slicing = _by_name("speaker", names)
    assert of.names == [*(f"speaker {number}" for number in range(29, 29 - MAX_NAMES + 1, -1)), OTHERS]
    assert int((of.slice_N == MAX_NAMES - 1).sum()) == sum(range(1, 24))
    assert of.names[of.slice_N[-1]] == "speaker 29"


def test_the_same_exchanges_are_drawn_whatever_stands_around_them() -> None:
    talks = [f"talk {number}" for number in range(40) for _ in range(3)]
    order = drawn(talks, None)
    assert sorted(order) == list(range(120))
    assert drawn(talks, 10) == order[:10]
    among_more = [*[f"new {number}" for number in range(20)], *talks]
    kept = [number - 20 for number in drawn(among_more, None) if number >= 20]
    assert kept == order
    assert abs(np.mean(order[:60]) - 59.5) < 15
