"""A turn a line in, with a blank line between conversations; conversations of two speakers in turn out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn, asked_for
from rejoinder.corpora.files import Source, cut, files_of, sources
from rejoinder.corpora.identity import content_id, id_of
from rejoinder.corpora.lines import Encoding, lines_of
from rejoinder.recipe.base import AbsolutePath


class Settings(CorpusSettings):
    name: Literal["plain_text"] = "plain_text"
    path: AbsolutePath
    """File, pattern, folder, ARCHIVE.zip!MEMBER or s3:// address of the text; packed ones are unpacked."""
    encoding: Encoding = "utf-8"
    """How the text became bytes."""


def files(settings: Settings) -> list[Path | str]:
    """What stands behind the path."""
    return files_of(settings.path)


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each block of lines, "a" and "b" in turn. A broken line takes its whole block with it."""
    for source in asked_for(settings.path, piece):
        said: list[str] = []
        is_broken = False
        for line in lines_of(source, begins):
            if not line.content.strip():
                if said and not is_broken:
                    yield _conversation(said)
                said, is_broken = [], False
                continue
            try:
                said.append(line.text(settings.encoding).strip())
            except ValueError as error:
                is_broken = True
                yield BrokenRecord(line.place, str(error))
        if said and not is_broken:
            yield _conversation(said)


def _conversation(said: list[str]) -> Conversation:
    turns = tuple(Turn("ab"[position % 2], text) for position, text in enumerate(filter(None, said)))
    return Conversation(id_of(turns), turns)


def parts(settings: Settings, max_bytes: int) -> list[Source]:
    """Ranges of each file."""
    return [part for source in sources(settings.path) for part in cut(source, max_bytes)]


def begins(previous: bytes, line: bytes) -> bool:
    """A line after a blank one begins a conversation."""
    return bool(line.strip()) and not previous.strip()


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """Two conversations with three blank lines between them."""
    file = directory / "talks.txt"
    blocks = [("hello", "hi, how are you?", "fine 🙂"), ("你好", "  is that Chinese? ")]
    file.write_text("\n\n\n\n".join("\n".join(block) for block in blocks), encoding="utf-8")
    conversations = []
    for block in blocks:
        turns = tuple(Turn(speaker, text.strip()) for speaker, text in zip("aba", block, strict=False))
        conversations.append(Conversation(content_id((turn.speaker, turn.text) for turn in turns), turns))
    return Settings(path=str(file)), conversations
