"""What one rank does in each step."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from rejoinder.batches import GlobalBatch, Position, epochs_from, load, rank_steps, share
from rejoinder.shards import ShardSet

NUM_STEPS = 30


@pytest.fixture
def train(prepared_set: Path) -> ShardSet:
    """The training split."""
    return ShardSet(prepared_set, "train")


@pytest.mark.parametrize("max_tokens", [None, 100])
def test_a_rank_reads_its_share_of_each_batch(train: ShardSet, max_tokens: int | None) -> None:
    batches = list(islice(epochs_from(Position(), train, 512, seed=0), NUM_STEPS))
    steps = list(rank_steps(batches, train, 1, 2, max_tokens))
    assert [step.position for step in steps] == [position for position, _ in batches]
    for step, (_, batch) in zip(steps, batches, strict=True):
        whole = load(train, share(batch, 1, 2)[0])
        replies = [row[row != 0].tolist() for piece in step.pieces for row in piece.reply_ids_BT]
        assert replies == [row[row != 0].tolist() for row in whole.reply_ids_BT]
        assert step.num_reply_tokens == batch.num_reply_tokens
        assert not step.is_idle


def test_every_rank_makes_every_step_also_where_rows_are_few(train: ShardSet) -> None:
    batches = [(Position(0, 1), GlobalBatch([np.array([3, 4])], 9)), (Position(0, 2), GlobalBatch([np.array([5])], 4))]
    steps = [list(rank_steps(batches, train, rank, 3, None)) for rank in range(3)]
    assert [[step.is_idle for step in of_rank] for of_rank in steps] == [[False, False], [False, True], [True, True]]
    assert all(len(step.pieces) == 1 for of_rank in steps for step in of_rank)
    assert torch.equal(steps[2][1].pieces[0].reply_ids_BT, load(train, np.array([5])).reply_ids_BT)


def test_steps_do_not_depend_on_where_reading_began(train: ShardSet) -> None:
    whole = list(islice(rank_steps(epochs_from(Position(), train, 512, seed=0), train, 0, 2, None), NUM_STEPS))
    from_ = rank_steps(epochs_from(whole[10].position, train, 512, seed=0), train, 0, 2, None)
    for one, other in zip(whole[11:], islice(from_, NUM_STEPS - 11), strict=True):
        assert one.position == other.position
        assert torch.equal(one.pieces[0].reply_ids_BT, other.pieces[0].reply_ids_BT)
