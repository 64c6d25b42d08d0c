"""A piece's rows in as they stand in its file; the same rows with their replies out as a part, one file a piece."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from rejoinder.corpora import format_of, opened
from rejoinder.dialogue import Reply, SpeltLogprob
from rejoinder.errors import CorpusError
from rejoinder.replies.plan import (
    ERROR,
    FINISH,
    LOGPROBS,
    OURS,
    REPLIES,
    REPLY,
    ROW_INDEX,
    Piece,
    Plan,
    raw_lines,
    row_of,
)
from rejoinder.text.cleaning import well_formed

_TYPES = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
"""Of the kinds of JSON values; all others become text."""


@dataclass(frozen=True)
class Row:
    """One row of the input."""

    place: str
    columns: dict[str, Any]
    problem: str | None = None
    """Why it has no columns."""


@dataclass(frozen=True)
class Answer:
    """What becomes of a row: replies, the best first, or why there is none."""

    replies: Sequence[Reply] = ()
    error: str | None = None

    def columns(self, added: Iterable[str]) -> dict[str, Any]:
        """What is added to the row, the index aside."""
        wants_logprobs = LOGPROBS in added
        of_each = [
            {"text": reply.text, "finish": reply.finish.value, "score": reply.score}
            | ({"logprobs": _told(reply.logprobs)} if wants_logprobs else {})
            for reply in self.replies
        ]
        best = of_each[0] if of_each else {}
        all_of_it = {
            REPLY: best.get("text"), FINISH: best.get("finish"), REPLIES: of_each or None,
            LOGPROBS: best.get("logprobs"), ERROR: self.error,
        }  # fmt: skip
        return {name: all_of_it[name] for name in added if name != ROW_INDEX}


def _told(logprobs: Sequence[SpeltLogprob]) -> list[dict[str, Any]]:
    return [
        {"token": one.text, "logprob": one.logprob}
        | {"most_probable": [{"token": text, "logprob": value} for text, value in one.most_probable]}
        for one in logprobs
    ]


@dataclass(frozen=True)
class Rows:
    """A piece, read."""

    rows: list[Row]
    table: pa.Table | None = None
    """The same rows as Parquet has them, so that every type stays as it is."""


def read_rows(piece: Piece) -> Rows:
    """The rows of a piece. Raises CorpusError where the file is not what was planned with."""
    found = _read_parquet(piece) if format_of(piece.source) == "parquet" else _read_lines(piece)
    if len(found.rows) != piece.num_rows:
        raise CorpusError(f"{piece.source}: has changed since the job was begun; begin again with --fresh")
    return found


def _read_lines(piece: Piece) -> Rows:
    rows: list[Row] = []
    for _, number, content in raw_lines(piece.source, piece.start, piece.first_line):
        place = f"{piece.source}:{number}"
        try:
            rows.append(Row(place, row_of(content)))
        except ValueError as error:
            rows.append(Row(place, {}, str(error)))
        if len(rows) == piece.num_rows:
            break
    return Rows(rows)


def _read_parquet(piece: Piece) -> Rows:
    with opened(piece.source) as stream:
        try:
            table = pa.Table.from_batches(_batches(parquet.ParquetFile(stream), piece.start, piece.num_rows))
        except (pa.ArrowException, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CorpusError(f"{piece.source}: damaged, or no Parquet file ({reason})") from None
    first = piece.start + 1
    rows = [Row(f"{piece.source}: row {first + place}", row) for place, row in enumerate(table.to_pylist())]
    return Rows(rows, table)


def _batches(file: parquet.ParquetFile, start: int, num_rows: int) -> Iterator[pa.RecordBatch]:
    """Of the row groups that hold the rows, a batch at a time: the memory is that of a batch."""
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    begins = [0, *accumulate(sizes)]
    groups = [g for g in range(len(sizes)) if begins[g] < start + num_rows and begins[g + 1] > start]
    left, skipped = num_rows, start - begins[groups[0]] if groups else 0
    for batch in file.iter_batches(batch_size=1024, row_groups=groups):
        wanted = batch.slice(skipped, left)
        skipped, left = max(0, skipped - len(batch)), left - len(wanted)
        yield wanted
        if left == 0:
            return


def write_part(
    file: Path, plan: Plan, piece: Piece, read: Rows, answers: Sequence[Answer],
    added: Mapping[str, pa.DataType] = OURS,
) -> None:  # fmt: skip
    """The rows with the columns of `added_columns`."""
    indexes = range(piece.first_index, piece.first_index + piece.num_rows)
    ours = [answer.columns(added) for answer in answers]
    if plan.format == "jsonl":
        with file.open("w", encoding="utf-8") as out:
            for index, row, columns in zip(indexes, read.rows, ours, strict=True):
                out.write(_line({ROW_INDEX: index} | row.columns | columns))
        return
    table = read.table if read.table is not None else _table(plan.columns, read.rows)
    for name, type in added.items():
        values = list(indexes) if name == ROW_INDEX else [columns[name] for columns in ours]
        table = table.append_column(name, pa.array(values, type))
    parquet.write_table(table, file, compression="zstd")


def _line(row: dict[str, Any]) -> str:
    # What Parquet has and JSON has not, such as a date, becomes text.
    line = json.dumps(row, ensure_ascii=False, default=str)
    # Half an emoji has no bytes in UTF-8; JSON can escape it.
    return (line if well_formed(line) == line else json.dumps(row, default=str)) + "\n"


def _table(kinds: dict[str, str], rows: Iterable[Row]) -> pa.Table:
    columns = [row.columns for row in rows]
    arrays = {
        name: pa.array([_cell(kind, row.get(name)) for row in columns], _TYPES.get(kind, pa.string()))
        for name, kind in kinds.items()
    }
    # Without any column a table would have no rows either.
    return pa.table(arrays) if arrays else pa.Table.from_pylist([{} for _ in columns])


def _cell(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "json":
        return well_formed(json.dumps(value, ensure_ascii=False))
    return well_formed(value) if isinstance(value, str) else value


def join_parts(parts: Iterable[Path], format: str, file: Path) -> None:
    """All parts, in their order, as one file; a batch at a time."""
    if format == "jsonl":
        with file.open("wb") as out:
            for part in parts:
                with part.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        out.write(block)
        return
    writer = None
    try:
        for part in parts:
            for batch in parquet.ParquetFile(part).iter_batches():
                writer = writer or parquet.ParquetWriter(file, batch.schema, compression="zstd")
                writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()
