"""Raw dialogue files in, Conversations out.

A reader is a file of this folder with a class `Settings` and three functions:

    read(settings, piece=None) -> Iterator[Conversation | BrokenRecord]    lazily, in file order; of a piece: its share
    files(settings) -> list[Path | str]       what it reads (a str is an address such as s3://): hashed into the
                                              fingerprint of the prepared set
    sample(directory) -> (Settings, list[Conversation])        a tiny corpus and what it holds, for the contract suite

and, where several processes may read it side by side,

    parts(settings, max_bytes) -> list[Source]        what each of them reads; in this order it is the whole
    begins(previous, line) -> bool                    where the records of a file of lines begin, if not with each line

Paths, packed files, encodings, tables and ids are the same for all readers: `files`, `lines`, `tables`, `identity`.
"""

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn
from rejoinder.corpora.files import Source, opened, sources
from rejoinder.corpora.lines import BYTE_ORDER_MARK, MAX_LINE_BYTES
from rejoinder.corpora.reading import (
    ReadReport,
    fingerprints,
    pieces,
    read_corpora,
    read_piece,
    refuse_empty,
    too_many_broken,
)
from rejoinder.corpora.tables import format_of

__all__ = [
    "BYTE_ORDER_MARK",
    "MAX_LINE_BYTES",
    "BrokenRecord",
    "Conversation",
    "CorpusSettings",
    "Piece",
    "ReadReport",
    "Source",
    "Turn",
    "fingerprints",
    "format_of",
    "opened",
    "pieces",
    "read_corpora",
    "read_piece",
    "refuse_empty",
    "sources",
    "too_many_broken",
]
