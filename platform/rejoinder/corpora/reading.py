"""The recipe's list of corpora in, one stream of conversations out; broken records are counted up to a limit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from rejoinder import catalog
from rejoinder.corpora.base import BrokenRecord, Conversation, Piece
from rejoinder.corpora.files import sha256_of_remote
from rejoinder.errors import CorpusError
from rejoinder.recipe import PluginSettings
from rejoinder.storage import sha256_of

ROOM = "rejoinder.corpora"
NUM_FIRST_BROKEN = 10
log = logging.getLogger(__name__)


@dataclass
class ReadReport:
    """What was met while reading; filled as the stream is consumed."""

    num_conversations: int = 0
    num_turns: int = 0
    num_unanswered: int = 0
    """Conversations of fewer than two turns: nobody replied, so there is nothing to learn. Passed over."""
    num_broken: int = 0
    first_broken: list[str] = field(default_factory=list)

    def merge(self, other: ReadReport) -> None:
        """Adds what was met in a piece that comes after."""
        self.num_conversations += other.num_conversations
        self.num_turns += other.num_turns
        self.num_unanswered += other.num_unanswered
        self.num_broken += other.num_broken
        self.first_broken = (self.first_broken + other.first_broken)[:NUM_FIRST_BROKEN]


def fingerprints(corpora: Sequence[PluginSettings]) -> list[dict[str, Any]]:
    """Of every file that would be read: its corpus' index, reader, path and sha256.

    Raises CorpusError for a missing or empty one.
    """
    found = []
    for corpus, settings in enumerate(corpora):
        of = {"corpus": corpus, "reader": settings.name}
        for file in catalog.pick(ROOM, settings.name).files(settings):
            if isinstance(file, str):  # an address
                found.append(of | {"file": file, "sha256": sha256_of_remote(file)})
                continue
            if not file.is_file():
                raise CorpusError(f"{file}: no such file, though the reader {settings.name!r} was told to read it")
            if file.stat().st_size == 0:
                raise CorpusError(f"{file}: the file is empty; there is nothing to learn from")
            found.append(of | {"file": str(file), "sha256": sha256_of(file)})
    return found


def pieces(corpora: Sequence[PluginSettings], max_bytes: int) -> list[Piece]:
    """What processes can read side by side; read in this order, exactly what reading the whole gives.

    A piece is a range of about `max_bytes` where the reader can cut a file, else a file, else a whole corpus. Files are
    asked for their sizes, none is read. Raises CorpusError where a pattern or folder has no files.
    """
    found = []
    for index, settings in enumerate(corpora):
        parts = getattr(catalog.pick(ROOM, settings.name), "parts", None)
        sources = [None] if parts is None else parts(settings, max_bytes)
        found += [Piece(index, source) for source in sources]
    return found


def read_corpora(corpora: Sequence[PluginSettings], max_broken: int, report: ReadReport) -> Iterator[Conversation]:
    """Every conversation of every corpus, lazily and in order.

    Raises CorpusError at the first broken record of a corpus beyond `max_broken`, and at the end of a corpus in
    which no conversation was found.
    """
    for index, settings in enumerate(corpora):
        num_before = report.num_conversations
        yield from read_piece(corpora, Piece(index), max_broken, report)
        if report.num_conversations == num_before:
            refuse_empty(settings)


def read_piece(
    corpora: Sequence[PluginSettings], piece: Piece, max_broken: int, report: ReadReport
) -> Iterator[Conversation]:
    """Every conversation of a piece, lazily and in order. Raises CorpusError for more than `max_broken` broken records.

    Those of a corpus' other pieces are the caller's to add up, and to ask whether all of them were empty.
    """
    settings = corpora[piece.corpus]
    read = catalog.pick(ROOM, settings.name).read
    num_broken = 0
    for record in read(settings) if piece.source is None else read(settings, piece):
        if isinstance(record, BrokenRecord):
            num_broken += 1
            report.num_broken += 1
            report.first_broken += [str(record)] if len(report.first_broken) < NUM_FIRST_BROKEN else []
            log.warning("skipped a broken record: %s", record)
            if num_broken > max_broken:
                raise too_many_broken(str(record), num_broken, max_broken)
        elif len(record.turns) < 2:
            report.num_unanswered += 1
        else:
            report.num_conversations += 1
            report.num_turns += len(record.turns)
            yield record


def too_many_broken(record: str, num_broken: int, max_broken: int) -> CorpusError:
    """What is said of a corpus with more broken records than are allowed; `record` is the last one met."""
    return CorpusError(
        f"{record}; with this one {num_broken} broken records were met, more than "
        f"data.max_broken_lines = {max_broken}: put the file right or raise the limit"
    )


def refuse_empty(settings: PluginSettings) -> NoReturn:
    """Raises the CorpusError for a corpus in which no conversation of two turns was found."""
    where = ", ".join(map(str, catalog.pick(ROOM, settings.name).files(settings)))
    raise CorpusError(
        f"the corpus {settings.name!r} ({where}) holds no conversation of at least two turns; is it the right "
        "file and the right reader?"
    )
