"""A row's columns in, what is to be answered out: turns, who replies, and what is asked of the reply.

{"messages": [{"role": "user", "content": "hi"}]}              as chat APIs have it; ShareGPT's form too
{"turns": [{"speaker": "ann", "text": "hi"}]}                  speakers by name
{"turns": ["hi", "hello!", "how are you?"]}                    two speakers taking turns
{"text": "hi"}                                                 one turn
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rejoinder.corpora import Turn

COLUMNS = ("messages", "conversations", "turns", "text")
"""Where a row is looked for what is to be answered, in this order, when no column is named."""
_FORMS = (("role", "content"), ("from", "value"), ("speaker", "text"))
SYSTEM = "system"


@dataclass(frozen=True)
class Question:
    """What is to be answered."""

    turns: tuple[Turn, ...]
    replier: str
    """Who spoke last but for the one who spoke last; of a first turn, the assistant."""
    system: tuple[str, ...] = ()
    """System messages: not turns, but asked of the reply where the model was trained to be asked."""


def question_of(row: Mapping[str, Any], column: str | None = None) -> Question:
    """What a row asks. Raises ValueError with a sentence that says what is wrong with it."""
    name = column if column is not None else next((name for name in COLUMNS if row.get(name) is not None), None)
    if name is None or row.get(name) is None:
        wanted = "no column of " + ", ".join(COLUMNS) if column is None else f"nothing in column {column!r}"
        raise ValueError(f"{wanted}; there are: {', '.join(map(repr, row)) or 'none'}")
    value = row[name]
    if isinstance(value, str):
        said = [Turn("user", value)]
    elif isinstance(value, Sequence) and not isinstance(value, bytes) and len(value):
        said = _turns(name, value)
    else:
        raise ValueError(f"column {name!r} holds {_kind(value)}, where a text or a list of turns is needed")
    turns = tuple(turn for turn in said if turn.speaker != SYSTEM)
    if not any(turn.text.strip() for turn in turns):
        raise ValueError(f"column {name!r} holds nothing to reply to: every turn is empty")
    return Question(turns, _replier(turns), tuple(turn.text for turn in said if turn.speaker == SYSTEM))


def _turns(name: str, value: Sequence[Any]) -> list[Turn]:
    if all(isinstance(text, str) for text in value):
        # Whoever spoke last asks.
        return [Turn(("user", "assistant")[(len(value) - 1 - place) % 2], text) for place, text in enumerate(value)]
    turns = []
    for place, message in enumerate(value):
        keys = next((keys for keys in _FORMS if isinstance(message, Mapping) and keys[0] in message), None)
        if keys is None or not isinstance(message.get(keys[1]), str) or not message[keys[0]]:
            needed = " or ".join(f'"{speaker}" and "{text}"' for speaker, text in _FORMS)
            raise ValueError(f"{name}[{place}] is {_kind(message)}, where an object with {needed} is needed")
        turns.append(Turn(str(message[keys[0]]), message[keys[1]]))
    return turns


def _replier(turns: Sequence[Turn]) -> str:
    last = turns[-1].speaker
    before = (turn.speaker for turn in reversed(turns) if turn.speaker != last)
    return next(before, "user" if last == "assistant" else "assistant")


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"an object with {', '.join(map(repr, value)) or 'nothing'}"
    if value is None or (isinstance(value, Sequence) and not len(value)):
        return "nothing"
    return f"a {type(value).__name__}"
