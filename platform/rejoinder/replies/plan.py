"""Input files in, pieces of so many rows each out, each answered by itself; a plan that a second run finds again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs, parquet
from pydantic import TypeAdapter

from rejoinder.corpora import BYTE_ORDER_MARK, MAX_LINE_BYTES, Source, format_of, opened, sources
from rejoinder.errors import CorpusError, StorageError
from rejoinder.recipe import DecodingSection
from rejoinder.replies.questions import question_of
from rejoinder.storage import filesystem_of, is_address

FORMATS = ("jsonl", "parquet")
ROW_INDEX, REPLY, FINISH, ERROR = "row_index", "model_reply", "model_reply_finish", "model_reply_error"
REPLIES, LOGPROBS = "model_replies", "model_reply_logprobs"
OURS = {ROW_INDEX: pa.int64(), REPLY: pa.string(), FINISH: pa.string(), ERROR: pa.string()}
"""The columns that are added. The index counts all rows of all files from 0."""
_TOKEN = pa.struct({"token": pa.string(), "logprob": pa.float64()})
_LOGPROBS = pa.list_(pa.struct([*_TOKEN, pa.field("most_probable", pa.list_(_TOKEN))]))
_NUM_LOOKED_AT = 100
"""Rows of which one at least must be answerable, or the job does not start."""


def added_columns(decoding: DecodingSection) -> dict[str, pa.DataType]:
    """Those of `OURS`; where several replies a row or log-probabilities are asked for, one for these."""
    asked = {}
    if decoding.num_replies > 1:
        of_each = {"text": pa.string(), "finish": pa.string(), "score": pa.float64()}
        asked[REPLIES] = pa.list_(
            pa.struct(of_each | ({"logprobs": _LOGPROBS} if decoding.num_logprobs is not None else {}))
        )
    if decoding.num_logprobs is not None:
        asked[LOGPROBS] = _LOGPROBS
    return {name: OURS[name] for name in (ROW_INDEX, REPLY, FINISH)} | asked | {ERROR: OURS[ERROR]}


@dataclass(frozen=True)
class Piece:
    """Rows that stand one after the other in one file, answered together."""

    number: int
    source: Source
    first_index: int
    num_rows: int
    start: int
    """JSON lines: the byte where its first line begins. Parquet: its first row in the file."""
    first_line: int = 1
    """JSON lines: the number of its first line, from 1."""


@dataclass(frozen=True)
class Plan:
    """What is to be done, which does not depend on how much of it is done."""

    made_of: dict[str, str]
    """What the replies follow from, but for the rows: a second run must have the same."""
    files: dict[str, str]
    """Each input file with its size and time of change."""
    format: str
    """Of the output."""
    columns: dict[str, str] = field(default_factory=dict)
    """JSON lines to Parquet: the kind of each column's values, see `_kind`."""
    pieces: tuple[Piece, ...] = ()

    @property
    def num_rows(self) -> int:
        """Of all pieces."""
        return sum(piece.num_rows for piece in self.pieces)

    def to_json(self) -> str:
        """As it is written beside the parts."""
        return _PLAN.dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str, place: str) -> Plan:
        """Raises StorageError where it is no plan."""
        try:
            return _PLAN.validate_json(text)
        except ValueError as error:
            raise StorageError(f"{place}: not a plan of replies; give another --output, or --fresh ({error})") from None


_PLAN = TypeAdapter(Plan)


def make_plan(
    path: str, format: str | None, column: str | None, rows_per_piece: int, made_of: dict[str, str],
    added: Iterable[str] = OURS,
) -> Plan:  # fmt: skip
    """Reads JSON lines once from the beginning to the end, of Parquet only the footers.

    Raises CorpusError for files that cannot be read, have different columns (Parquet), have columns of the names that
    are added, or of whose first rows none can be answered.
    """
    found = sources(path)
    of_input = _format(found[0])
    for source in found:
        if _format(source) != of_input:
            raise CorpusError(f"{path}: files of {of_input} and {_format(source)}; answer one format at a time")
    cutter = _Cutter(rows_per_piece, column, tuple(added), wants_types=(format or of_input) == "parquet")
    for source in found:
        (cutter.cut_lines if of_input == "jsonl" else cutter.cut_parquet)(source)
    if not cutter.pieces:
        raise CorpusError(f"{path}: no row to reply to")
    if cutter.num_answerable == 0:
        raise CorpusError(f"{path}: none of the first {cutter.num_seen} rows can be answered; {cutter.first_problem}")
    return Plan(made_of, stamps_of(found), format or of_input, cutter.columns(), tuple(cutter.pieces))


def stamps_of(found: list[Source]) -> dict[str, str]:
    """Size and time of change of each file, or of what stands at its address."""
    return {source.file: _stamp(source.file) for source in found}


def _stamp(file: str) -> str:
    if is_address(file):
        filesystem, path = filesystem_of(file)
        (entry,) = filesystem.get_file_info([path])
        return f"{entry.size} {entry.mtime_ns}" if entry.type == fs.FileType.File else "gone"
    status = Path(file).stat() if Path(file).exists() else None
    return f"{status.st_size} {status.st_mtime_ns}" if status else "gone"


def _format(source: Source) -> str:
    format = format_of(source)
    if format not in FORMATS:
        raise CorpusError(f"{source}: replies are given to {' or '.join(FORMATS)}, not {format}")
    return format


