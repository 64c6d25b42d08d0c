"""Each row once an epoch, within the budget, and the same rows whatever the number of workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.batches import GlobalBatch, Position, epochs_from, microbatches, plan_epoch, plan_in_order, share
from rejoinder.corpora import made_up
from rejoinder.recipe import TextSection
from rejoinder.shards import ByLength, ShardSet
from rejoinder.shards.index import by_length
from rejoinder.text import Tokenizer, exchanges_of

LONGEST = 60  # of the longest context and the longest reply below


@dataclass
class Lengths:
    """All that a plan needs of a ShardSet."""

    context_lengths: Any
    reply_lengths: Any
    corpora: Any
    by_length: ByLength

    def __len__(self) -> int:
        return len(self.context_lengths)


def lengths(of_rows: list[tuple[int, ...]]) -> Lengths:
    """Rows of (context length, reply length) or (context length, reply length, corpus)."""
    contexts, replies, corpora = np.array([(*row, 0)[:3] for row in of_rows]).T
    return Lengths(contexts, replies, corpora, by_length(contexts, replies, corpora))


def padded_tokens(rows: Any, shard_set: Any) -> int:
    return len(rows) * int(shard_set.context_lengths[rows].max() + shard_set.reply_lengths[rows].max())


some_lengths = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=200).map(lengths)
budgets = st.integers(LONGEST, 1000)
seeds = st.integers(0, 5)


def shared_rows(batch: GlobalBatch, rank: int, world_size: int) -> list[int]:
    return [row for part in share(batch, rank, world_size) for row in part.tolist()]


def rows_of(plan: Iterable[GlobalBatch]) -> list[list[int]]:
    return [batch.rows.tolist() for batch in plan]


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
        shares = [shared_rows(batch, rank, world_size) for rank in range(world_size)]
        assert sorted(chain.from_iterable(shares)) == sorted(batch.rows.tolist())
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(shard_set=some_lengths, budget=budgets, world_size=st.integers(1, 9), num_pieces=st.integers(1, 6))
def test_pieces_of_a_batch_are_dealt_out_whole_where_they_can_be(
    shard_set: Any, budget: int, world_size: int, num_pieces: int
) -> None:
    for batch in plan_epoch(shard_set, budget, 0, 0, pieces_per_batch=num_pieces):
        shares = [share(batch, rank, world_size) for rank in range(world_size)]
        assert sorted(row for own in shares for part in own for row in part.tolist()) == sorted(batch.rows.tolist())
        if len(batch.pieces) % world_size == 0:
            assert {len(own) for own in shares} == {len(batch.pieces) // world_size}


@given(shard_set=some_lengths, budget=budgets, seed=seeds, num_pieces=st.integers(1, 6))
def test_a_batch_of_several_pieces_is_within_the_budget_and_has_each_row_once(
    shard_set: Any, budget: int, seed: int, num_pieces: int
) -> None:
    plan = plan_epoch(shard_set, budget, seed, 0, pieces_per_batch=num_pieces)
    for batch in plan:
        assert len(batch.pieces) <= num_pieces
        assert sum(padded_tokens(piece, shard_set) for piece in batch.pieces) <= budget
        assert batch.num_reply_tokens == shard_set.reply_lengths[batch.rows].sum()
    assert sorted(chain.from_iterable(rows_of(plan))) == list(range(len(shard_set)))
    assert [rows_of([plan[number]])[0] for number in range(len(plan))] == rows_of(plan)
    assert rows_of(plan.batches(3)) == rows_of(plan)[3:]


def test_a_batch_of_several_pieces_learns_from_replies_of_several_lengths(prepared_set: Path) -> None:
    shard_set = ShardSet(prepared_set, "train")
    spreads = {
        num_pieces: np.mean(
            [
                np.std([shard_set.reply_lengths[piece].mean() for piece in batch.pieces])
                for batch in plan_epoch(shard_set, 512, 0, 0, pieces_per_batch=num_pieces)
            ]
        )
        for num_pieces in (1, 4)
    }
    assert spreads[1] == 0
    assert spreads[4] > 1


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
        seen += [row for rank in range(worlds[0]) for row in shared_rows(batch, rank, worlds[0])]
    for _, batch in islice(epochs_from(reached, shard_set, budget, seed=0), num_batches - num_done):
        seen += [row for rank in range(worlds[1]) for row in shared_rows(batch, rank, worlds[1])]
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


@pytest.mark.parametrize("epoch", [0, 1])
def test_little_is_padded(tokenizer: Tokenizer, epoch: int) -> None:
    talk = made_up.read(made_up.Settings(num_conversations=1000))
    made = list(exchanges_of(list(talk), tokenizer, TextSection()))
    shard_set: Any = lengths([(len(exchange.context_ids), len(exchange.reply_ids)) for exchange in made])
    plan = plan_epoch(shard_set, 2048, 0, epoch)
    real = shard_set.context_lengths.sum() + shard_set.reply_lengths.sum()
    assert 1 - real / sum(padded_tokens(batch.rows, shard_set) for batch in plan) < 0.05


@given(shard_set=some_lengths, budget=budgets, seed=seeds, epoch=seeds, first=st.integers(0, 60))
def test_any_batch_is_the_same_computed_by_itself(
    shard_set: Any, budget: int, seed: int, epoch: int, first: int
) -> None:
    plan = plan_epoch(shard_set, budget, seed, epoch)
    whole = rows_of(list(plan))
    assert rows_of([plan[number] for number in range(len(plan))]) == whole
    assert rows_of(list(plan.batches(first))) == whole[first:]


def test_rows_of_equal_lengths_share_batches_by_chance() -> None:
    """Each pair of rows is together in an epoch as often as any other."""
    shard_set: Any = lengths([(10, 10)] * 20)
    together = np.zeros((20, 20))
    num_epochs = 400
    for epoch in range(num_epochs):
        for batch in plan_epoch(shard_set, 100, 0, epoch):  # up to 5 rows
            together[np.ix_(batch.rows, batch.rows)] += 1
    share_together = together[np.triu_indices(20, 1)] / num_epochs
    assert share_together.min() > 0.08
    assert share_together.max() < 0.32


@given(shard_set=some_lengths, budget=st.integers(4 * LONGEST, 2000))
def test_the_last_batch_is_not_a_few_leftovers(shard_set: Any, budget: int) -> None:
    """A step that learns from one row would count as much as one that learns from a hundred."""
    plan = plan_in_order(shard_set, budget)
    if len(plan) > 1:
        before, last = (len(plan[number].rows) for number in (len(plan) - 2, len(plan) - 1))
        full = padded_tokens(np.concatenate([plan[len(plan) - 2].rows, plan[len(plan) - 1].rows]), shard_set) > budget
        assert full
        assert last >= before // 2 - 1 or before * 2 > budget // LONGEST


corpora_of_rows = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=150
).map(lengths)
weights = st.tuples(*[st.floats(0.05, 3.5)] * 3)


@given(shard_set=corpora_of_rows, budget=budgets, epoch=seeds, weights=weights)
def test_a_row_stands_as_often_as_its_corpus_weighs(shard_set: Any, budget: int, epoch: int, weights: Any) -> None:
    plan = plan_epoch(shard_set, budget, 0, epoch, weights)
    rows = [row for batch in rows_of(list(plan)) for row in batch]
    times, weight_of_row = np.bincount(rows, minlength=len(shard_set)), np.array(weights)[shard_set.corpora]
    assert (np.floor(weight_of_row) <= times).all()
    assert (times <= np.ceil(weight_of_row)).all()
    assert all(padded_tokens(batch.rows, shard_set) <= budget for batch in plan)
    assert all(batch.num_reply_tokens == shard_set.reply_lengths[batch.rows].sum() for batch in plan)


@given(shard_set=corpora_of_rows, budget=budgets, epoch=seeds)
def test_weights_of_1_change_nothing(shard_set: Any, budget: int, epoch: int) -> None:
    plans = [plan_epoch(shard_set, budget, 0, epoch, weights) for weights in (None, [1, 1.0, 1])]
    assert rows_of(plans[0]) == rows_of(plans[1])


def test_a_corpus_of_weight_w_is_seen_w_times_on_average_and_every_row_alike() -> None:
    """Rows of lengths that no other row has are no exception: each is drawn with the same chance."""
    shard_set: Any = lengths([(5 + number % 7, 5, number % 2) for number in range(60)] + [(30, 9, 0), (31, 9, 1)])
    num_epochs = 600
    times = np.zeros((num_epochs, 62))
    for epoch in range(num_epochs):
        for batch in plan_epoch(shard_set, 200, 0, epoch, [0.3, 1.6]):
            np.add.at(times[epoch], batch.rows, 1)
    means = times.mean(axis=0)
    assert means[shard_set.corpora == 0] == pytest.approx(0.3, abs=0.09)
    assert means[shard_set.corpora == 1] == pytest.approx(1.6, abs=0.09)
    assert len(np.unique(times[:20], axis=0)) == 20  # another choice each epoch


def test_corpora_are_mixed_within_batches() -> None:
    shard_set: Any = lengths([(10, 10, number // 500) for number in range(1000)])
    shares = [shard_set.corpora[batch.rows].mean() for batch in plan_epoch(shard_set, 2000, 0, 0)]
    assert min(shares) > 0.25
    assert max(shares) < 0.75


def test_epochs_in_which_a_small_weight_draws_nothing_are_passed_over() -> None:
    shard_set: Any = lengths([(3, 3)])
    seen = [position.epoch for position, _ in islice(epochs_from(Position(), shard_set, 100, 0, [0.2]), 30)]
    assert seen == sorted(set(seen))
    assert 90 < seen[-1] < 260


def test_what_a_plan_holds_does_not_grow_with_the_rows() -> None:
    """Ten times the rows with a budget ten times as large: the same number of batches, and as much memory."""

    def size_bytes(num_rows: int) -> tuple[int, int]:
        rows = np.random.default_rng(0).integers(1, 8, (num_rows, 2))
        sorted_ = by_length(rows[:, 0], rows[:, 1], np.zeros(num_rows, np.int64))
        shard_set: Any = Lengths(rows[:, 0], rows[:, 1], None, sorted_)
        plan = plan_epoch(shard_set, num_rows // 10, 0, 0)
        held = [value for name, value in vars(plan).items() if isinstance(value, np.ndarray)]
        return len(plan), sum(value.nbytes for value in held)

    (few_batches, few_bytes), (many_batches, many_bytes) = size_bytes(20_000), size_bytes(200_000)
    assert many_batches == pytest.approx(few_batches, abs=2)
    assert many_bytes == pytest.approx(few_bytes, rel=0.1)
