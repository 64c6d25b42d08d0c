"""Raw dialogue files in, Conversations out.

A reader is a file of this folder with a class `Settings` and three functions:

    read(settings) -> Iterator[Conversation | BrokenRecord]    lazily, in file order
    files(settings) -> list[Path]       what it reads: hashed into the fingerprint of the prepared set
    sample(directory) -> (Settings, list[Conversation])        a tiny corpus and what it holds, for the contract suite
"""

from rejoinder.corpora.base import BrokenRecord, Conversation, Turn
from rejoinder.corpora.reading import ReadReport, fingerprints, read_corpora

__all__ = ["BrokenRecord", "Conversation", "ReadReport", "Turn", "fingerprints", "read_corpora"]
