"""One split of a prepared set, row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rejoinder.errors import ShardError
from rejoinder.shards import ShardSet
from rejoinder.text import Exchange, Tokenizer

ROWS = [
    (Exchange([4, *range(20, 20 + number)], [30 + number] * (number % 3 + 1), number), f"c{number}")
    for number in range(9)
]


@pytest.fixture
def three_shards(write_set: Callable[..., Path], tmp_path: Path) -> Path:
    """Rows 0 to 4, 5, and 6 to 8 of the training split; one row of the validation split; no test split."""
    return write_set(tmp_path / "set", {"train": [ROWS[:5], ROWS[5:6], ROWS[6:]], "valid": [ROWS[:1]], "test": []})


def test_rows_come_back_as_they_were_written(three_shards: Path) -> None:
    shard_set = ShardSet(three_shards, "train")
    contexts, replies = shard_set.rows(np.arange(9))
    assert len(shard_set) == 9
    assert [ids.tolist() for ids in contexts] == [exchange.context_ids for exchange, _ in ROWS]
    assert [ids.tolist() for ids in replies] == [exchange.reply_ids for exchange, _ in ROWS]


def test_rows_come_in_the_order_asked_across_shards(three_shards: Path) -> None:
    shard_set = ShardSet(three_shards, "train")
    for order in ([8, 0, 5, 4, 6, 0], [5], []):
        contexts, replies = shard_set.rows(np.array(order, np.int64))
        assert [ids.tolist() for ids in contexts] == [ROWS[number][0].context_ids for number in order]
        assert [ids.tolist() for ids in replies] == [ROWS[number][0].reply_ids for number in order]


def test_lengths_bytes_and_origins_are_those_of_the_rows(three_shards: Path) -> None:
    shard_set = ShardSet(three_shards, "train")
    assert shard_set.context_lengths.tolist() == [len(exchange.context_ids) for exchange, _ in ROWS]
    assert shard_set.reply_lengths.tolist() == [len(exchange.reply_ids) for exchange, _ in ROWS]
    assert shard_set.reply_num_bytes.tolist() == [exchange.reply_num_bytes for exchange, _ in ROWS]
    assert [shard_set.conversation_id(number) for number in range(9)] == [id for _, id in ROWS]


def test_a_split_may_be_empty(three_shards: Path) -> None:
    empty = ShardSet(three_shards, "test")
    assert len(empty) == len(empty.context_lengths) == len(empty.reply_lengths) == 0


def test_rows_are_views_into_the_file_not_copies(three_shards: Path) -> None:
    contexts, _ = ShardSet(three_shards, "train").rows(np.array([3]))
    assert contexts[0].base is not None
    assert not contexts[0].flags.writeable


def test_the_tokenizer_travels_with_the_set(three_shards: Path, tokenizer: Tokenizer) -> None:
    assert ShardSet(three_shards, "train").tokenizer().sha256 == tokenizer.sha256


def test_a_shard_that_is_none_is_named(three_shards: Path) -> None:
    """The size is right, so that only opening it shows."""
    file = three_shards / "train-00001.arrow"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(ShardError, match=rf"^{file}: not a whole shard .*run jobs/prepare\.py"):
        ShardSet(three_shards, "train")
