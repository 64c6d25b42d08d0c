"""EmpatheticDialogues' train.csv, valid.csv and test.csv in, conversations about a felt situation out.

Rashkin et al. 2019, arXiv:1811.00207; CC BY-NC 4.0. A comma inside a cell is written `_comma_` and quotes mean
nothing, so a line is parted at every comma. Columns: conv_id, utterance_idx, context (the emotion), prompt (the
situation), speaker_idx, utterance, and in some files more.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn, asked_for
from rejoinder.corpora.downloads import About, OfficialFile, located
from rejoinder.corpora.files import Source, files_of, sources
from rejoinder.corpora.identity import official_split
from rejoinder.corpora.lines import lines_of
from rejoinder.recipe.base import AbsolutePath

HEADER = "conv_id,"
NUM_CELLS = 6


ABOUT = About(
    "empathetic_dialogues",
    "EmpatheticDialogues",
    licence="CC BY-NC 4.0",
    citation="https://arxiv.org/abs/1811.00207",
    files=(
        OfficialFile(
            ("https://dl.fbaipublicfiles.com/parlai/empatheticdialogues/empatheticdialogues.tar.gz",),
            # Size and hash: huggingface/datasets, datasets/empathetic_dialogues/dataset_infos.json.
            "56f234d77b7dd1f005fd365bb17769cfe346c3c84295b69bc069c8ccb83be03d",
            28_022_709,
            unpacked=("train.csv", "valid.csv", "test.csv"),
        ),
    ),
)


class Settings(CorpusSettings):
    name: Literal["empathetic_dialogues"] = "empathetic_dialogues"
    path: AbsolutePath | None = None
    """The folder of the three files; also one file, a pattern, ARCHIVE.zip!MEMBER or an s3:// address. null: the
    official files, fetched once into $REJOINDER_HOME/corpora/empathetic_dialogues."""


class _Row(NamedTuple):
    conversation: str
    position: int
    emotion: str
    situation: str
    speaker: str
    text: str


class _Broken(NamedTuple):
    conversation: str
    record: BrokenRecord


def files(settings: Settings) -> list[Path | str]:
    """What stands behind the path."""
    return files_of(located(settings.path, ABOUT))


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each run of rows of one conv_id. A broken row takes its whole conversation with it."""
    for source in asked_for(settings.path, piece, ABOUT):
        split = official_split(source.name)
        for name, group in groupby(_rows(source), key=lambda row: row.conversation):
            rows: list[_Row] = []
            broken: list[BrokenRecord] = []
            for row in group:
                if isinstance(row, _Broken):
                    broken.append(row.record)
                else:
                    rows.append(row)
            yield from broken
            if not broken:
                rows.sort(key=lambda row: row.position)
                turns = tuple(Turn(row.speaker, row.text) for row in rows if row.text)
                notes = (("emotion", rows[0].emotion), ("situation", rows[0].situation))
                yield Conversation(f"empathetic_dialogues/{name}", turns, split, notes)


def _rows(source: Source) -> Iterator[_Row | _Broken]:
    for line in lines_of(source):
        if not line.content.strip() or (line.is_first and line.content.startswith(HEADER.encode())):
            continue
        name = line.content.split(b",")[0].decode(errors="replace")
        try:
            cells = [cell.replace("_comma_", ",").strip() for cell in line.text().split(",")]
            if len(cells) < NUM_CELLS or not cells[1].isdecimal() or not cells[4]:
                raise ValueError(
                    f"needs conv_id, utterance_idx (a number), context, prompt, speaker_idx and utterance; has {cells}"
                )
            yield _Row(cells[0], int(cells[1]), cells[2], cells[3], cells[4], cells[5])
        except ValueError as error:
            yield _Broken(name, BrokenRecord(line.place, str(error)))


def parts(settings: Settings, max_bytes: int) -> list[Source]:
    """Each file, whole: nothing in a row tells whether it begins a conversation but the row before."""
    return sources(located(settings.path, ABOUT))


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """Two conversations of the training split, one with its rows out of order."""
    file = directory / "train.csv"
    file.write_text(
        "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"
        'hit:0_conv:1,1,sentimental,I met her_comma_ once.,1,I remember "her"_comma_ and you?,5|5|5,\n'
        "hit:0_conv:1,2,sentimental,I met her_comma_ once.,0,So do I.,5|5|5,\n"
        "hit:1_conv:2,2,afraid,It was dark,3,Of what?,5|5|5,<HATE>\n"
        "hit:1_conv:2,1,afraid,It was dark,2,I was afraid,5|5|5,\n",
        encoding="utf-8",
    )
    return Settings(path=str(file)), [
        Conversation(
            "empathetic_dialogues/hit:0_conv:1",
            (Turn("1", 'I remember "her", and you?'), Turn("0", "So do I.")),
            "train",
            (("emotion", "sentimental"), ("situation", "I met her, once.")),
        ),
        Conversation(
            "empathetic_dialogues/hit:1_conv:2",
            (Turn("2", "I was afraid"), Turn("3", "Of what?")),
            "train",
            (("emotion", "afraid"), ("situation", "It was dark")),
        ),
    ]
