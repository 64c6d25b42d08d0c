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

from rejoinder.text import Exchanges

FORMAT = 3
"""Version of the files and of the manifest. Another number is refused, never guessed at. Up to 2, `reply_num_bytes` was
one too many for tokenizers whose tokens carry the blank before them."""

SCHEMA = pa.schema(
    [
        pa.field("context_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("reply_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("reply_num_bytes", pa.int32(), nullable=False),
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("corpus", pa.int16(), nullable=False),
    ],
    metadata={"rejoinder.format": str(FORMAT)},
)


def write_shard(file: Path, exchanges: Exchanges, conversation_ids: Sequence[str], corpora: Sequence[int]) -> None:
    """Writes one shard; the same exchanges give the same bytes.

    `conversation_ids` and `corpora` have an entry for each conversation of the block that the exchanges come from.
    """
    # An id may hold half an emoji, as JSON can; Arrow's text may not.
    ids = pa.array([id.encode("utf-8", errors="replace") for id in conversation_ids], pa.string())
    columns = [
        _lists(exchanges.context_offsets, exchanges.context_ids),
        _lists(exchanges.reply_offsets, exchanges.reply_ids),
        pa.array(exchanges.reply_num_bytes, pa.int32()),
        ids.take(pa.array(exchanges.conversations)),
        pa.array(np.asarray(corpora, np.int16)[exchanges.conversations]),
    ]
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))


def _lists(offsets: Any, values: Any) -> Any:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
