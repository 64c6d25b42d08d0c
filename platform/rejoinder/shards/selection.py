"""All that was gathered in, what is learnt from and measured on out: no leaks, no duplicates, no reply too often.

Conversations are compared by what is said, cleaned, without regard to case and punctuation; and, where the recipe asks
for it, by how similar they are. What is held out goes before what is trained on: a training conversation that also
stands in another split is what goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rejoinder.errors import CorpusError
from rejoinder.recipe import DataSection
from rejoinder.shards import near
from rejoinder.shards.gathered import Gathered
from rejoinder.text import SPLITS

Array = np.ndarray[Any, np.dtype[Any]]
TRAIN, VALID, TEST = range(len(SPLITS))
NUM_EXAMPLES = 5
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Selection:
    """What is kept, and why the rest is not."""

    is_kept: Array
    """(C,) of the conversations."""
    is_skipped: Array
    """(T,) True for a turn that is not learnt as a reply, though it is context of others."""
    left_out: dict[str, int] = field(default_factory=dict)
    left_in: dict[str, int] = field(default_factory=dict)
    """What was found, and is learnt from all the same."""
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, what: str, is_found: Array, gathered: Gathered, why: Any, *, leave_out: bool) -> None:
        """Counts these conversations, shows the first few, and leaves them out."""
        (self.left_out if leave_out else self.left_in)[what] = int(is_found.sum())
        if leave_out:
            self.is_kept &= ~is_found
        self.examples[what] = [
            f"{id} ({why(number)}): {text}"
            for number in np.flatnonzero(is_found)[:NUM_EXAMPLES].tolist()
            for id, text in [gathered.example(number)]
        ]

    def blocks(self, gathered: Gathered, split: int, num_exchanges: int) -> list[Array]:
        """The kept conversations of a split, in order, in blocks of about so many exchanges: a shard each."""
        kept = np.flatnonzero(self.is_kept & (gathered.splits == split))
        learnt_before = np.concatenate([[0], np.cumsum(~self.is_skipped)])
        starts, ends = gathered.turn_offsets[kept], gathered.turn_offsets[kept + 1]
        # A conversation's first turn is no reply.
        exchanges_before = np.concatenate([[0], np.cumsum(learnt_before[ends] - learnt_before[starts + 1])])
        blocks, start = [], 0
        while start < len(kept):
            stop = int(np.searchsorted(exchanges_before, exchanges_before[start] + num_exchanges))
            blocks.append(kept[start : max(stop, start + 1)])
            start = max(stop, start + 1)
        return blocks


def select(gathered: Gathered, data: DataSection) -> Selection:
    """Decides over all conversations at once. Raises CorpusError at a leak when `data.on_leak` is `refuse`."""
    splits, keys = gathered.splits, gathered.keys
    is_refused = gathered.is_refused.copy()
    is_refused[gathered.turn_offsets[:-1]] = False  # a conversation's first turn is no reply
    selection = Selection(np.ones(len(keys), np.bool_), is_refused)
    selection.left_out["replies that a filter refuses"] = int(is_refused.sum())
    exact_keys, asks_for_near = keys, data.near_duplicate_similarity is not None
    if data.near_duplicate_similarity is not None:
        keys = keys[near.first_of_its_like(gathered.signatures("signature"), data.near_duplicate_similarity)]

    leaks_into = _leaks(keys, splits)
    is_leak, is_exact = leaks_into >= 0, _leaks(exact_keys, splits) >= 0
    if data.on_leak == "refuse" and is_leak.any():
        number = int(np.argmax(is_leak))
        raise CorpusError(
            f"conversation {gathered.example(number)[0]} of the {SPLITS[splits[number]]} split stands in the "
            f"{SPLITS[leaks_into[number]]} split too, and data.on_leak = refuse; set it to drop, or take the "
            "conversation out of the corpus"
        )

    def where(number: int) -> str:
        return f"{SPLITS[splits[number]]}, also in {SPLITS[leaks_into[number]]}"

    drop = data.on_leak == "drop"
    selection.note("leaks between splits", is_leak & is_exact, gathered, where, leave_out=drop)
    if asks_for_near:
        selection.note("near leaks between splits", is_leak & ~is_exact, gathered, where, leave_out=drop)

    kept, drop = selection.is_kept.copy(), data.on_duplicate == "drop"
    is_duplicate, is_exact = kept & ~_is_first(keys, splits, kept), kept & ~_is_first(exact_keys, splits, kept)

    def split_of(number: int) -> str:
        return SPLITS[splits[number]]

    selection.note("duplicates within a split", is_duplicate & is_exact, gathered, split_of, leave_out=drop)
    if asks_for_near:
        selection.note("near duplicates within a split", is_duplicate & ~is_exact, gathered, split_of, leave_out=drop)

    _skip_exchanges(gathered, data, selection)
    return selection


def _skip_exchanges(gathered: Gathered, data: DataSection, selection: Selection) -> None:
    """Marks the replies of kept conversations that are not learnt: exchanges seen before, replies learnt enough."""
    offsets, turn_keys = gathered.turn_offsets, gathered.turn_keys
    num_turns = np.diff(offsets)
    splits = np.repeat(gathered.splits, num_turns)
    is_learnt = np.repeat(selection.is_kept, num_turns) & ~selection.is_skipped
    is_learnt[offsets[:-1]] = False

    keys = np.zeros_like(turn_keys)
    keys[1:] = (turn_keys[:-1] * _MIX) ^ turn_keys[1:]  # the turn before, and the reply
    drop = data.on_duplicate_exchange == "drop"
    if data.near_duplicate_similarity is not None and drop:
        keys = keys[near.first_of_its_like(gathered.signatures("signatures"), data.near_duplicate_similarity)]
    leaks = is_learnt & (_leaks(keys, np.where(is_learnt, splits, -1)) >= 0)
    duplicates = is_learnt & ~leaks & ~_is_first(keys, splits, is_learnt & ~leaks)
    counts = selection.left_out if drop else selection.left_in
    counts["exchanges that also stand in a held-out split"] = int(leaks.sum())
    counts["exchanges that stand in their split already"] = int(duplicates.sum())
    if drop:
        selection.is_skipped |= leaks | duplicates
        is_learnt &= ~(leaks | duplicates)

    if data.max_same_reply is not None:
        replies = np.flatnonzero(is_learnt & (splits == TRAIN))
        too_many = replies[_occurrence(turn_keys[replies]) >= data.max_same_reply]
        selection.is_skipped[too_many] = True
        selection.left_out["replies that were learnt often enough"] = len(too_many)


def _leaks(keys: Array, splits: Array) -> Array:
    """(N,) the split that each one leaks into: of a training one valid or test, of a validation one test; else -1."""
    in_test, in_valid = _stand_in(keys, keys[splits == TEST]), _stand_in(keys, keys[splits == VALID])
    is_train, is_valid = splits == TRAIN, splits == VALID
    return np.select(
        [in_test & (is_train | is_valid), in_valid & is_train], [np.int8(TEST), np.int8(VALID)], np.int8(-1)
    )


def _stand_in(keys: Array, others: Array) -> Array:
    """np.isin, a million at a time: at ten million keys it would hold half a gigabyte."""
    is_in, others = np.zeros(len(keys), np.bool_), np.unique(others)
    for start in range(0, len(keys) if len(others) else 0, 2**20):
        some = keys[start : start + 2**20]
        places = np.minimum(np.searchsorted(others, some), len(others) - 1)
        is_in[start : start + 2**20] = others[places] == some
    return is_in


def _is_first(keys: Array, splits: Array, among: Array) -> Array:
    """(N,) True for the first of its key in its split, among those."""
    numbers = np.flatnonzero(among)
    is_first = np.zeros(len(keys), np.bool_)
    is_first[numbers[_occurrence(keys[numbers] ^ (splits[numbers].astype(np.uint64) * _MIX)) == 0]] = True
    return is_first


def _occurrence(keys: Array) -> Array:
    """How many equal keys stand before each."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_start = np.ones(len(keys), np.bool_)
    is_start[1:] = ordered[1:] != ordered[:-1]
    del ordered
    starts = np.flatnonzero(is_start).astype(np.int32)
    occurrence = np.empty(len(keys), np.int32)
    occurrence[order] = np.arange(len(keys), dtype=np.int32) - np.repeat(starts, np.diff(starts, append=len(keys)))
    return occurrence
