"""A table (CSV, TSV, JSON lines, Parquet) with a column of contexts and one of replies in, conversations out.

A row with an empty side becomes a conversation of one turn, which nobody answered: preparing counts and passes it over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn, asked_for
from rejoinder.corpora.files import Source, cut, files_of, sources
from rejoinder.corpora.identity import content_id, id_of
from rejoinder.corpora.lines import Encoding
from rejoinder.corpora.tables import Column, Table, format_of, rows
from rejoinder.recipe.base import AbsolutePath


class Settings(CorpusSettings):
    name: Literal["pairs"] = "pairs"
    path: AbsolutePath
    """File, pattern, folder, ARCHIVE.zip!MEMBER or s3:// address of the table; packed ones are unpacked."""
    context_column: Column = "context"
    """The column of what was said first: its name, or its number from 1."""
    reply_column: Column = "reply"
    """The column of what was answered: its name, or its number from 1."""
    id_column: Column | None = None
    """The column that names a row for good; null names a row by the hash of its content."""
    format: Literal["csv", "tsv", "jsonl", "parquet"] | None = None
    """What the file is; null goes by its suffix. In TSV a tab always parts cells and quotes mean nothing."""
    header: bool = True
    """Whether the first row of CSV or TSV names the columns; without one, columns are given by number."""
    encoding: Encoding = "utf-8"
    """How the text of CSV, TSV and JSON lines became bytes."""

    @model_validator(mode="after")
    def _columns_can_be_found(self) -> Self:
        asked = (self.context_column, self.reply_column, self.id_column)
        if not self.header and any(isinstance(column, str) for column in asked):
            raise ValueError("header=false leaves no names: give context_column and reply_column as numbers from 1")
        if self.format == "jsonl" and any(isinstance(column, int) for column in asked):
            raise ValueError("JSON lines have no column numbers: give context_column and reply_column by name")
        return self


def files(settings: Settings) -> list[Path | str]:
    """What stands behind the path."""
    return files_of(settings.path)


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each row: "a" says the context, "b" the reply."""
    columns = [settings.context_column, settings.reply_column]
    columns += [settings.id_column] if settings.id_column is not None else []
    for source in asked_for(settings.path, piece):
        table = Table(source, columns, settings.encoding, settings.header)
        for row in rows(table, settings.format or format_of(source)):
            if isinstance(row, BrokenRecord):
                yield row
                continue
            context, reply, *named = row.cells
            turns: tuple[Turn, ...] = (Turn("a", context), Turn("b", reply))
            if not context.strip() or not reply.strip():
                turns = tuple(turn for turn in turns if turn.text.strip())
            yield Conversation(named[0] if named and named[0] else id_of(turns), turns)


def parts(settings: Settings, max_bytes: int) -> list[Source]:
    """Ranges of TSV and JSON lines; other files whole: in CSV a quoted cell may hold the end of a line."""
    found = []
    for source in sources(settings.path):
        has_a_row_a_line = (settings.format or format_of(source)) in ("tsv", "jsonl")
        found += cut(source, max_bytes) if has_a_row_a_line else [source]
    return found


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """A CSV file with a quoted comma, a cell of two lines and a row that is there twice."""
    file = directory / "pairs.csv"
    file.write_text(
        'reply,n,context\n"fine, thanks",1,how are you?\n"什么?\nwhat?",2,hm\n"fine, thanks",3,how are you?\n',
        encoding="utf-8",
    )
    fine = content_id([("a", "how are you?"), ("b", "fine, thanks")])
    return Settings(path=str(file)), [
        Conversation(fine, (Turn("a", "how are you?"), Turn("b", "fine, thanks"))),
        Conversation(content_id([("a", "hm"), ("b", "什么?\nwhat?")]), (Turn("a", "hm"), Turn("b", "什么?\nwhat?"))),
        Conversation(fine, (Turn("a", "how are you?"), Turn("b", "fine, thanks"))),
    ]
