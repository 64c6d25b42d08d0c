"""The finished shards of a split in, one index file out; and back, by memory map.

The index has what a plan of batches needs of every row, so that no shard is opened before a row of it is read. It is
an uncompressed Arrow IPC file of one row, each of whose columns is one list. docs/data.md has the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rejoinder.errors import ShardError

INDEX_FORMAT = 1
"""Version of the index file. Another number is refused, never guessed at."""

Numbers = np.ndarray[Any, np.dtype[np.integer[Any]]]


class ByLength(NamedTuple):
    """Rows in the order that batches are cut from, and the groups of equal lengths and corpus that they form.

    Replies get longer from place to place; within one reply length contexts get longer where it is even and shorter
    where it is odd, so that neighbours are of similar lengths also where one reply length ends and the next begins.
    """

    rows: Numbers
    """The row that stands at each place."""
    reply_lengths: Numbers
    """Of each group, as all that follow."""
    context_lengths: Numbers
    corpora: Numbers
    first_places: Numbers
    counts: Numbers


class Index(NamedTuple):
    """What an index file holds."""

    shard_files: list[str]
    shard_num_rows: Numbers
    shard_size_bytes: Numbers
    rows: Numbers
    """[row, column], int32, with the columns of `Column`: all of a row in one place of the memory."""
    by_length: ByLength


class Column(IntEnum):
    """What the index says of a row."""

    SHARD = 0
    """The number of its shard among `shard_files`."""
    CONTEXT_START = 1
    """Where the context's first token stands among all those of its shard."""
    CONTEXT_LENGTH = 2
    REPLY_START = 3
    REPLY_LENGTH = 4
    REPLY_NUM_BYTES = 5
    CORPUS = 6


def index_name(split: str) -> str:
    """The index's file name."""
    return f"{split}.index.arrow"


def write_index(directory: Path, split: str, files: Sequence[str]) -> str:
    """Writes the index of these shards, in this order, and returns its name. The same shards give the same bytes.

    10 million rows take some seconds and less than a gigabyte. Raises ShardError naming a shard that cannot be read.
    """
    shards = [open_batch(directory / file) for file in files]
    num_rows = np.array([shard.num_rows for shard in shards], np.int64)
    firsts = np.cumsum([0, *num_rows])
    rows = np.zeros((int(firsts[-1]), len(Column)), np.int32)
    for number in range(len(shards)):
        shard = shards.pop(0)  # what was read of its map need not stay in memory
        here = rows[firsts[number] : firsts[number + 1]]
        here[:, Column.SHARD] = number
        for part, start, length in (
            ("context_ids", Column.CONTEXT_START, Column.CONTEXT_LENGTH),
            ("reply_ids", Column.REPLY_START, Column.REPLY_LENGTH),
        ):
            offsets = shard.column(part).offsets.to_numpy()
            here[:, start] = offsets[:-1]
            here[:, length] = np.diff(offsets)
        here[:, Column.REPLY_NUM_BYTES] = shard.column("reply_num_bytes").to_numpy()
        if "corpus" in shard.schema.names:
            here[:, Column.CORPUS] = shard.column("corpus").to_numpy()
    sorted_ = by_length(rows[:, Column.CONTEXT_LENGTH], rows[:, Column.REPLY_LENGTH], rows[:, Column.CORPUS])
    sizes = np.array([(directory / file).stat().st_size for file in files], np.int64)
    columns = {
        "shard_files": pa.array(files, pa.string()),
        "shard_num_rows": pa.array(num_rows),
        "shard_size_bytes": pa.array(sizes),
        "rows": pa.array(rows.reshape(-1)),
        "rows_by_length": pa.array(sorted_.rows),
        **{f"group_{name}": pa.array(getattr(sorted_, name)) for name in ByLength._fields[1:]},
    }
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(of)], pa.int64()), of) for of in columns.values()]
    metadata = {"rejoinder.index": str(INDEX_FORMAT), "rejoinder.split": split}
    schema = pa.schema(
        [pa.field(name, of.type, nullable=False) for name, of in zip(columns, lists, strict=True)], metadata
    )
    name = index_name(split)
    with pa.OSFile(str(directory / name), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(lists, schema=schema))
    return name


def by_length(context_lengths: Numbers, reply_lengths: Numbers, corpora: Numbers) -> ByLength:
    """Sorts rows by reply length, context length (up and down in turn), corpus and row number."""
    if len(context_lengths) == 0:
        nothing = np.zeros(0, np.int64)
        return ByLength(*(nothing for _ in ByLength._fields))
    longest, num_corpora = int(context_lengths.max()), int(corpora.max()) + 1
    keys: Numbers = reply_lengths.astype(np.int64)
    keys *= longest + 1  # in place from here on: of 10 million rows each copy is 80 MB
    keys += np.where(reply_lengths % 2 == 0, context_lengths, longest - context_lengths)
    keys *= num_corpora
    keys += corpora
    keys = keys.astype(np.min_scalar_type(int(keys.max())))  # numpy sorts 16 bits in linear time
    rows: Numbers = np.argsort(keys, kind="stable").astype(np.uint32 if len(keys) <= 2**32 else np.int64)
    keys = keys[rows]
    first_places = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    examples = rows[first_places]
    return ByLength(
        rows,
        reply_lengths[examples],
        context_lengths[examples],
        corpora[examples],
        first_places,
        np.diff(first_places, append=len(rows)),
    )


def open_index(directory: Path, split: str) -> Index:
    """Opens an index by memory map, whatever its size. Raises ShardError when it is missing, cut or no index."""
    file = directory / index_name(split)
    batch = open_batch(file, "index")
    found = (batch.schema.metadata or {}).get(b"rejoinder.index", b"none").decode()
    if found != str(INDEX_FORMAT) or batch.num_rows != 1:
        raise ShardError(
            f"{file}: index format {found}, this version reads {INDEX_FORMAT}; "
            f"delete {directory} and run jobs/prepare.py"
        )

    def numbers(name: str) -> Numbers:
        values = batch.column(name).values
        # Neither values.to_numpy() nor to_pandas_dtype(): both import pandas, half a second.
        return np.frombuffer(values.buffers()[1] or b"", str(values.type), count=len(values))

    try:
        return Index(
            batch.column("shard_files").values.to_pylist(),
            numbers("shard_num_rows"),
            numbers("shard_size_bytes"),
            numbers("rows").reshape(-1, len(Column)),
            ByLength(numbers("rows_by_length"), *(numbers(f"group_{name}") for name in ByLength._fields[1:])),
        )
    except (KeyError, ValueError) as error:
        raise ShardError(f"{file}: not a whole index ({error}); delete {directory} and run jobs/prepare.py") from None


def open_batch(file: Path, what: str = "shard") -> Any:
    """The one record batch of an Arrow file, by memory map. Raises ShardError naming a file that cannot be read."""
    try:
        # Closed at once: the batch keeps the map, and 1,000 shards would need more open files than systems allow.
        with pa.memory_map(str(file)) as source:
            return pa.ipc.open_file(source).get_batch(0)
    except FileNotFoundError:
        raise ShardError(f"{file}: missing; delete {file.parent} and run jobs/prepare.py") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardError(
            f"{file}: not a whole {what} ({error}); delete {file.parent} and run jobs/prepare.py"
        ) from None
