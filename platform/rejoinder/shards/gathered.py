"""Gathered files in, columns over all conversations out, by memory map: what selecting, learning and writing read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from rejoinder.shards import near
from rejoinder.storage import Folder
from rejoinder.text import offsets_of

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Gathered:
    """All gathered conversations, numbered from 0 in the order of the pieces; turns too."""

    folder: Folder
    num_conversations: Sequence[int]
    """Of each piece."""
    corpora: Sequence[int]
    """The corpus of each piece."""

    @cached_property
    def first_conversations(self) -> Array:
        """(pieces + 1,): the number of each piece's first conversation."""
        return offsets_of(self.num_conversations)

    @cached_property
    def turn_offsets(self) -> Array:
        """(C + 1,): the turns of conversation c are numbered from `turn_offsets[c]` up to `turn_offsets[c + 1]`."""
        return offsets_of(
            self._column(lambda table: np.concatenate([np.diff(c.offsets) for c in table["keys"].chunks]))
        )

    @cached_property
    def splits(self) -> Array:
        """(C,) numbers of SPLITS."""
        return self._column(lambda table: table["split"].to_numpy())

    @cached_property
    def keys(self) -> Array:
        """(C,) what is said in each conversation."""
        return self._column(lambda table: table["key"].to_numpy())

    @cached_property
    def turn_keys(self) -> Array:
        """(T,) what is said in each turn."""
        return self._column(lambda table: np.concatenate([c.flatten().to_numpy() for c in table["keys"].chunks]))

    @cached_property
    def is_refused(self) -> Array:
        """(T,) True where a filter keeps a turn from being learnt as a reply."""
        return self._column(
            lambda table: np.concatenate(
                [c.flatten().to_numpy(zero_copy_only=False) for c in table["is_refused"].chunks]
            )
        )

    def signatures(self, name: str) -> list[Array]:
        """`signature` (of conversations) or `signatures` (of turns), in parts."""
        parts = []
        for table in self._tables():
            for chunk in table[name].chunks:
                values = chunk.flatten() if name == "signatures" else chunk
                content = np.frombuffer(values.buffers()[1], np.uint32).reshape(-1, near.NUM_HASHES)
                parts.append(content[values.offset : values.offset + len(values)])
        return parts

    def rows(self, conversations: Array, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """(corpus, rows) of these conversations, ascending, a table for each piece that has some."""
        piece_of = np.searchsorted(self.first_conversations, conversations, side="right") - 1
        for piece in np.unique(piece_of).tolist():
            wanted = conversations[piece_of == piece] - self.first_conversations[piece]
            yield self.corpora[piece], self._table(piece).select(list(columns)).take(pa.array(wanted)).combine_chunks()

    def example(self, conversation: int) -> tuple[str, str]:
        """The id of a conversation and how it begins."""
        ((_, rows),) = self.rows(np.array([conversation]), ["id", "texts"])
        return rows["id"][0].as_py(), rows["texts"][0].as_py()[0][:80]

    def _table(self, piece: int) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self.folder.path(f"gathered/{piece:05d}.arrow")))).read_all()

    def _tables(self) -> Iterator[pa.Table]:
        for piece, num_conversations in enumerate(self.num_conversations):
            if num_conversations:
                yield self._table(piece)

    def _column(self, of: Any) -> Array:
        parts = [of(table) for table in self._tables()]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)
