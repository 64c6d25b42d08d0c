"""Two files in, of which line n of one is answered by line n of the other; conversations of two turns out.

The form of fairseq (`train.src`, `train.tgt`), OpenNMT (`src-train.txt`, `tgt-train.txt`) and OPUS' OpenSubtitles.
A pair with an empty line becomes a conversation of fewer than two turns: preparing counts and passes it over.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn
from rejoinder.corpora.files import files_of
from rejoinder.corpora.identity import content_id, id_of
from rejoinder.corpora.lines import Encoding, lines
from rejoinder.errors import CorpusError
from rejoinder.recipe.base import AbsolutePath


class Settings(CorpusSettings):
    name: Literal["parallel_text"] = "parallel_text"
    path: AbsolutePath
    """The file of what was said first, a turn a line; also a pattern, folder, ARCHIVE.zip!MEMBER or s3:// address."""
    reply_path: AbsolutePath
    """The file of the answers, with as many lines."""
    encoding: Encoding = "utf-8"
    """How the text of both became bytes."""


def files(settings: Settings) -> list[Path | str]:
    """Both files."""
    return [*files_of(settings.path), *files_of(settings.reply_path)]


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each line: "a" says the context, "b" the reply. CorpusError where one file ends early."""
    num_contexts, num_replies = 0, 0
    for context, reply in zip_longest(lines(settings.path), lines(settings.reply_path)):
        num_contexts += context is not None
        num_replies += reply is not None
        if context is None or reply is None:
            continue
        turns = []
        try:
            for speaker, line in (("a", context), ("b", reply)):
                place = line.place
                if text := line.text(settings.encoding).strip():
                    turns.append(Turn(speaker, text))
        except ValueError as error:
            yield BrokenRecord(place, str(error))
            continue
        yield Conversation(id_of(turns), tuple(turns))
    if num_contexts != num_replies:
        raise CorpusError(
            f"{settings.path}: {num_contexts} lines, but {settings.reply_path} has {num_replies}; line n of one must "
            "answer line n of the other, so one of them is not whole"
        )


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """Two pairs."""
    said = [("hello , you .", "hi !"), ("什么 ?", "nothing 🙂")]
    for name, column in (("talk.src", 0), ("talk.tgt", 1)):
        (directory / name).write_text("".join(f"{pair[column]}\n" for pair in said), encoding="utf-8")
    return Settings(path=str(directory / "talk.src"), reply_path=str(directory / "talk.tgt")), [
        Conversation(content_id([("a", context), ("b", reply)]), (Turn("a", context), Turn("b", reply)))
        for context, reply in said
    ]
