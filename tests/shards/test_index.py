"""What opens a split at once: lengths, rows by length, and where each row stands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.errors import ShardError
from rejoinder.shards import ShardSet, write_index
from rejoinder.shards.index import Column, by_length, index_name, open_index
from rejoinder.text import Exchange

Write = Callable[..., Path]
some_rows = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2)), min_size=1, max_size=200)


@pytest.fixture
def copied_set(prepared_set: Path, tmp_path: Path) -> Path:
    """A prepared set that a test may damage."""
    return Path(shutil.copytree(prepared_set, tmp_path / "copy"))


@given(rows=some_rows)
def test_groups_are_the_rows_of_equal_lengths_and_corpus_in_order(rows: list[tuple[int, int, int]]) -> None:
    contexts, replies, corpora = np.array(rows).T
    found = by_length(contexts, replies, corpora)
    assert sorted(found.rows.tolist()) == list(range(len(rows)))
    assert found.counts.sum() == len(rows)
    groups = zip(found.context_lengths, found.reply_lengths, found.corpora, strict=True)
    assert len(set(groups)) == len(found.counts) == len(set(rows))
    for number, (first, count) in enumerate(zip(found.first_places, found.counts, strict=True)):
        here = found.rows[first : first + count]
        assert here.tolist() == sorted(here.tolist())
        expected = (found.context_lengths[number], found.reply_lengths[number], found.corpora[number])
        assert all(rows[row] == expected for row in here)


@given(rows=some_rows)
def test_neighbours_are_of_similar_lengths(rows: list[tuple[int, int, int]]) -> None:
    """Replies never get shorter; contexts go up and down in turn, so that no long one stands beside a short one."""
    contexts, replies, corpora = np.array(rows).T
    found = by_length(contexts, replies, corpora)
    assert (np.diff(found.reply_lengths) >= 0).all()
    for reply in set(replies.tolist()):
        steps = np.diff(found.context_lengths[found.reply_lengths == reply])
        assert (steps >= 0).all() if reply % 2 == 0 else (steps <= 0).all()


def test_the_same_shards_give_the_same_bytes(copied_set: Path) -> None:
    file = copied_set / index_name("train")
    before = file.read_bytes()
    files = open_index(copied_set, "train").shard_files
    assert write_index(copied_set, "train", files) == file.name
    assert file.read_bytes() == before


def test_a_row_is_found_where_the_index_says(prepared_set: Path) -> None:
    index = open_index(prepared_set, "train")
    row = index.rows[200]
    with pa.memory_map(str(prepared_set / index.shard_files[row[Column.SHARD]])) as source:
        shard = pa.ipc.open_file(source).get_batch(0)
    number = 200 - int(index.shard_num_rows[: row[Column.SHARD]].sum())
    for part, start, length in (
        ("context_ids", Column.CONTEXT_START, Column.CONTEXT_LENGTH),
        ("reply_ids", Column.REPLY_START, Column.REPLY_LENGTH),
    ):
        found = shard.column(part).values[row[start] : row[start] + row[length]]
        assert found.to_pylist() == shard.column(part)[number].as_py()
    assert row[Column.REPLY_NUM_BYTES] == shard.column("reply_num_bytes")[number].as_py()


def test_an_index_that_is_missing_is_named(copied_set: Path) -> None:
    (copied_set / index_name("valid")).unlink()
    with pytest.raises(ShardError, match=r"valid\.index\.arrow: missing; delete .* run jobs/prepare\.py"):
        open_index(copied_set, "valid")


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_an_index_that_was_cut_is_named(copied_set: Path, kept: float) -> None:
    file = copied_set / index_name("train")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(ShardError, match=rf"^{file}: not a whole index .*run jobs/prepare\.py"):
        open_index(copied_set, "train")


def test_a_shard_in_the_index_s_place_is_refused(copied_set: Path) -> None:
    shutil.copy(copied_set / "train-00000.arrow", copied_set / index_name("train"))
    with pytest.raises(ShardError, match="index format none, this version reads 1"):
        open_index(copied_set, "train")


def test_the_index_of_other_shards_is_refused(write_set: Write, tmp_path: Path) -> None:
    rows = [(Exchange([4, 20], [30 + number, 2], 1), f"c{number}") for number in range(6)]
    ours = write_set(tmp_path / "ours", {"train": [rows[:3], rows[3:]], "valid": [], "test": []})
    theirs = write_set(tmp_path / "theirs", {"train": [rows[:2], rows[2:]], "valid": [], "test": []})
    # One of the same size in bytes, so that only what it lists shows.
    assert (ours / index_name("train")).stat().st_size == (theirs / index_name("train")).stat().st_size
    shutil.copy(theirs / index_name("train"), ours / index_name("train"))
    with pytest.raises(ShardError, match=r"train\.index\.arrow: lists other shards than the manifest"):
        ShardSet(ours, "train")
