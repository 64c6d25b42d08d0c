"""Turns of conversations as token ids in, their exchanges out: (context, reply) pairs, a column each.

All conversations of a block are done at once: their turns lie one behind the other in one array, a place for a marker
before each, so that the context of a reply is a slice of it.

    turns     A: hi there      B: hello           A: how are you
    array     · hi there       · hello            · how are you        ·: a marker's place
    exchange  context <other> hi there                        reply hello <end>
    exchange  context <self> hi there <other> hello           reply how are you <end>
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rejoinder.corpora import Conversation
from rejoinder.recipe import TextSection
from rejoinder.text.cleaning import clean
from rejoinder.text.tokenizer import END_ID, OTHER_ID, SELF_ID, Tokenizer

IntArray = np.ndarray[Any, np.dtype[Any]]


class Exchange(NamedTuple):
    """What is read and what is written in answer."""

    context_ids: list[int]
    reply_ids: list[int]
    """Ends with END_ID, unless it was cut at the longest reply."""
    reply_num_bytes: int
    """UTF-8 bytes of the text that `reply_ids` stand for: the denominator of bits per byte."""


@dataclass(frozen=True)
class Turns:
    """Conversations, cleaned and as ids: turn t is `ids[turn_offsets[t]:turn_offsets[t + 1]]`, and conversation c has
    the turns from `conversation_offsets[c]` up to `conversation_offsets[c + 1]`."""

    ids: IntArray
    turn_offsets: IntArray
    conversation_offsets: IntArray
    speakers: IntArray
    """A number for each turn; within a conversation the same speaker has the same one."""
    skipped: IntArray | None = None
    """True for a turn that is context, but not learnt as a reply."""
    prefix_ids: IntArray | None = None
    """What stands before the context of each turn when it is a reply: its persona, its emotion …"""
    prefix_offsets: IntArray | None = None

    @classmethod
    def of(
        cls, speakers: Sequence[str], ids_of_turns: Sequence[Sequence[int]], prefix_ids: Sequence[int] = ()
    ) -> Turns:
        """One conversation; the prefix is that of its last turn."""
        numbers: dict[str, int] = {}
        return cls(
            np.array([id for ids in ids_of_turns for id in ids], np.int32),
            offsets_of([len(ids) for ids in ids_of_turns]),
            np.array([0, len(ids_of_turns)]),
            np.array([numbers.setdefault(speaker, len(numbers)) for speaker in speakers]),
            None,
            np.array(prefix_ids, np.int32),
            offsets_of([*[0] * (len(ids_of_turns) - 1), len(prefix_ids)]),
        )


@dataclass(frozen=True)
class Exchanges:
    """Columns of E exchanges; exchange e has the context `context_ids[context_offsets[e]:context_offsets[e + 1]]`."""

    context_ids: IntArray
    context_offsets: IntArray
    reply_ids: IntArray
    reply_offsets: IntArray
    reply_num_bytes: IntArray
    conversations: IntArray
    """The conversation's number in its block."""

    @classmethod
    def of(cls, rows: Sequence[Exchange]) -> Exchanges:
        """Exchanges one by one, each of a conversation of its own."""
        return cls(
            np.array([id for row in rows for id in row.context_ids], np.int32),
            offsets_of([len(row.context_ids) for row in rows]),
            np.array([id for row in rows for id in row.reply_ids], np.int32),
            offsets_of([len(row.reply_ids) for row in rows]),
            np.array([row.reply_num_bytes for row in rows], np.int32),
            np.arange(len(rows)),
        )

    def __len__(self) -> int:
        return len(self.reply_num_bytes)

    def __iter__(self) -> Iterator[Exchange]:
        for e in range(len(self)):
            context = self.context_ids[self.context_offsets[e] : self.context_offsets[e + 1]]
            reply = self.reply_ids[self.reply_offsets[e] : self.reply_offsets[e + 1]]
            yield Exchange(context.tolist(), reply.tolist(), int(self.reply_num_bytes[e]))


def exchanges(
    turns: Turns, settings: TextSection, num_bytes_of_ids: IntArray, num_bytes_of_first_ids: IntArray
) -> Exchanges:
    """Every turn but a conversation's first as a reply, with the newest turns before it that fit as its context.

    `num_bytes_of_ids` and `num_bytes_of_first_ids` are the tokenizer's.

    A context is cut from the oldest end, at turns; only a newest turn that is too long by itself is cut inside, and
    keeps its end.
    """
    conversation_of_turn = np.repeat(
        np.arange(len(turns.conversation_offsets) - 1), np.diff(turns.conversation_offsets)
    )
    first_turns = turns.conversation_offsets[conversation_of_turn]
    is_reply = np.arange(len(first_turns)) > first_turns
    if turns.skipped is not None:
        is_reply &= ~turns.skipped
    is_reply &= np.diff(turns.turn_offsets) > 0  # text without ids: some tokenizers drop what they do not know
    replies = np.flatnonzero(is_reply)
    context_ids, context_offsets = _contexts(turns, replies, first_turns[replies], settings)

    starts = turns.turn_offsets[replies]
    lengths = turns.turn_offsets[replies + 1] - starts
    is_whole = lengths < settings.max_reply_tokens
    learnt = np.minimum(lengths, settings.max_reply_tokens)
    reply_offsets = offsets_of(learnt + is_whole)
    reply_ids = np.full(reply_offsets[-1], END_ID, np.int32)
    reply_ids[_places(reply_offsets[:-1], learnt)] = turns.ids[_places(starts, learnt)]
    bytes_before = offsets_of(num_bytes_of_ids[turns.ids])
    first = turns.ids[starts]
    num_bytes = bytes_before[starts + learnt] - bytes_before[starts + 1] + num_bytes_of_first_ids[first]
    return Exchanges(
        context_ids,
        context_offsets,
        reply_ids,
        reply_offsets,
        num_bytes.astype(np.int32),
        conversation_of_turn[replies],
    )


