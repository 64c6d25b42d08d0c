"""Lengths, a token budget and an epoch in, global batches out, any of them computed without the others.

    rows by length     ──cut by the budget──▶  batches: ranges of places      from the groups of equal lengths alone
    places of a group  ──keyed shuffle──▶      rows                           only of the places asked for

A global batch is one optimizer step. It does not depend on the number of workers, so a position in the plan means
the same at any world size: a run can go on with more or fewer workers and see each exchange exactly once. What is
held in memory grows with the number of batches and of different lengths, never with that of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rejoinder.batches.cutting import cut
from rejoinder.batches.permutation import keys_of, permuted
from rejoinder.shards import ByLength, ShardSet

IntArray = np.ndarray[Any, np.dtype[np.integer[Any]]]

BATCHES_AT_ONCE = 64
"""Batches whose rows are looked up together: numpy's cost per call is shared among them."""
_ORDER, _SUBSET = 0, 1  # what a key is for


@dataclass(frozen=True)
class Position:
    """Where a run stands in its data: the next global batch to read."""

    epoch: int = 0
    step: int = 0
    """Global batches of this epoch that were already learnt from."""


@dataclass(frozen=True)
class GlobalBatch:
    """One optimizer step's exchanges, over all ranks."""

    pieces: list[IntArray]
    """Rows of similar lengths each."""
    num_reply_tokens: int
    """Tokens the loss is averaged over: known to every rank without asking the others."""

    @property
    def rows(self) -> IntArray:
        """All of them."""
        return self.pieces[0] if len(self.pieces) == 1 else np.concatenate(self.pieces)


