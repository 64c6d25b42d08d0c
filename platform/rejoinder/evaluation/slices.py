"""A split in, which exchange is of which kind out: by corpus, turns of context, length of the reply, speaker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rejoinder.shards import ShardSet
from rejoinder.text import NUM_CONTROL_IDS, OTHER_ID, SELF_ID, SPEAKER_ID, Tokenizer

Numbers = np.ndarray[Any, np.dtype[np.integer[Any]]]
ROWS_AT_ONCE = 16_384
MAX_NAMES = 8
"""Corpora or speakers that get a slice of their own: those with the most exchanges."""
OTHERS = "others"


@dataclass(frozen=True)
class Slicing:
    """One way to part the exchanges."""

    kind: str
    names: list[str]
    slice_N: Numbers
    """For each exchange the place of its slice in `names`."""


def slicings(shard_set: ShardSet) -> list[Slicing]:
    """All ways to part a split's exchanges. Reads its contexts once, some thousands at a time."""
    num_turns_N, speakers = _contexts(shard_set)
    return [
        _by_name("corpus", _corpora(shard_set)),
        _by_bounds("turns of context", num_turns_N, (1, 2, 4), "turn"),
        _by_bounds("tokens of the person's reply", shard_set.reply_lengths, (5, 10, 20), "token"),
        _by_name("speaker", speakers),
    ]


def _contexts(shard_set: ShardSet) -> tuple[Numbers, list[str]]:
    """The turns of each context; who replies: the name where contexts hold it, else whether that speaker has
    a turn in the context already."""
    num_turns, speakers, tokenizer = [], list[str](), shard_set.tokenizer()
    known: dict[bytes, str] = {}
    for start in range(0, len(shard_set), ROWS_AT_ONCE):
        flat = shard_set.gather(np.arange(start, min(start + ROWS_AT_ONCE, len(shard_set))))
        stops = np.cumsum(flat.context_lengths)
        starts = stops - flat.context_lengths
        is_mine, is_theirs = flat.context_ids == SELF_ID, flat.context_ids == OTHER_ID
        num_turns.append(np.add.reduceat(is_mine | is_theirs, starts))
        spoke = np.add.reduceat(is_mine, starts) > 0
        named = dict[int, int]()
        for place in np.flatnonzero(flat.context_ids == SPEAKER_ID).tolist():
            named.setdefault(int(np.searchsorted(stops, place, side="right")), place)
        for row in range(len(starts)):
            if row in named:
                speakers.append(_name(flat.context_ids[named[row] + 1 : stops[row]], tokenizer, known))
            else:
                speakers.append("speaks again" if spoke[row] else "speaks first")
    return np.concatenate(num_turns) if num_turns else np.zeros(0, np.int64), speakers


def _name(ids: Numbers, tokenizer: Tokenizer, known: dict[bytes, str]) -> str:
    """What stands up to the next control token."""
    ends = np.flatnonzero(ids < NUM_CONTROL_IDS)
    ids = ids[: ends[0]] if len(ends) else ids
    key = ids.tobytes()
    if key not in known:
        known[key] = tokenizer.to_text(ids.tolist()).strip() or "no name"
    return known[key]


def _corpora(shard_set: ShardSet) -> list[str]:
    listed = [corpus["name"] for corpus in shard_set.manifest.settings.get("data", {}).get("corpora", [])]
    twice = {name for name, count in Counter(listed).items() if count > 1}
    names = [f"{name} ({number})" if name in twice else name for number, name in enumerate(listed)]
    found = shard_set.corpora.tolist()
    return [names[number] if number < len(names) else f"corpus {number}" for number in found]


def _by_name(kind: str, names_N: Sequence[str]) -> Slicing:
    """The commonest names, most exchanges first; the rest together."""
    counts = Counter(names_N)
    common = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    names = common if len(common) <= MAX_NAMES else [*common[: MAX_NAMES - 1], OTHERS]
    place = {name: min(number, len(names) - 1) for number, name in enumerate(common)}
    return Slicing(kind, names, np.array([place[name] for name in names_N], np.int64))


def _by_bounds(kind: str, numbers_N: Numbers, bounds: tuple[int, ...], unit: str) -> Slicing:
    """Up to the first bound, from there up to the next, and more than the last."""
    names, low = list[str](), 0 if numbers_N.min(initial=1) == 0 else 1
    for high in bounds:
        names.append(f"{low} {unit}{'s' * (low != 1)}" if low == high else f"{low} to {high} {unit}s")
        low = high + 1
    names.append(f"{low} or more {unit}s")
    return Slicing(kind, names, np.searchsorted(np.array(bounds), numbers_N))
