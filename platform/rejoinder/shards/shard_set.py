"""One split of a prepared set, opened by memory map: lengths of all rows, and any rows by number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rejoinder.errors import ShardError
from rejoinder.shards.manifest import TOKENIZER, read_manifest
from rejoinder.text import Tokenizer

IntArray = np.ndarray[Any, np.dtype[np.int64]]


class Rows(NamedTuple):
    """Ids of some exchanges, row by row, as views into the memory map."""

    context_ids: list[np.ndarray[Any, np.dtype[np.int32]]]
    reply_ids: list[np.ndarray[Any, np.dtype[np.int32]]]


class ShardSet:
    """The exchanges of one split, numbered from 0 in shard order. Open it in the process that reads it."""

    def __init__(self, directory: Path, split: str) -> None:
        """Raises ShardError naming the file that is missing, cut short or no shard."""
        self.directory, self.split = directory, split
        self.manifest = read_manifest(directory)
        self._shards = [_Shard(directory / shard.file) for shard in self.manifest.splits[split]]
        self._first_row_of_shard = np.cumsum([0, *(shard.num_rows for shard in self._shards)])
        self.context_lengths: IntArray = _joined(shard.contexts.lengths() for shard in self._shards)
        """Tokens of each context."""
        self.reply_lengths: IntArray = _joined(shard.replies.lengths() for shard in self._shards)
        """Tokens of each reply, end token included."""
        self.reply_num_bytes: IntArray = _joined(shard.reply_num_bytes for shard in self._shards)
        """UTF-8 bytes of each reply."""

    def __len__(self) -> int:
        return int(self._first_row_of_shard[-1])

    def rows(self, numbers: IntArray) -> Rows:
        """The exchanges with these numbers, in this order."""
        contexts, replies = [], []
        shards = np.searchsorted(self._first_row_of_shard, numbers, side="right") - 1
        for shard_number, row in zip(shards, numbers - self._first_row_of_shard[shards], strict=True):
            shard = self._shards[shard_number]
            contexts.append(shard.contexts[row])
            replies.append(shard.replies[row])
        return Rows(contexts, replies)

    def conversation_id(self, number: int) -> str:
        """The conversation that an exchange comes from."""
        shard = int(np.searchsorted(self._first_row_of_shard, number, side="right")) - 1
        row = number - int(self._first_row_of_shard[shard])
        return str(self._shards[shard].batch.column("conversation_id")[row])

    def tokenizer(self) -> Tokenizer:
        """The tokenizer all ids are of."""
        return Tokenizer.load(self.directory / TOKENIZER)


class _Shard:
    def __init__(self, file: Path) -> None:
        try:
            self.batch = pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0)
        except (pa.ArrowInvalid, OSError) as error:
            raise ShardError(
                f"{file}: not a whole shard ({error}); delete {file.parent} and run jobs/prepare.py"
            ) from None
        self.num_rows: int = self.batch.num_rows
        self.contexts = _Lists(self.batch.column("context_ids"))
        self.replies = _Lists(self.batch.column("reply_ids"))
        self.reply_num_bytes = self.batch.column("reply_num_bytes").to_numpy()


class _Lists:
    """A column of lists as two numpy views: no copy is made."""

    def __init__(self, column: Any) -> None:
        self._offsets = column.offsets.to_numpy()
        self._values = column.values.to_numpy()

    def lengths(self) -> IntArray:
        return np.diff(self._offsets).astype(np.int64)

    def __getitem__(self, row: int) -> np.ndarray[Any, np.dtype[np.int32]]:
        view: np.ndarray[Any, np.dtype[np.int32]] = self._values[self._offsets[row] : self._offsets[row + 1]]
        return view


def _joined(parts: Iterable[IntArray]) -> IntArray:
    arrays = list(parts)
    return np.concatenate(arrays).astype(np.int64) if arrays else np.zeros(0, np.int64)
