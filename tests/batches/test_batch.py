"""Ids to padded rectangles, and rows to batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rejoinder.batches import collate, load, pad
from rejoinder.batches.batch import load_each
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID, PAD_ID, START_ID


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


def test_rows_read_together_are_those_read_alone(prepared_set: Path) -> None:
    shard_set = ShardSet(prepared_set, "train")
    pieces = [np.array([7, 200, 3]), np.array([150]), np.arange(90, 100)]
    for piece, together in zip(pieces, load_each(shard_set, pieces), strict=True):
        alone = load(shard_set, piece)
        for name in alone.__dataclass_fields__:
            assert torch.equal(getattr(alone, name), getattr(together, name))


def test_no_rows_and_empty_rows_are_one_column_wide() -> None:
    assert pad([]).shape == (0, 1)
    assert pad([[], []]).tolist() == [[PAD_ID], [PAD_ID]]
    assert pad([[], [5, 6]]).tolist() == [[PAD_ID, PAD_ID], [5, 6]]
