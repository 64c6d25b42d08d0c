"""Raw dialogue files in, Conversations out.

A reader is a file of this folder with a class `Settings` and three functions:

    read(settings) -> Iterator[Conversation | BrokenRecord]    lazily, in file order
    files(settings) -> list[Path | str]       what it reads (a str is an address such as s3://): hashed into the
                                              fingerprint of the prepared set
    sample(directory) -> (Settings, list[Conversation])        a tiny corpus and what it holds, for the contract suite

Paths, packed files, encodings, tables and ids are the same for all readers: `files`, `lines`, `tables`, `identity`.
"""

from rejoinder.corpora.base import BrokenRecord, Conversation, Turn
from rejoinder.corpora.reading import ReadReport, fingerprints, read_corpora

__all__ = ["BrokenRecord", "Conversation", "ReadReport", "Turn", "fingerprints", "read_corpora"]
