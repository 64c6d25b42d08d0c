"""The Cornell Movie-Dialogs Corpus' movie_lines.txt and movie_conversations.txt in, conversations of films out.

Danescu-Niculescu-Mizil & Lee 2011, ACL workshop CMCL. Fields are parted by ` +++$+++ `. Lines stand in no order of
their ids, so all of them are kept in memory (300,000: about 100 MB) while conversations are read one by one. The
official files are cp1252, many copies UTF-8: each line is taken as UTF-8 where it can be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn
from rejoinder.corpora.downloads import About, OfficialFile, located
from rejoinder.corpora.files import Source, sources
from rejoinder.corpora.lines import lines_of
from rejoinder.recipe.base import AbsolutePath

LINES, CONVERSATIONS, TITLES = "movie_lines.txt", "movie_conversations.txt", "movie_titles_metadata.txt"
LIST_OF_IDS = re.compile(r"\[\s*'[^']+'(?:\s*,\s*'[^']+')*\s*\]")


ABOUT = About(
    "cornell_movie",
    "the Cornell Movie-Dialogs Corpus",
    licence="none stated",
    citation="https://www.cs.cornell.edu/~cristian/Cornell_Movie-Dialogs_Corpus.html",
    files=(
        OfficialFile(
            ("https://www.cs.cornell.edu/~cristian/data/cornell_movie_dialogs_corpus.zip",),
            # Size and hash: huggingface/datasets, datasets/cornell_movie_dialog/dataset_infos.json; CorpusLoaders.jl.
            "3bde8a571f615201bc2d2453e22878090719638592f774720eddec739de8c900",
            9_916_637,
            unpacked=(LINES, CONVERSATIONS, TITLES),
        ),
    ),
)


class Settings(CorpusSettings):
    name: Literal["cornell_movie"] = "cornell_movie"
    path: AbsolutePath | None = None
    """The folder that holds movie_lines.txt, movie_conversations.txt and, for titles, movie_titles_metadata.txt; or the
    official zip. null: the official files, fetched once into $REJOINDER_HOME/corpora/cornell_movie."""


def files(settings: Settings) -> list[Path | str]:
    """The zip; or lines, conversations and, where it is, the file of titles."""
    path = located(settings.path, ABOUT)
    if path.endswith(".zip"):
        return [Path(path)]
    titles = Path(path, TITLES)
    return [Path(path, LINES), Path(path, CONVERSATIONS), *([titles] if titles.exists() else [])]


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each line of movie_conversations.txt; its name is the id of its first line.

    A character's name is the speaker; where two in a conversation have the same one, the id is added. A line without
    text is no turn. A conversation is broken when a line that it names is not there.
    """
    said: dict[str, tuple[str, str, str]] = {}
    films: dict[str, tuple[tuple[str, str], ...]] = {}
    for record in _records(settings, TITLES, 6):
        if isinstance(record, BrokenRecord):
            yield record
        else:
            _, (film, title, year, *_, genres) = record
            films[film] = (("movie", title), ("year", year), ("genres", ", ".join(re.findall(r"'([^']+)'", genres))))
    for record in _records(settings, LINES, 5):
        if isinstance(record, BrokenRecord):
            yield record
        else:
            _, (line_id, character, _, speaker, text) = record
            said[line_id] = (sys.intern(character), sys.intern(speaker or character), text)
    for record in _records(settings, CONVERSATIONS, 4):
        if isinstance(record, BrokenRecord):
            yield record
            continue
        place, (_, _, film, listed) = record
        names = re.findall(r"'([^']+)'", listed) if LIST_OF_IDS.fullmatch(listed) else []
        missing = [name for name in names if name not in said]
        if missing or not names:
            reason = f"line {missing[0]!r} is not in {LINES}" if missing else f"{listed!r} is no list of line ids"
            yield BrokenRecord(place, reason)
            continue
        turns = _turns([said[name] for name in names])
        yield Conversation(f"cornell_movie/{names[0]}", turns, notes=films.get(film, (("movie", film),)))


def _turns(said: list[tuple[str, str, str]]) -> tuple[Turn, ...]:
    names = {character: speaker for character, speaker, _ in said}
    if len(set(names.values())) < len(names):
        names = {character: f"{speaker} ({character})" for character, speaker in names.items()}
    return tuple(Turn(names[character], text) for character, _, text in said if text)


def _records(settings: Settings, file: str, num_fields: int) -> Iterator[tuple[str, list[str]] | BrokenRecord]:
    """(place, fields) of each line of one of the files; of the titles, which may be missing, none."""
    path = located(settings.path, ABOUT)
    if path.endswith(".zip"):
        found = sources(f"{path}!*{file}")
    else:
        found = [Source(str(Path(path, file)))] if file != TITLES or Path(path, file).exists() else []
    for source in found:
        for line in lines_of(source):
            if not line.content.strip():
                continue
            fields = [field.strip() for field in _decoded(line.content).split("+++$+++", num_fields - 1)]
            if len(fields) == num_fields and fields[0]:
                yield line.place, fields
            else:
                yield BrokenRecord(line.place, f"{len(fields)} fields parted by +++$+++ where {num_fields} are needed")


def _decoded(content: bytes) -> str:
    """UTF-8; else cp1252, in which five bytes mean nothing and are taken as latin-1."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "".join(_cp1252(byte) for byte in content)


def _cp1252(byte: int) -> str:
    try:
        return bytes((byte,)).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """Three conversations in two films; cp1252 with accents and dashes, and lines in no order."""
    texts = {
        LINES: "L3 +++$+++ u1 +++$+++ m0 +++$+++ ZOË +++$+++ Café – now?\r\n"
        "L1 +++$+++ u1 +++$+++ m0 +++$+++ ZOË +++$+++ They do not!\r\n"
        "L2 +++$+++ u2 +++$+++ m0 +++$+++ CAMERON +++$+++ They do to!\r\n"
        "L4 +++$+++ u2 +++$+++ m0 +++$+++ CAMERON +++$+++ \r\n"
        "L5 +++$+++ u3 +++$+++ m1 +++$+++ MAN +++$+++ You?\r\nL6 +++$+++ u4 +++$+++ m1 +++$+++ MAN +++$+++ Me.\r\n",
        CONVERSATIONS: "u1 +++$+++ u2 +++$+++ m0 +++$+++ ['L1', 'L2']\n"
        "u1 +++$+++ u2 +++$+++ m0 +++$+++ ['L2', 'L4', 'L3']\n"
        "u3 +++$+++ u4 +++$+++ m1 +++$+++ ['L5', 'L6']\n",
        TITLES: "m0 +++$+++ léon +++$+++ 1994 +++$+++ 8.60 +++$+++ 242,310 +++$+++ ['crime', 'drama']\n",
    }
    for name, text in texts.items():
        (directory / name).write_bytes(text.encode("cp1252"))
    notes = (("movie", "léon"), ("year", "1994"), ("genres", "crime, drama"))
    one, two, three = Turn("ZOË", "They do not!"), Turn("CAMERON", "They do to!"), Turn("ZOË", "Café – now?")
    return Settings(path=str(directory)), [
        Conversation("cornell_movie/L1", (one, two), notes=notes),
        Conversation("cornell_movie/L2", (two, three), notes=notes),
        Conversation("cornell_movie/L5", (Turn("MAN (u3)", "You?"), Turn("MAN (u4)", "Me.")), notes=(("movie", "m1"),)),
    ]
