"""A conversation's exchanges: who spoke, what is cut, and what the reply ends with."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.corpora import Conversation, Turn
from rejoinder.recipe import TextSection
from rejoinder.text import (
    END_ID,
    Exchange,
    Tokenizer,
    Turns,
    context_ids,
    exchanges,
    exchanges_of,
    offsets_of,
    train_tokenizer,
)
from rejoinder.text.tokenizer import OTHER_ID, SELF_ID
from rejoinder.text.tokenizers import words

A, B, C = [20], [30, 31], [40, 41, 42]  # the ids of three turns


def settings(**changes: int) -> TextSection:
    return TextSection(**{"max_context_turns": 4, "max_context_tokens": 8, "max_reply_tokens": 4} | changes)


def made(tokenizer: Tokenizer, *turns: tuple[str, str], **changes: Any) -> list[Exchange]:
    conversation = Conversation("id", tuple(Turn(speaker, text) for speaker, text in turns))
    return list(
        exchanges_of([conversation], tokenizer, settings(max_context_tokens=64, max_reply_tokens=40, **changes))
    )


def test_each_turn_but_the_first_is_a_reply_to_those_before_it(tokenizer: Tokenizer) -> None:
    hi, hello, bye = (tokenizer.to_ids(text) for text in ("hi", "hello", "bye"))
    first, second = made(tokenizer, ("ann", "hi"), ("bob", "hello"), ("ann", "bye"))
    assert first == Exchange([OTHER_ID, *hi], [*hello, END_ID], 5)
    assert second == Exchange([SELF_ID, *hi, OTHER_ID, *hello], [*bye, END_ID], 3)


def test_everyone_but_the_replier_is_the_other(tokenizer: Tokenizer) -> None:
    last = made(tokenizer, ("ann", "x"), ("bob", "x"), ("cleo", "x"), ("ann", "x"))[-1]
    assert [id for id in last.context_ids if tokenizer.is_control(id)] == [SELF_ID, OTHER_ID, OTHER_ID]


def test_a_speaker_may_go_on(tokenizer: Tokenizer) -> None:
    (exchange,) = made(tokenizer, ("ann", "x"), ("ann", "y"))
    assert exchange.context_ids[0] == SELF_ID


def test_turns_are_cleaned_and_blank_ones_vanish(tokenizer: Tokenizer) -> None:
    blank = made(tokenizer, ("ann", " hi\n"), ("bob", " \t"), ("bob", "hel  lo"), ("ann", "\n"))
    assert blank == made(tokenizer, ("ann", "hi"), ("bob", "hel lo"))


@pytest.mark.parametrize("turns", [[], [("ann", "hi")], [("ann", "hi"), ("bob", " ")]])
def test_without_two_turns_there_is_no_exchange(tokenizer: Tokenizer, turns: list[tuple[str, str]]) -> None:
    assert made(tokenizer, *turns) == []


def test_the_oldest_turns_are_cut_first() -> None:
    assert context_ids("ann", [A, B, C], "n", settings(max_context_tokens=9)) == [
        OTHER_ID, *A, SELF_ID, *B, SELF_ID, *C
    ]  # fmt: skip
    assert context_ids("ann", [A, B, C], "n", settings(max_context_tokens=8)) == [SELF_ID, *B, SELF_ID, *C]


def test_only_so_many_turns_are_kept() -> None:
    assert context_ids("ann", [A, B, C], "n", settings(max_context_turns=1)) == [SELF_ID, *C]


def test_a_turn_that_does_not_fit_hides_all_before_it() -> None:
    """A context with a hole in the middle would be another conversation."""
    assert context_ids("ann", [A, list(range(50, 60)), C], "n", settings()) == [SELF_ID, *C]


def test_a_newest_turn_that_is_too_long_by_itself_keeps_its_end() -> None:
    long = list(range(50, 70))
    assert context_ids("an", [A, long], "b", settings()) == [OTHER_ID, *long[-7:]]


@given(
    turns=st.lists(
        st.tuples(st.sampled_from("ab"), st.lists(st.integers(20, 30), min_size=1, max_size=12)), min_size=1
    ),
    longest=st.integers(8, 24),
    most=st.integers(1, 5),
)
def test_a_context_is_the_newest_whole_turns_that_fit(turns: Any, longest: int, most: int) -> None:
    speakers, ids = [speaker for speaker, _ in turns], [ids for _, ids in turns]
    context = context_ids(speakers, ids, "a", settings(max_context_tokens=longest, max_context_turns=most))
    marked = [[SELF_ID if speaker == "a" else OTHER_ID, *ids] for speaker, ids in turns]
    fitting = [[*chain(*marked[-count:])] for count in range(1, min(most, len(turns)) + 1)]
    fitting = [whole for whole in fitting if len(whole) <= longest]
    newest = marked[-1]
    assert context == (fitting[-1] if fitting else [newest[0], *newest[-(longest - 1) :]])


def test_a_reply_that_is_too_long_is_cut_and_has_no_end(tokenizer: Tokenizer) -> None:
    ids = tokenizer.to_ids("Qvxjzw")
    assert len(ids) == 6  # a token for each letter
    for longest, reply, num_bytes in ((7, [*ids, END_ID], 6), (6, ids, 6), (4, ids[:4], 4)):
        conversation = Conversation("id", (Turn("a", "x"), Turn("b", "Qvxjzw")))
        (exchange,) = exchanges_of([conversation], tokenizer, settings(max_reply_tokens=longest))
        assert (exchange.reply_ids, exchange.reply_num_bytes) == (reply, num_bytes)


def test_bytes_are_those_of_utf8(tokenizer: Tokenizer) -> None:
    (exchange,) = made(tokenizer, ("a", "x"), ("b", "né 🙂"))
    assert exchange.reply_num_bytes == len("né 🙂".encode()) == 8


def test_a_blank_that_a_token_carries_is_not_counted_where_it_is_dropped() -> None:
    by_words = train_tokenizer(words.Settings(), iter([["hello my friend"]]), 64)
    (exchange,) = made(by_words, ("a", "hello"), ("b", "hello my friend"))
    assert exchange.reply_num_bytes == len("hello my friend") == 15


def one_by_one(conversations: Any, settings: TextSection) -> list[Exchange]:
    """Exchanges as a loop would make them; of each turn (speaker, ids, is skipped, prefix)."""
    found = []
    for turns in conversations:
        for number in range(1, len(turns)):
            replier, reply, is_skipped, prefix = turns[number]
            if is_skipped:
                continue
            prefix = prefix[: settings.max_context_tokens // 2]
            context: list[int] = []
            for speaker, ids, _, _ in reversed(turns[max(0, number - settings.max_context_turns) : number]):
                turn = [SELF_ID if speaker == replier else OTHER_ID, *ids]
                room = settings.max_context_tokens - len(prefix) - len(context)
                if len(turn) > room:
                    if not context:
                        context = [turn[0], *turn[1:][-(room - 1) :]]
                    break
                context = turn + context
            learnt = reply[: settings.max_reply_tokens]
            end = [END_ID] if len(reply) < settings.max_reply_tokens else []
            found.append(Exchange([*prefix, *context], [*learnt, *end], num_bytes(learnt)))
    return found


NUM_BYTES = np.arange(40) % 5
NUM_BYTES_OF_FIRST = NUM_BYTES - (np.arange(40) % 5 > 1)  # some of them carry a blank


def num_bytes(learnt: list[int]) -> int:
    return sum(int((NUM_BYTES if number else NUM_BYTES_OF_FIRST)[id]) for number, id in enumerate(learnt))


TURNS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.integers(20, 39), min_size=1, max_size=14),
        st.booleans(),
        st.lists(st.integers(5, 8), max_size=9),
    ),
    max_size=7,
)


@given(
    conversations=st.lists(TURNS, max_size=5),
    longest=st.integers(8, 24),
    most=st.integers(1, 5),
    longest_reply=st.integers(4, 15),
)
def test_many_conversations_at_once_are_what_a_loop_over_their_turns_makes(
    conversations: Any, longest: int, most: int, longest_reply: int
) -> None:
    said = [turn for turns in conversations for turn in turns]
    turns = Turns(
        np.array([id for _, ids, _, _ in said for id in ids], np.int32),
        offsets_of([len(ids) for _, ids, _, _ in said]),
        offsets_of([len(turns) for turns in conversations]),
        np.array([speaker for speaker, _, _, _ in said], np.int16),
        np.array([is_skipped for _, _, is_skipped, _ in said], np.bool_),
        np.array([id for _, _, _, prefix in said for id in prefix], np.int32),
        offsets_of([len(prefix) for _, _, _, prefix in said]),
    )
    chosen = settings(max_context_tokens=longest, max_context_turns=most, max_reply_tokens=longest_reply)
    assert list(exchanges(turns, chosen, NUM_BYTES, NUM_BYTES_OF_FIRST)) == one_by_one(conversations, chosen)
