"""Exchanges in, the bytes of one shard out: an uncompressed Arrow IPC file with one record batch.

Uncompressed, because a compressed buffer would have to be unpacked for every row that is read; a memory map of a
plain one costs nothing and is shared by all workers of a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rejoinder.text import Exchange

FORMAT = 1
"""Version of the files and of the manifest. Another number is refused, never guessed at."""

SCHEMA = pa.schema(
    [
        pa.field("context_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("reply_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("reply_num_bytes", pa.int32(), nullable=False),
        pa.field("conversation_id", pa.string(), nullable=False),
    ],
    metadata={"rejoinder.format": str(FORMAT)},
)


def write_shard(file: Path, exchanges: Sequence[Exchange], conversation_ids: Sequence[str]) -> None:
    """Writes one shard; the same exchanges give the same bytes."""
    columns = [
        _lists([exchange.context_ids for exchange in exchanges]),
        _lists([exchange.reply_ids for exchange in exchanges]),
        pa.array([exchange.reply_num_bytes for exchange in exchanges], pa.int32()),
        # An id may hold half an emoji, as JSON can; Arrow's text may not.
        pa.array([id.encode("utf-8", errors="replace") for id in conversation_ids], pa.string()),
    ]
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))


def _lists(rows: list[list[int]]) -> Any:
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    values = np.fromiter((id for row in rows for id in row), np.int32, count=int(offsets[-1]))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
