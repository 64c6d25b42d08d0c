"""Each row once an epoch, within the budget, and the same rows whatever the number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.batches import (
    GlobalBatch,
    Position,
    collate,
    epochs_from,
    load,
    microbatches,
    plan_epoch,
    plan_in_order,
    share,
)
from rejoinder.corpora import made_up
from rejoinder.recipe import TextSection
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID, PAD_ID, START_ID, Tokenizer, exchanges

LONGEST = 60  # of the longest context and the longest reply below


@dataclass
class Lengths:
    """All that a plan needs of a ShardSet."""

    context_lengths: Any
    reply_lengths: Any

    def __len__(self) -> int:
        return len(self.context_lengths)


def lengths(of_rows: list[tuple[int, int]]) -> Lengths:
    contexts, replies = zip(*of_rows, strict=True)
    return Lengths(np.array(contexts), np.array(replies))


some_lengths = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=200).map(lengths)
budgets = st.integers(LONGEST, 1000)
seeds = st.integers(0, 5)


def rows_of(plan: list[GlobalBatch]) -> list[list[int]]:
    return [batch.rows.tolist() for batch in plan]


def padded_tokens(rows: Any, shard_set: Any) -> int:
    return len(rows) * int(shard_set.context_lengths[rows].max() + shard_set.reply_lengths[rows].max())


@given(shard_set=some_lengths, budget=budgets, seed=seeds, epoch=seeds)
def test_each_row_stands_in_exactly_one_batch(shard_set: Any, budget: int, seed: int, epoch: int) -> None:
    for plan in (plan_epoch(shard_set, budget, seed, epoch), plan_in_order(shard_set, budget)):
        assert sorted(chain.from_iterable(rows_of(plan))) == list(range(len(shard_set)))


@given(shard_set=some_lengths, budget=budgets, seed=seeds, epoch=seeds)
def test_no_batch_is_over_the_budget(shard_set: Any, budget: int, seed: int, epoch: int) -> None:
    for plan in (plan_epoch(shard_set, budget, seed, epoch), plan_in_order(shard_set, budget)):
        assert all(padded_tokens(batch.rows, shard_set) <= budget for batch in plan)


@given(shard_set=some_lengths, budget=budgets, seed=seeds)
def test_a_batch_knows_its_reply_tokens(shard_set: Any, budget: int, seed: int) -> None:
    """The loss is divided by them on every rank."""
    for batch in plan_epoch(shard_set, budget, seed, 0):
        assert batch.num_reply_tokens == shard_set.reply_lengths[batch.rows].sum()


@given(shard_set=some_lengths, budget=budgets, world_size=st.integers(1, 9))
def test_ranks_divide_a_batch_evenly_and_without_overlap(shard_set: Any, budget: int, world_size: int) -> None:
    for batch in plan_epoch(shard_set, budget, 0, 0):
        shares = [share(batch, rank, world_size).tolist() for rank in range(world_size)]
        assert sorted(chain.from_iterable(shares)) == sorted(batch.rows.tolist())
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(shard_set=some_lengths, budget=budgets, seed=seeds, epoch=seeds)
def test_a_plan_depends_on_seed_and_epoch_alone(shard_set: Any, budget: int, seed: int, epoch: int) -> None:
    assert rows_of(plan_epoch(shard_set, budget, seed, epoch)) == rows_of(plan_epoch(shard_set, budget, seed, epoch))


def test_another_epoch_or_seed_has_other_batches_in_another_order(prepared_set: Path) -> None:
    shard_set = ShardSet(prepared_set, "train")
    plans = [rows_of(plan_epoch(shard_set, 512, seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        batches = [{frozenset(batch) for batch in plans[number]} for number in (one, other)]
        assert len(batches[0] & batches[1]) < 0.2 * len(batches[0])


def test_short_and_long_batches_are_mixed(prepared_set: Path) -> None:
    """From short to long, the last steps of an epoch would learn from nothing but long replies."""
    shard_set = ShardSet(prepared_set, "train")
    longest = [int(shard_set.reply_lengths[batch.rows].max()) for batch in plan_epoch(shard_set, 512, 0, 0)]
    rises = sum(after > before for before, after in pairwise(longest))
    falls = sum(after < before for before, after in pairwise(longest))
    assert min(rises, falls) > len(longest) / 4


def test_measuring_reads_in_the_same_order_every_time(prepared_set: Path) -> None:
    shard_set = ShardSet(prepared_set, "valid")
    assert rows_of(plan_in_order(shard_set, 512)) == rows_of(plan_in_order(shard_set, 512))


@given(shard_set=some_lengths, budget=budgets, num_done=st.integers(0, 30))
def test_from_any_position_the_rest_is_the_same(shard_set: Any, budget: int, num_done: int) -> None:
    whole = list(islice(epochs_from(Position(), shard_set, budget, seed=3), num_done + 10))
    position = whole[num_done - 1][0] if num_done else Position()
    rest = list(islice(epochs_from(position, shard_set, budget, seed=3), 10))
    assert [position for position, _ in rest] == [position for position, _ in whole[num_done:]]
    assert rows_of([batch for _, batch in rest]) == rows_of([batch for _, batch in whole[num_done:]])


@given(shard_set=some_lengths, budget=budgets, worlds=st.tuples(st.integers(1, 4), st.integers(1, 4)), data=st.data())
def test_going_on_with_other_workers_sees_each_row_once(
    shard_set: Any, budget: int, worlds: tuple[int, int], data: Any
) -> None:
    num_batches = len(plan_epoch(shard_set, budget, 0, 0))
    num_done = data.draw(st.integers(0, num_batches))
    stream = epochs_from(Position(), shard_set, budget, seed=0)
    reached, seen = Position(), []
    for position, batch in islice(stream, num_done):
        reached = position
        seen += [row for rank in range(worlds[0]) for row in share(batch, rank, worlds[0]).tolist()]
    for _, batch in islice(epochs_from(reached, shard_set, budget, seed=0), num_batches - num_done):
        seen += [row for rank in range(worlds[1]) for row in share(batch, rank, worlds[1]).tolist()]
    assert sorted(seen) == list(range(len(shard_set)))


@given(shard_set=some_lengths, budget=budgets, max_tokens=st.integers(LONGEST, 300))
def test_microbatches_fit_and_keep_all_rows_in_order(shard_set: Any, budget: int, max_tokens: int) -> None:
    rows = plan_epoch(shard_set, budget, 0, 0)[0].rows
    pieces = microbatches(rows, shard_set, max_tokens)
    assert np.concatenate(pieces).tolist() == rows.tolist()
    assert all(padded_tokens(piece, shard_set) <= max_tokens for piece in pieces)


def test_without_a_limit_there_is_one_microbatch() -> None:
    shard_set = lengths([(30, 10)] * 50)
    (piece,) = microbatches(np.arange(50), shard_set, None)
    assert piece.tolist() == list(range(50))


def test_rows_are_padded_as_the_worked_example_says() -> None:
    batch = collate([[5, 6, 7, 8], [9]], [[7, 8, END_ID], [9, END_ID]])
    assert batch.context_ids_BS.tolist() == [[5, 6, 7, 8], [9, PAD_ID, PAD_ID, PAD_ID]]
    assert batch.context_is_pad_BS.tolist() == [[False] * 4, [False, True, True, True]]
    assert batch.reply_input_ids_BT.tolist() == [[START_ID, 7, 8], [START_ID, 9, PAD_ID]]
    assert batch.reply_ids_BT.tolist() == [[7, 8, END_ID], [9, END_ID, PAD_ID]]
    assert batch.reply_is_pad_BT.tolist() == [[False] * 3, [False, False, True]]
    assert batch.num_padded_tokens == 2 * (4 + 3)
    assert batch.context_ids_BS.dtype == torch.int64


def test_a_reply_that_was_cut_has_no_end_to_read_or_say() -> None:
    batch = collate([[5]], [[7, 8]])
    assert batch.reply_input_ids_BT.tolist() == [[START_ID, 7]]
    assert batch.reply_ids_BT.tolist() == [[7, 8]]


def test_a_batch_moves_to_another_device_as_a_whole() -> None:
    moved = collate([[5]], [[7, 8]]).to(torch.device("meta"))
    assert all(getattr(moved, name).is_meta for name in moved.__dataclass_fields__)


def test_loading_reads_the_rows_that_were_asked_for(prepared_set: Path) -> None:
    shard_set = ShardSet(prepared_set, "train")
    rows = np.array([200, 0, 131])
    batch, (contexts, replies) = load(shard_set, rows), shard_set.rows(rows)
    for number in range(3):
        assert batch.context_ids_BS[number][~batch.context_is_pad_BS[number]].tolist() == contexts[number].tolist()
        assert batch.reply_ids_BT[number][~batch.reply_is_pad_BT[number]].tolist() == replies[number].tolist()


@pytest.mark.parametrize("epoch", [0, 1])
def test_little_is_padded(tokenizer: Tokenizer, epoch: int) -> None:
    talk = made_up.read(made_up.Settings(num_conversations=1000))
    made = [exchange for conversation in talk for exchange in exchanges(conversation, tokenizer, TextSection())]
    shard_set: Any = lengths([(len(exchange.context_ids), len(exchange.reply_ids)) for exchange in made])
    plan = plan_epoch(shard_set, 2048, 0, epoch)
    real = shard_set.context_lengths.sum() + shard_set.reply_lengths.sum()
    assert 1 - real / sum(padded_tokens(batch.rows, shard_set) for batch in plan) < 0.05
