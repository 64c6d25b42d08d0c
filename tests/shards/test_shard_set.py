"""One split of a prepared set, row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rejoinder.batches import plan_epoch
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


def test_rows_may_not_be_written_to(three_shards: Path) -> None:
    contexts, replies = ShardSet(three_shards, "train").rows(np.array([3, 7]))
    assert not any(ids.flags.writeable for ids in (*contexts, *replies))


def test_a_shard_is_opened_when_a_row_of_it_is_read(three_shards: Path) -> None:
    shard_set = ShardSet(three_shards, "train")
    assert int(shard_set.context_lengths.sum()) > 0
    assert shard_set.num_open_shards == 0
    shard_set.rows(np.array([0, 4]))
    assert shard_set.num_open_shards == 1
    shard_set.conversation_id(8)
    shard_set.rows(np.array([2, 7]))
    assert shard_set.num_open_shards == 2


def test_seeking_to_any_place_of_any_epoch_opens_the_shards_of_one_batch(
    write_set: Callable[..., Path], tmp_path: Path
) -> None:
    """What takes time does not depend on the place, nor on the number of shards."""
    many = write_set(tmp_path / "many", {"train": [[row] for row in ROWS * 12], "valid": [], "test": []})
    for epoch, place in ((0, 0.0), (3, 0.5), (1000, 0.99)):
        shard_set = ShardSet(many, "train")
        plan = plan_epoch(shard_set, 64, 0, epoch)
        batch = plan[int(len(plan) * place)]
        assert shard_set.num_open_shards == 0
        shard_set.rows(batch.rows)
        assert shard_set.num_open_shards == len(batch.rows) < 20


def test_the_tokenizer_travels_with_the_set(three_shards: Path, tokenizer: Tokenizer) -> None:
    assert ShardSet(three_shards, "train").tokenizer().sha256 == tokenizer.sha256


def test_a_shard_that_is_none_is_named_when_it_is_read(three_shards: Path) -> None:
    """The size is right, so that only opening it shows."""
    file = three_shards / "train-00001.arrow"
    file.write_bytes(bytes(file.stat().st_size))
    shard_set = ShardSet(three_shards, "train")
    assert len(shard_set.rows(np.array([0, 8])).reply_ids) == 2
    with pytest.raises(ShardError, match=rf"^{file}: not a whole shard .*run jobs/prepare\.py"):
        shard_set.rows(np.array([0, 5]))


def test_a_shard_that_went_or_was_cut_after_opening_is_named(three_shards: Path) -> None:
    shard_set = ShardSet(three_shards, "train")
    gone, cut = three_shards / "train-00000.arrow", three_shards / "train-00002.arrow"
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-40])
    with pytest.raises(ShardError, match=rf"^{gone}: missing"):
        shard_set.rows(np.array([0]))
    with pytest.raises(ShardError, match=rf"^{cut}: "):
        shard_set.rows(np.array([8]))


def test_another_shard_in_a_shards_place_is_named(three_shards: Path) -> None:
    shard_set = ShardSet(three_shards, "train")
    file = three_shards / "train-00001.arrow"
    file.write_bytes((three_shards / "train-00000.arrow").read_bytes())
    with pytest.raises(ShardError, match=rf"^{file}: 5 rows in [\d,]+ bytes, the manifest says 1 in"):
        shard_set.rows(np.array([5]))
