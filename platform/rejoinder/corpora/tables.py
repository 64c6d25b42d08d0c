"""A table in CSV, TSV, JSON lines or Parquet in, the asked-for cells of each row out, one row at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from rejoinder.corpora.base import BrokenRecord
from rejoinder.corpora.files import Source, opened
from rejoinder.corpora.lines import Line, lines_of
from rejoinder.errors import CorpusError

Column = Annotated[int, Field(ge=1)] | str
"""A column by its name in the header, or by its number from 1."""


class Row(NamedTuple):
    """The cells that were asked for, in the order of asking; an empty one is ""."""

    where: Line | str
    cells: tuple[str, ...]

    @property
    def place(self) -> str:
        """`file:line`, or what comes nearest in the format."""
        return str(self.where)


@dataclass(frozen=True, slots=True)
class Table:
    """How to read a table."""

    source: Source
    columns: Sequence[Column]
    encoding: str = "utf-8"
    header: bool = True


def format_of(source: Source) -> str:
    """The name of the format, by suffix. Raises CorpusError for one that tells nothing."""
    suffixes = PurePosixPath(source.name.lower()).suffixes
    for suffix in reversed(suffixes):
        if (name := {".ndjson": "jsonl"}.get(suffix, suffix[1:])) in FORMATS:
            return name
    raise CorpusError(f"{source}: the suffix does not tell the format; set the reader's `format` to {_or(FORMATS)}")


def rows(table: Table, format: str) -> Iterator[Row | BrokenRecord]:
    """Every row; one that cannot be read is a BrokenRecord. Raises CorpusError for a column that is not there."""
    return FORMATS[format](table)


def header_of(source: Source) -> list[str]:
    """The first row of a CSV file in UTF-8; [] of an empty one."""
    return next((cells for _, cells in _csv_cells(Table(source, ())) if isinstance(cells, list)), [])


Cells = Iterator[tuple["Line | str", "list[str] | str"]]
"""(place, cells), or (place, what is wrong). A line's number may have to be counted: it is asked for when needed."""


def _csv_cells(table: Table) -> Cells:
    wrong: list[tuple[str, str]] = []

    def texts() -> Iterator[str]:
        for line in lines_of(table.source):
            try:
                yield line.text(table.encoding) + "\n"
            except ValueError as error:
                wrong.append((line.place, str(error)))
                yield line.content.decode(table.encoding, errors="replace") + "\n"  # its quotes still count

    reader = csv.reader(texts(), strict=True)
    while True:
        place = f"{table.source}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield wrong[0] if wrong else (place, f"not a row of CSV ({error})")
            wrong.clear()
            continue
        if wrong:
            yield wrong[0]
            wrong.clear()
        elif cells:
            yield place, cells


def _tsv_cells(table: Table) -> Cells:
    """Quotes mean nothing here: a tab parts two cells, the end of the line ends the row."""
    for line in lines_of(table.source):
        try:
            text = line.text(table.encoding)
        except ValueError as error:
            yield line, str(error)
            continue
        if text.strip():
            yield line, text.split("\t")
        elif text:  # tabs alone: cells, all of them empty
            yield line, [""] * (text.count("\t") + 1)


def _by_position(read: Callable[[Table], Cells]) -> Callable[[Table], Iterator[Row | BrokenRecord]]:
    def rows(table: Table) -> Iterator[Row | BrokenRecord]:
        first = _first_row_before(table, read) if table.source.start else None
        num_columns = None if first is None else len(first)
        positions = [] if first is None else _positions(table, first)
        for where, cells in read(table):
            if isinstance(cells, str):
                if num_columns is None and table.header:
                    raise CorpusError(f"{where}: {cells}")
                yield BrokenRecord(str(where), cells)
            elif num_columns is None:
                num_columns, positions = len(cells), _positions(table, cells)
                if not table.header:
                    yield Row(where, tuple(cells[position] for position in positions))
            elif len(cells) != num_columns:
                yield BrokenRecord(str(where), f"{len(cells)} cells where the first row has {num_columns}")
            else:
                yield Row(where, tuple([cells[position] for position in positions]))

    return rows


def _first_row_before(table: Table, read: Callable[[Table], Cells]) -> list[str] | None:
    """The row that says how many columns there are and, with a header, their names; None if it begins in the range."""
    before = replace(table, source=replace(table.source, start=None, stop=table.source.start))
    for where, cells in read(before):
        if not isinstance(cells, str):
            return cells
        if table.header:
            raise CorpusError(f"{where}: {cells}")
    return None


def _positions(table: Table, first: Sequence[str]) -> list[int]:
    names = [name.strip() for name in first]
    for column in table.columns:
        if column not in range(1, len(names) + 1) and (column not in names or not table.header):
            there_are = ", ".join(map(repr, names)) if table.header else f"1 to {len(names)}"
            raise CorpusError(f"{table.source}: no column {column!r}; there are: {there_are}")
    return [column - 1 if isinstance(column, int) else names.index(column) for column in table.columns]


def _jsonl(table: Table) -> Iterator[Row | BrokenRecord]:
    for line in lines_of(table.source):
        if not line.content.strip():
            continue
        try:
            record = json.loads(line.text(table.encoding))
            if not isinstance(record, dict):
                raise ValueError(f"a {type(record).__name__} where an object with columns is needed")
            for column in table.columns:
                if column not in record:
                    raise ValueError(f"no column {column!r}; there are: {', '.join(map(repr, record))}")
            yield Row(line, tuple(_cell(column, record[column]) for column in table.columns))
        except (ValueError, RecursionError) as error:
            yield BrokenRecord(line.place, " ".join(str(error).split()))


def _parquet(table: Table) -> Iterator[Row | BrokenRecord]:
    import pyarrow as pa
    from pyarrow import parquet

    with opened(table.source) as stream:
        try:
            file = parquet.ParquetFile(stream)
            names = file.schema_arrow.names
            wanted = [names[position] for position in _positions(table, names)]
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=wanted):
                for cells in zip(*(batch.column(name).to_pylist() for name in wanted), strict=True):
                    number += 1
                    place = f"{table.source}: row {number}"
                    try:
                        yield Row(place, tuple(map(_cell, wanted, cells)))
                    except ValueError as error:
                        yield BrokenRecord(place, str(error))
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())
            raise CorpusError(f"{table.source}: damaged, or no Parquet file ({reason})") from None


def _cell(column: Column, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"column {column!r} holds a {type(value).__name__} instead of text")
    return str(value)


def _or(words: Sequence[str] | dict[str, Any]) -> str:
    return " or ".join(words)


FORMATS: dict[str, Callable[[Table], Iterator[Row | BrokenRecord]]] = {
    "csv": _by_position(_csv_cells),
    "tsv": _by_position(_tsv_cells),
    "jsonl": _jsonl,
    "parquet": _parquet,
}