class _Cutter:
    def __init__(self, rows_per_piece: int, column: str | None, added: tuple[str, ...], wants_types: bool) -> None:
        self._rows_per_piece, self._column, self._wants_types = rows_per_piece, column, wants_types
        self._added = added
        self.pieces: list[Piece] = []
        self.num_seen = self.num_answerable = self._num_rows = 0
        self.first_problem = ""
        self._kinds: dict[str, str] = {}
        self._schema: pa.Schema | None = None

    def columns(self) -> dict[str, str]:
        return dict(self._kinds)

    def cut_lines(self, source: Source) -> None:
        """A piece begins at a line that is not blank."""
        start, first_line, num_rows = 0, 1, 0
        for offset, number, content in raw_lines(source):
            if num_rows == self._rows_per_piece:
                self._add(source, num_rows, start, first_line)
                num_rows = 0
            if num_rows == 0:
                start, first_line = offset, number
            num_rows += 1
            if self.num_seen < _NUM_LOOKED_AT or self._wants_types or b'"model_repl' in content or b"row_i" in content:
                self._look_at(f"{source}:{number}", content)
        if num_rows:
            self._add(source, num_rows, start, first_line)

    def cut_parquet(self, source: Source) -> None:
        with opened(source) as stream:
            try:
                file = parquet.ParquetFile(stream)
                self._refuse_taken(str(source), file.schema_arrow.names)
                self._require_same(source, file.schema_arrow)
                if self.num_seen < _NUM_LOOKED_AT:
                    head = next(file.iter_batches(batch_size=_NUM_LOOKED_AT), None)
                    for place, row in enumerate(head.to_pylist() if head else []):
                        self._ask(f"{source}: row {place + 1}", row)
            except pa.ArrowException as error:
                reason = " ".join(str(error).split())
                raise CorpusError(f"{source}: damaged, or no Parquet file ({reason})") from None
            for start in range(0, file.metadata.num_rows, self._rows_per_piece):
                self._add(source, min(self._rows_per_piece, file.metadata.num_rows - start), start, 1)

    def _require_same(self, source: Source, schema: pa.Schema) -> None:
        if self._schema is not None and not schema.equals(self._schema):
            raise CorpusError(f"{source}: other columns or types than the files before it; answer them apart")
        self._schema = schema

    def _add(self, source: Source, num_rows: int, start: int, first_line: int) -> None:
        self.pieces.append(Piece(len(self.pieces), source, self._num_rows, num_rows, start, first_line))
        self._num_rows += num_rows

    def _look_at(self, place: str, content: bytes) -> None:
        try:
            row = row_of(content)
        except ValueError as error:
            self._count(f"{place}: {error}")
            return
        self._refuse_taken(place, row)
        for name, value in row.items() if self._wants_types else ():
            kind, before = _kind(value), self._kinds.get(name, "null")
            self._kinds[name] = (
                kind if before == "null" else before if kind in ("null", before) else _both(kind, before)
            )
        if self.num_seen < _NUM_LOOKED_AT:
            self._ask(place, row)

    def _refuse_taken(self, place: str, names: Any) -> None:
        if taken := [name for name in self._added if name in names]:
            raise CorpusError(f"{place}: has a column {taken[0]!r}, which this job adds; rename it in the input")

    def _ask(self, place: str, row: dict[str, Any]) -> None:
        try:
            question_of(row, self._column)
        except ValueError as error:
            self._count(f"{place}: {error}")
        else:
            self.num_seen, self.num_answerable = self.num_seen + 1, self.num_answerable + 1

    def _count(self, problem: str) -> None:
        self.num_seen, self.first_problem = self.num_seen + 1, self.first_problem or problem


def raw_lines(source: Source, start: int = 0, first_line: int = 1) -> Iterator[tuple[int, int, bytes]]:
    """(byte where it begins, number from 1, content) of each line that is not blank, from the one at `start` on."""
    with opened(source) as stream:
        if start:
            _skip(stream, start)
        offset, number = start, first_line
        while line := stream.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                raise CorpusError(f"{source}:{number}: a line of more than {MAX_LINE_BYTES >> 20} MiB; is it text?")
            content = (line.removeprefix(BYTE_ORDER_MARK) if offset == 0 else line).strip()
            if content:
                yield offset, number, content
            offset, number = offset + len(line), number + 1


def _skip(stream: Any, num_bytes: int) -> None:
    """Packed files cannot be entered in their middle; reading past what was answered costs little beside answering."""
    if stream.seekable():
        stream.seek(num_bytes)
        return
    while num_bytes and (block := stream.read(min(num_bytes, 1 << 20))):
        num_bytes -= len(block)


def row_of(content: bytes) -> dict[str, Any]:
    """The columns of a line. Raises ValueError with what is wrong with it."""
    try:
        row = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte 0x{content[error.start]:02x} at position {error.start + 1} is no UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({' '.join(str(error).split())})") from None
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__} where an object with columns is needed")
    return row


def _kind(value: Any) -> str:
    """Of a JSON value: null, bool, int (of 64 bits), float, text, or json for what is nested, of any size or mixed."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" if -(2**63) <= value < 2**63 else "json"
    kinds = {type(None): "null", bool: "bool", float: "float", str: "text"}
    return kinds.get(type(value), "json")


def _both(one: str, other: str) -> str:
    """The kind of a column that holds values of both."""
    if "null" in (one, other) or one == other:
        return one if other == "null" else other
    return "float" if {one, other} == {"int", "float"} else "json"