def exchanges_of(conversations: Sequence[Conversation], tokenizer: Tokenizer, settings: TextSection) -> Exchanges:
    """The exchanges of conversations as they come from a corpus: cleaned, without empty turns."""
    texts, speakers, num_turns = list[str](), list[int](), list[int]()
    for conversation in conversations:
        said = [(turn.speaker, text) for turn in conversation.turns if (text := clean(turn.text, settings.cleaning))]
        numbers: dict[str, int] = {}
        speakers += [numbers.setdefault(speaker, len(numbers)) for speaker, _ in said]
        texts += [text for _, text in said]
        num_turns.append(len(said))
    ids, turn_offsets = tokenizer.to_flat_ids(texts)
    turns = Turns(ids, turn_offsets, offsets_of(num_turns), np.array(speakers, np.int16))
    return exchanges(turns, settings, tokenizer.num_bytes_of_ids, tokenizer.num_bytes_of_first_ids)


def context_ids(
    speakers: Sequence[str],
    ids_of_turns: Sequence[Sequence[int]],
    replier: str,
    settings: TextSection,
    prefix_ids: Sequence[int] = (),
) -> list[int]:
    """The context of the reply that `replier` is about to give, as `exchanges` would have made it."""
    turns = Turns.of([*speakers, replier], [*ids_of_turns, []], prefix_ids)
    ids, _ = _contexts(turns, np.array([len(speakers)]), np.array([0]), settings)
    return list(map(int, ids))


def offsets_of(lengths: Any) -> IntArray:
    """[2, 0, 3] to [0, 2, 2, 5]."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _contexts(turns: Turns, replies: IntArray, first: IntArray, settings: TextSection) -> tuple[IntArray, IntArray]:
    """Ids and offsets of the contexts of these replies; `first` is the first turn of each one's conversation."""
    marked_offsets = turns.turn_offsets + np.arange(len(turns.turn_offsets))  # a place before each turn for its marker
    marked = np.zeros(marked_offsets[-1], np.int32)
    is_word = np.ones(len(marked), np.bool_)
    is_word[marked_offsets[:-1]] = False
    marked[is_word] = turns.ids

    prefix_lengths = np.zeros(len(replies), np.int64)
    if turns.prefix_ids is not None and turns.prefix_offsets is not None:
        prefix_lengths = turns.prefix_offsets[replies + 1] - turns.prefix_offsets[replies]
        # What was said last is worth more than who says it: half of the room is the turns'.
        prefix_lengths = np.minimum(prefix_lengths, settings.max_context_tokens // 2)
    room = settings.max_context_tokens - prefix_lengths
    ends = marked_offsets[replies]
    oldest = np.maximum(first, replies - settings.max_context_turns)
    from_turns = np.maximum(np.searchsorted(marked_offsets, ends - room), oldest)
    is_cut_inside = from_turns == replies
    from_turns -= is_cut_inside
    starts = np.where(is_cut_inside, ends - room, marked_offsets[from_turns])

    lengths = ends - starts
    offsets = offsets_of(prefix_lengths + lengths)
    ids = np.empty(offsets[-1], np.int32)
    said_from = offsets[:-1] + prefix_lengths
    ids[_places(said_from, lengths)] = marked[_places(starts, lengths)]
    if turns.prefix_ids is not None and turns.prefix_offsets is not None:
        ids[_places(offsets[:-1], prefix_lengths)] = turns.prefix_ids[
            _places(turns.prefix_offsets[replies], prefix_lengths)
        ]
    num_turns = replies - from_turns
    turn = _places(from_turns, num_turns)
    markers = np.repeat(said_from - starts, num_turns) + marked_offsets[turn]
    markers[(np.cumsum(num_turns) - 1)[is_cut_inside]] = said_from[is_cut_inside]
    ids[markers] = np.where(turns.speakers[turn] == np.repeat(turns.speakers[replies], num_turns), SELF_ID, OTHER_ID)
    return ids, offsets


def _places(starts: IntArray, lengths: IntArray) -> IntArray:
    """The places from each start on, so many of each: ([5, 9], [2, 3]) to [5, 6, 9, 10, 11]."""
    offsets = offsets_of(lengths)
    places: IntArray = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return places