class Plan(Sequence[GlobalBatch]):
    """The batches of an epoch. `places[first[i]:first[i + 1]]` is piece i before the pieces are shuffled."""

    def __init__(
        self, sorted_: ByLength, batch_tokens: int, chance: tuple[int, int] | None, weights: Sequence[float],
        pieces_per_batch: int = 1,
    ) -> None:  # fmt: skip
        """`chance` is (seed, epoch), or None for the rows as they are sorted; `weights` has one for each corpus."""
        self._sorted, self._chance = sorted_, chance
        longest = int((sorted_.context_lengths + sorted_.reply_lengths).max(initial=1))
        self._num_pieces = max(1, min(pieces_per_batch, batch_tokens // longest))
        generator = np.random.default_rng(chance)
        self._group_counts = sorted_.counts
        if any(weight != 1 for weight in weights):
            self._group_counts = _weighted(sorted_, weights, generator)
        self._group_firsts = np.cumsum(np.concatenate([[0], self._group_counts]))[:-1]
        same = (np.diff(sorted_.reply_lengths) == 0) & (np.diff(sorted_.context_lengths) == 0)
        starts = np.flatnonzero(np.concatenate([[len(sorted_.counts) > 0], ~same]))  # a cell: equal lengths, any corpus
        self._cell_firsts = self._group_firsts[starts]
        self._cell_counts = np.add.reduceat(self._group_counts, starts) if len(starts) else self._group_counts
        self._cell_replies = sorted_.reply_lengths[starts]
        # The first piece is between half full and full, so that pieces end elsewhere each epoch.
        fullness = 1.0 if chance is None else 1 - generator.random() / 2
        piece_tokens = batch_tokens // self._num_pieces
        sizes = cut(sorted_.context_lengths[starts], self._cell_replies, self._cell_counts, piece_tokens, fullness)
        self._firsts = np.cumsum(np.concatenate([[0], sizes]))
        self._order = np.arange(len(sizes)) if chance is None else generator.permutation(len(sizes))

    def __len__(self) -> int:
        return -(-len(self._order) // self._num_pieces)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            start, stop, step = number.indices(len(self))
            assert step == 1, "batches are looked up in their order"
            return self._looked_up(start, max(start, stop))
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        return self._looked_up(number % len(self), number % len(self) + 1)[0]

    def __iter__(self) -> Iterator[GlobalBatch]:
        return self.batches()

    def batches(self, first: int = 0) -> Iterator[GlobalBatch]:
        """The batches from a place of the plan on; it costs the same wherever it begins."""
        yield from self[first : first + 1]  # the first at once, so that going on from a checkpoint waits for one only
        for start in range(first + 1, len(self), BATCHES_AT_ONCE):
            yield from self[start : start + BATCHES_AT_ONCE]

    def _looked_up(self, start: int, stop: int) -> list[GlobalBatch]:
        numbers = self._order[start * self._num_pieces : stop * self._num_pieces]
        sizes = self._firsts[numbers + 1] - self._firsts[numbers]
        if len(sizes) == 0:
            return []
        ends = np.cumsum(sizes)
        places = np.repeat(self._firsts[numbers] - (ends - sizes), sizes) + np.arange(ends[-1])
        cells = np.searchsorted(self._cell_firsts, places, side="right") - 1
        num_reply_tokens = np.add.reduceat(self._cell_replies[cells], ends - sizes, dtype=np.int64).tolist()
        pieces = np.split(self._rows_at(places, cells), ends[:-1])
        firsts = range(0, len(pieces), self._num_pieces)
        together = [slice(first, first + self._num_pieces) for first in firsts]
        return [GlobalBatch(pieces[batch], sum(num_reply_tokens[batch])) for batch in together]

    def _rows_at(self, places: IntArray, cells: IntArray) -> IntArray:
        if self._chance is not None:
            within = places - self._cell_firsts[cells]
            shuffled = permuted(within, self._cell_counts[cells], keys_of(*self._chance, _ORDER, cells))
            places = self._cell_firsts[cells] + shuffled
        groups = np.searchsorted(self._group_firsts, places, side="right") - 1
        num_rows = self._sorted.counts[groups]
        copies, entries = np.divmod(places - self._group_firsts[groups], num_rows)
        # Where the last copy of a group's rows is not a whole one, which rows it has is drawn.
        (drawn,) = np.nonzero((copies + 1) * num_rows > self._group_counts[groups])
        if len(drawn):
            assert self._chance is not None, "a plan in order has no weights"
            keys = keys_of(*self._chance, _SUBSET, groups[drawn])
            entries[drawn] = permuted(entries[drawn], num_rows[drawn], keys)
        return self._sorted.rows[self._sorted.first_places[groups] + entries].astype(np.int64)


def plan_epoch(
    shard_set: ShardSet, batch_tokens: int, seed: int, epoch: int, weights: Sequence[float] | None = None,
    pieces_per_batch: int = 1,
) -> Plan:  # fmt: skip
    """All batches of an epoch: a pure function of the lengths, the budget, the weights, seed and epoch.

    Without weights each row stands in exactly one batch. `weights` has one number for each corpus: a row of a corpus of
    weight w stands floor(w) or ceil(w) times in an epoch, w times on average, with another choice of rows each epoch.

    A batch has up to `pieces_per_batch` pieces of different lengths: one of short replies alone, or of long ones alone,
    is no fair sample of what there is to learn.
    """
    return Plan(shard_set.by_length, batch_tokens, (seed, epoch), weights or (), pieces_per_batch)


def plan_in_order(shard_set: ShardSet, batch_tokens: int) -> Plan:
    """All batches of a split, by length: for measuring, where order does not matter."""
    return Plan(shard_set.by_length, batch_tokens, None, ())


def epochs_from(
    position: Position, shard_set: ShardSet, batch_tokens: int, seed: int, weights: Sequence[float] | None = None,
    pieces_per_batch: int = 1,
) -> Iterator[tuple[Position, GlobalBatch]]:  # fmt: skip
    """Batches without end from a position on, each with the position after it."""
    assert len(shard_set), "an empty split has no batches; prepare refuses to make one"
    epoch, step = position.epoch, position.step
    while True:
        plan = plan_epoch(shard_set, batch_tokens, seed, epoch, weights, pieces_per_batch)
        for done, batch in enumerate(plan.batches(step), start=step + 1):
            yield Position(epoch, done), batch
        epoch, step = epoch + 1, 0


def share(batch: GlobalBatch, rank: int, world_size: int) -> list[IntArray]:
    """The rows of one rank, piece by piece: whole pieces where each rank can have as many, else its part of each.

    None where ranks outnumber rows.
    """
    if len(batch.pieces) % world_size == 0:
        return batch.pieces[rank::world_size]
    return [part for piece in batch.pieces if len(part := piece[rank::world_size])]


def microbatches(rows: IntArray, shard_set: ShardSet, max_tokens: int | None) -> list[IntArray]:
    """A rank's rows in pieces that fit in memory, in order; all in one piece without a limit."""
    if max_tokens is None or len(rows) == 0:
        return [rows]
    contexts, replies = shard_set.context_lengths[rows], shard_set.reply_lengths[rows]
    sizes = cut(contexts, replies, np.ones(len(rows), np.int64), max_tokens)
    return np.split(rows, np.cumsum(sizes)[:-1])


def _weighted(sorted_: ByLength, weights: Sequence[float], generator: np.random.Generator) -> IntArray:
    """Places that each group has in this epoch: weight x rows, rounded up or down so that the mean is exact."""
    wanted = np.asarray(weights, np.float64)[sorted_.corpora] * sorted_.counts
    return np.floor(wanted + generator.random(len(wanted))).astype(np.int64)
