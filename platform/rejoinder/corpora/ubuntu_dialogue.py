"""The Ubuntu Dialogue Corpus' train.csv, valid.csv and test.csv in, conversations out.

Lowe et al. 2015, arXiv:1506.08909. In a cell, `__eou__` ends a message and `__eot__` a turn. train.csv has the columns
Context, Utterance and Label, of which only Label 1 was really said; the others have Ground Truth Utterance, which was
said, beside distractors, which were not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn, asked_for
from rejoinder.corpora.downloads import About, located
from rejoinder.corpora.files import Source, files_of, sources
from rejoinder.corpora.identity import content_id, id_of, official_split
from rejoinder.corpora.tables import Table, header_of, rows
from rejoinder.errors import CorpusError
from rejoinder.recipe.base import AbsolutePath

LABELLED = ("Context", "Utterance", "Label")
UNLABELLED = ("Context", "Ground Truth Utterance")
WAS_SAID, WAS_NOT_SAID = ("1", "1.0"), ("0", "0.0")


ABOUT = About(
    "ubuntu_dialogue",
    "the Ubuntu Dialogue Corpus",
    licence="none known to us",
    citation="https://arxiv.org/abs/1506.08909",
    otherwise="make train.csv, valid.csv and test.csv with https://github.com/rkadlec/ubuntu-ranking-dataset-creator",
)


class Settings(CorpusSettings):
    name: Literal["ubuntu_dialogue"] = "ubuntu_dialogue"
    path: AbsolutePath | None = None
    """The folder of the three files; also one file, a pattern, ARCHIVE.zip!MEMBER or an s3:// address. It must be
    given: of what its authors publish there is no hash to check a download by."""


def files(settings: Settings) -> list[Path | str]:
    """What stands behind the path."""
    return files_of(located(settings.path, ABOUT))


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each row that was really said: "a" and "b" in turn. CorpusError for other columns."""
    for source in asked_for(settings.path, piece, ABOUT):
        split = official_split(source.name)
        for row in rows(Table(source, _columns(source)), "csv"):
            if isinstance(row, BrokenRecord):
                yield row
                continue
            context, reply, *label = row.cells
            if label and label[0].strip() not in WAS_SAID:
                if label[0].strip() not in WAS_NOT_SAID:
                    yield BrokenRecord(row.place, f"the label is {label[0]!r}; it must be 1 or 0")
                continue
            texts = [_joined(turn) for turn in (*context.split("__eot__"), reply.replace("__eot__", " "))]
            turns = tuple(Turn("ab"[position % 2], text) for position, text in enumerate(filter(None, texts)))
            yield Conversation(id_of(turns), turns, split)


def _columns(source: Source) -> tuple[str, ...]:
    names = [name.strip() for name in header_of(source)]
    for columns in (LABELLED, UNLABELLED):
        if set(columns) <= set(names):
            return columns
    raise CorpusError(
        f"{source}: needs the columns {', '.join(LABELLED)} or {', '.join(UNLABELLED)}; there are: "
        f"{', '.join(map(repr, names)) or 'none'}"
    )


def _joined(turn: str) -> str:
    """The messages of one turn, parted by a blank."""
    return " ".join(message.strip() for message in turn.split("__eou__") if message.strip())


def parts(settings: Settings, max_bytes: int) -> list[Source]:
    """Each file, whole: a quoted cell may hold the end of a line."""
    return sources(located(settings.path, ABOUT))


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """A training file of one real reply and one distractor."""
    file = directory / "train.csv"
    file.write_text(
        "Context,Utterance,Label\n"
        '"hi , my wifi is gone __eou__ help __eou__ __eot__ which card ? __eou__ __eot__",a usb one __eou__,1\n'
        '"hi , my wifi is gone __eou__ help __eou__ __eot__ which card ? __eou__ __eot__",try vim __eou__,0\n',
        encoding="utf-8",
    )
    said = [("a", "hi , my wifi is gone help"), ("b", "which card ?"), ("a", "a usb one")]
    return Settings(path=str(file)), [Conversation(content_id(said), tuple(Turn(*turn) for turn in said), "train")]
