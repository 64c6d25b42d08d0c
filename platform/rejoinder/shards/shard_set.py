"""One split of a prepared set, read by memory map: lengths of all rows from its index, any rows from its shards.

Opening reads the manifest and maps the index. A shard is opened when a row of it is read for the first time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rejoinder.errors import ShardError
from rejoinder.shards.index import Column, index_name, open_batch, open_index
from rejoinder.shards.manifest import TOKENIZER, read_manifest
from rejoinder.text import Tokenizer

IntArray = np.ndarray[Any, np.dtype[np.integer[Any]]]
Ids = np.ndarray[Any, np.dtype[np.int32]]


class Rows(NamedTuple):
    """Ids of some exchanges, row by row; not to be written to."""

    context_ids: list[Ids]
    reply_ids: list[Ids]


class Flat(NamedTuple):
    """Ids of some exchanges, one row behind the other, and the length of each row."""

    context_ids: Ids
    context_lengths: IntArray
    reply_ids: Ids
    reply_lengths: IntArray


class ShardSet:
    """The exchanges of one split, numbered from 0 in shard order. Open it in the process that reads it."""

    def __init__(self, directory: Path, split: str) -> None:
        """Raises ShardError naming the manifest or index that is missing, cut short or of other shards."""
        self.directory, self.split = directory, split
        self.manifest = read_manifest(directory, [split])
        index = open_index(directory, split)
        listed = [(shard.file, shard.num_exchanges, shard.size_bytes) for shard in self.manifest.splits[split]]
        indexed = zip(index.shard_files, index.shard_num_rows.tolist(), index.shard_size_bytes.tolist(), strict=True)
        if list(indexed) != listed:
            raise ShardError(
                f"{directory / index_name(split)}: lists other shards than the manifest; delete {directory} and run "
                "jobs/prepare.py"
            )
        self._rows = index.rows
        self._shards: list[_Shard | None] = [None] * len(listed)
        self.context_lengths: IntArray = index.rows[:, Column.CONTEXT_LENGTH]
        """Tokens of each context."""
        self.reply_lengths: IntArray = index.rows[:, Column.REPLY_LENGTH]
        """Tokens of each reply, end token included."""
        self.reply_num_bytes: IntArray = index.rows[:, Column.REPLY_NUM_BYTES]
        """UTF-8 bytes of each reply."""
        self.corpora: IntArray = index.rows[:, Column.CORPUS]
        """The corpus of each row, by its number in the recipe's `data.corpora`."""
        self.by_length = index.by_length
        """The rows sorted by length, and the groups that they form."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_open_shards(self) -> int:
        """Shards that a row was read of."""
        return sum(shard is not None for shard in self._shards)

    def gather(self, numbers: IntArray) -> Flat:
        """The ids of the exchanges with these numbers, in this order. Raises ShardError naming a damaged shard."""
        shards, context_starts, context_lengths, reply_starts, reply_lengths, *_ = self._rows[numbers].T
        of_rows = [self._shards[shard] or self._open(shard) for shard in shards.tolist()]
        context_ids = _joined([shard.contexts for shard in of_rows], context_starts, context_lengths)
        reply_ids = _joined([shard.replies for shard in of_rows], reply_starts, reply_lengths)
        if len(context_ids) != context_lengths.sum() or len(reply_ids) != reply_lengths.sum():
            raise ShardError(
                f"{self.directory}: a shard of the {self.split} split has fewer tokens than its index says; delete the "
                "directory and run jobs/prepare.py"
            )
        return Flat(context_ids, context_lengths, reply_ids, reply_lengths)

    def rows(self, numbers: IntArray) -> Rows:
        """The exchanges with these numbers, in this order, row by row."""
        flat = self.gather(numbers)
        return Rows(_split(flat.context_ids, flat.context_lengths), _split(flat.reply_ids, flat.reply_lengths))

    def conversation_id(self, number: int) -> str:
        """The conversation that an exchange comes from."""
        shard = int(self._rows[number, Column.SHARD])
        row = number - int(np.searchsorted(self._rows[:, Column.SHARD], shard))
        return str(self._open(shard).batch.column("conversation_id")[row])

    def tokenizer(self) -> Tokenizer:
        """The tokenizer all ids are of."""
        return Tokenizer.load(self.directory / TOKENIZER)

    def _open(self, number: int) -> _Shard:
        shard = self._shards[number]
        if shard is None:
            record = self.manifest.splits[self.split][number]
            shard = self._shards[number] = _Shard(self.directory / record.file, record.num_exchanges, record.size_bytes)
        return shard


class _Shard:
    """One open file; the ids as bytes, which are cheaper to cut than arrays are."""

    def __init__(self, file: Path, num_rows: int, size_bytes: int) -> None:
        self.batch = open_batch(file)
        found = self.batch.num_rows, file.stat().st_size
        if found != (num_rows, size_bytes):
            raise ShardError(
                f"{file}: {found[0]:,} rows in {found[1]:,} bytes, the manifest says {num_rows:,} in {size_bytes:,}; "
                f"delete {file.parent} and run jobs/prepare.py"
            )
        self.contexts = memoryview(self.batch.column("context_ids").values.buffers()[1] or b"")
        self.replies = memoryview(self.batch.column("reply_ids").values.buffers()[1] or b"")


def _joined(buffers: list[memoryview], starts: IntArray, lengths: IntArray) -> Ids:
    """Copies one piece of each buffer: rows of a batch stand in as many shards as there are rows.

    A loop in Python, since numpy cannot gather from many buffers; 0.1 microseconds a row.
    """
    width = np.dtype(np.int32).itemsize
    first = starts.astype(np.int64) * width
    stops = (first + lengths.astype(np.int64) * width).tolist()
    pieces = [buffer[start:stop] for buffer, start, stop in zip(buffers, first.tolist(), stops, strict=True)]
    return np.frombuffer(b"".join(pieces), np.int32)


def _split(ids: Ids, lengths: IntArray) -> list[Ids]:
    stops = np.cumsum(lengths)
    return [ids[start:stop] for start, stop in zip((stops - lengths).tolist(), stops.tolist(), strict=True)]
