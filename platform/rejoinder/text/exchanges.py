"""A conversation in, its exchanges out: (context, reply) pairs of token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from rejoinder.corpora import Conversation
from rejoinder.recipe import TextSection
from rejoinder.text.cleaning import clean
from rejoinder.text.tokenizer import END_ID, OTHER_ID, SELF_ID, Tokenizer


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is read and what is written in answer."""

    context_ids: list[int]
    reply_ids: list[int]
    """Ends with END_ID, unless it was cut at the longest reply."""
    reply_num_bytes: int
    """UTF-8 bytes of the text that `reply_ids` stand for: the denominator of bits per byte."""


def exchanges(
    conversation: Conversation, tokenizer: Tokenizer, settings: TextSection, skipped: Set[int] = frozenset()
) -> Iterator[Exchange]:
    """Every turn but the first, with the turns before it as context. Turns numbered in `skipped` are context only."""
    said = [
        (number, turn.speaker, text)
        for number, turn in enumerate(conversation.turns)
        if (text := clean(turn.text, settings.cleaning))
    ]
    ids_of_turns = tokenizer.many_to_ids([text for _, _, text in said])
    speakers = [speaker for _, speaker, _ in said]
    for position in range(1, len(said)):
        if said[position][0] in skipped:
            continue
        context = context_ids(speakers[:position], ids_of_turns[:position], speakers[position], settings)
        reply = ids_of_turns[position]
        whole = len(reply) < settings.max_reply_tokens
        learnt = reply if whole else reply[: settings.max_reply_tokens]
        yield Exchange(context, [*learnt, END_ID] if whole else learnt, len(tokenizer.to_bytes(learnt)))


def context_ids(
    speakers: Sequence[str], ids_of_turns: Sequence[list[int]], replier: str, settings: TextSection
) -> list[int]:
    """The newest turns that fit, each behind a marker that says whether the replier or somebody else spoke.

    Cut from the oldest end, at turns; only a newest turn that is too long by itself is cut inside, and keeps its end.
    """
    context: list[int] = []
    first = max(0, len(speakers) - settings.max_context_turns)
    for speaker, ids in zip(reversed(speakers[first:]), reversed(ids_of_turns[first:]), strict=True):
        turn = [SELF_ID if speaker == replier else OTHER_ID, *ids]
        room = settings.max_context_tokens - len(context)
        if len(turn) > room:
            if not context:
                context = [turn[0], *turn[1:][-(room - 1) :]]
            break
        context = turn + context
    return context
