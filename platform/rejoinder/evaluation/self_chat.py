"""Two models (or one twice) and opening turns in, their conversations out, and where these turn in circles.

A model that replies well to people's turns may still lead its own conversation into a circle: the loss never shows it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from rejoinder.checkpoints import Trained
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder, reply_to_all
from rejoinder.errors import EvaluationError
from rejoinder.evaluation.behaviour.base import OPENINGS, has_circle, words_of
from rejoinder.recipe import Recipe
from rejoinder.shards.report import Html, folded, percent, said, table, text

SPEAKERS = ("first", "second")
NUM_SLOTS = 16


@dataclass(frozen=True)
class Conversation:
    """What was said: the opening by nobody's model, then by the first, the second, the first …"""

    turns: tuple[str, ...]
    repeated_at: int | None
    """The first turn that says what the same speaker has said before; the opening is turn 0."""
    circle_at: int | None
    """The first turn with a run of up to four words, three times on end."""

    @property
    def has_loop(self) -> bool:
        """Either of the two."""
        return self.repeated_at is not None or self.circle_at is not None


@dataclass(frozen=True)
class SelfChat:
    """What two models said to each other."""

    conversations: tuple[Conversation, ...]
    names: tuple[str, str] = SPEAKERS

    @property
    def metrics(self) -> dict[str, float]:
        """Shares of conversations with a loop of either kind, turns before it, distinct words and pairs of words of all
        replies (Li et al. 2016), words per turn, and the share of turns without any word."""
        loops = [conversation for conversation in self.conversations if conversation.has_loop]
        before = [_first_loop(conversation) for conversation in self.conversations]
        turns = [words_of(turn).split() for conversation in self.conversations for turn in conversation.turns[1:]]
        return {
            "self_chat_loops": len(loops) / len(self.conversations),
            "self_chat_repeated_turns": fmean(one.repeated_at is not None for one in self.conversations),
            "self_chat_circles": fmean(one.circle_at is not None for one in self.conversations),
            "self_chat_turns_before_loop": fmean(before),
            "self_chat_distinct_1": _distinct(turns, 1),
            "self_chat_distinct_2": _distinct(turns, 2),
            "self_chat_words_per_turn": fmean(map(len, turns)),
            "self_chat_empty_turns": fmean(not turn for turn in turns),
        }

    def to_json(self) -> str:
        """All of it, for a file."""
        return json.dumps(asdict(self) | {"metrics": self.metrics}, indent=1, ensure_ascii=False)

    def section(self) -> tuple[str, str]:
        """Its title and HTML."""
        shares = ("loops", "repeated_turns", "circles", "empty_turns")
        rows = [
            (_TITLES[name], percent(value) if name in shares else f"{value:.2f}")
            for key, value in self.metrics.items()
            for name in [key.removeprefix("self_chat_")]
        ]
        first, second = self.names
        explained = (
            f"<p>{len(self.conversations)} conversations of {text(first)} with {text(second)}, each from an opening "
            "turn. A repeated turn is one that the same speaker has said before; a circle is up to four words three "
            "times on end.</p>"
        )
        talks = "".join(self._talk(one) for one in self.conversations[:4])
        rest = self.conversations[4:]
        more = folded("the others", Html(f"<div class=talks>{''.join(map(self._talk, rest))}</div>"), count=len(rest))
        return (
            "Talking to itself" if first == second else "Talking to each other",
            f"{explained}{table(['', ''], rows)}<div class=talks>{talks}</div>{more if rest else ''}",
        )

    def _talk(self, conversation: Conversation) -> Html:
        lines = []
        for place, turn in enumerate(conversation.turns):
            loops = place in (conversation.repeated_at, conversation.circle_at)
            mark = " <span class=tag>loop</span>" if loops else ""
            lines.append(f"<p class={'self' if place % 2 else 'other'}>{said(turn)}{mark}</p>")
        return Html(f"<div class=talk>{''.join(lines)}</div>")


_TITLES = {
    "loops": "conversations with a loop",
    "repeated_turns": "… that repeat a turn",
    "circles": "… with words in a circle",
    "turns_before_loop": "turns before the first loop, or the end",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "words_per_turn": "words per turn",
    "empty_turns": "turns without a word",
}


def self_chat(
    recipe: Recipe, first: Trained, second: Trained | None = None, *, openings: Sequence[str] = OPENINGS,
    num_conversations: int = 20, num_turns: int = 8, names: tuple[str, str] = SPEAKERS,
) -> SelfChat:  # fmt: skip
    """Conversations of `num_turns` replies behind an opening, decoded as the recipe says; the first model begins.

    Openings are drawn by the recipe's seed, all of them before any twice. The same seed gives the same conversations.
    Raises EvaluationError where there is nothing to say or nobody to say it.
    """
    if num_conversations < 1 or num_turns < 1:
        raise EvaluationError(f"{num_conversations} conversations of {num_turns} turns; at least one of each is needed")
    chance = random.Random(recipe.training.seed)
    drawn = [
        opening
        for _ in range(0, num_conversations, len(openings))
        for opening in chance.sample(openings, len(openings))
    ]
    said = [[opening] for opening in drawn[:num_conversations]]
    models, wanted = [first] if second is None else [first, second], recipe.decoding
    num_slots = max(NUM_SLOTS, wanted.num_rows)
    responders = [Responder(model, num_slots, 2 * num_slots, recipe.serving.fallback_reply) for model in models]
    decodings = [responder.decoding(wanted).one_reply for responder in responders]
    for responder in responders:
        responder.engine.start()
    try:
        for place in range(num_turns):
            responder, decoding = responders[place % len(models)], decodings[place % len(models)]
            # All conversations at once: each waits for its own last turn alone.
            requests = [
                (_context(responder, turns, place), replace(decoding, seed=_seed(recipe, number, place)))
                for number, turns in enumerate(said)
            ]
            for turns, reply in zip(said, reply_to_all(responder, requests, 2 * num_slots), strict=True):
                turns.append(reply.text)
    finally:
        for responder in responders:
            responder.engine.stop()
    return SelfChat(tuple(looked_through(turns) for turns in said), names)


def looked_through(turns: Sequence[str]) -> Conversation:
    """The conversation with its loops found. Turns are compared by their words."""
    words = [words_of(turn) for turn in turns]
    repeated = (place for place in range(2, len(turns)) if words[place] in words[place % 2 : place : 2])
    circles = (place for place in range(1, len(turns)) if has_circle(words[place].split()))
    return Conversation(tuple(turns), next(repeated, None), next(circles, None))


def _seed(recipe: Recipe, number: int, place: int) -> int:
    """Of a turn's draws."""
    return ((recipe.training.seed * 1_000_003 + number) * 1_009 + place) % 2**63


def _context(responder: Responder, turns: Sequence[str], place: int) -> list[int]:
    replier, partner = SPEAKERS[place % 2], SPEAKERS[1 - place % 2]
    speakers = [(replier, partner)[(len(turns) - at) % 2] for at in range(len(turns))]
    return responder.context([Turn(speaker, turn) for speaker, turn in zip(speakers, turns, strict=True)], replier)


def _first_loop(conversation: Conversation) -> int:
    """Replies before the first loop, or all."""
    places = [place for place in (conversation.repeated_at, conversation.circle_at) if place is not None]
    return min(places, default=len(conversation.turns)) - 1


def _distinct(turns: Sequence[Sequence[str]], num_words: int) -> float:
    ngrams = [tuple(turn[at : at + num_words]) for turn in turns for at in range(len(turn) - num_words + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0
