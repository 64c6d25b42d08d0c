"""Persona-Chat in the text format of ConvAI2 and ParlAI in, conversations with their personas out.

Lines are numbered from 1 in each conversation: first `your persona:` and `partner's persona:` lines, then
`what the partner says TAB your reply TAB reward TAB candidates parted by |`. Zhang et al. 2018, arXiv:1801.07243.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn, asked_for
from rejoinder.corpora.downloads import About, OfficialFile, located
from rejoinder.corpora.files import Source, cut, files_of, sources
from rejoinder.corpora.identity import content_id, id_of, official_split
from rejoinder.corpora.lines import lines_of
from rejoinder.recipe.base import AbsolutePath

PERSONAS = {"your persona:": "persona:you", "partner's persona:": "persona:partner"}
SILENCE = "__SILENCE__"
"""What ParlAI writes for the partner where you speak first."""


ABOUT = About(
    "persona_chat",
    "ConvAI2's Persona-Chat",
    licence="none known to us",
    citation="https://arxiv.org/abs/1801.07243",
    files=(
        OfficialFile(
            ("http://parl.ai/downloads/convai2/convai2_fix_723.tgz",),
            # Hash: facebookresearch/ParlAI, parlai/tasks/convai2/build.py.
            "d0ae89defe2fd0b0a4221eaa642a457d7d40cef475f54798119c7f3b8dd9361d",
            None,
            unpacked=("train_both_original.txt", "valid_both_original.txt"),
        ),
    ),
)


class Settings(CorpusSettings):
    name: Literal["persona_chat"] = "persona_chat"
    path: AbsolutePath | None = None
    """File, pattern, folder, ARCHIVE.zip!MEMBER or s3:// address; `train_…`, `valid_…` and `test_…` are the splits.
    null: ConvAI2's `train_both_original.txt` and `valid_…`, fetched once into $REJOINDER_HOME/corpora/persona_chat."""
    keep_candidates: bool = False
    """Whether the wrong and right candidates of each reply become notes ("candidates:POSITION OF THE TURN", "a|b")."""


def files(settings: Settings) -> list[Path | str]:
    """What stands behind the path."""
    return files_of(located(settings.path, ABOUT))


@dataclass
class _Block:
    """A conversation while its lines are read."""

    turns: list[Turn] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    num_lines: int = 0
    is_broken: bool = False

    def add(self, number: int, text: str, keep_candidates: bool) -> None:
        if number != self.num_lines + 1:
            raise ValueError(f"number {number} where {self.num_lines + 1} must follow")
        self.num_lines = number
        for mark, key in PERSONAS.items():
            if text.startswith(mark):
                self.notes.append((key, text.removeprefix(mark).strip()))
                return
        said, *more = text.split("\t")
        if not more:
            raise ValueError("needs what the partner says, a tab, and the reply")
        for speaker, words in (("partner", said.strip()), ("you", more[0].strip())):
            if words and words != SILENCE:
                self.turns.append(Turn(speaker, words))
        if keep_candidates and len(more) > 2:
            self.notes.append((f"candidates:{len(self.turns) - 1}", more[2].strip()))


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each run of numbers from 1. A broken line takes its whole conversation with it."""
    for source in asked_for(settings.path, piece, ABOUT):
        split = official_split(source.name)
        block = _Block()
        for line in lines_of(source, begins):
            if not line.content.strip():
                continue
            if begins(b"", line.content):
                yield from _whole(block, split)
                block = _Block()
            try:
                number, _, text = line.text().strip(" ").partition(" ")
                if not number.isdecimal():
                    raise ValueError("the line begins without its number in the conversation")
                if not block.is_broken:
                    block.add(int(number), text, settings.keep_candidates)
            except ValueError as error:
                if not block.is_broken:
                    yield BrokenRecord(line.place, str(error))
                block.is_broken = True
        yield from _whole(block, split)


def _whole(block: _Block, split: str | None) -> Iterator[Conversation]:
    if block.num_lines and not block.is_broken:
        yield Conversation(id_of(block.turns), tuple(block.turns), split, tuple(block.notes))


def parts(settings: Settings, max_bytes: int) -> list[Source]:
    """Ranges of each file."""
    return [part for source in sources(located(settings.path, ABOUT)) for part in cut(source, max_bytes)]


def begins(previous: bytes, line: bytes) -> bool:
    """Number 1 begins a conversation."""
    return line.strip(b" \r\n").partition(b" ")[0] == b"1"


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """Two conversations: one with personas and candidates, one in which you speak first."""
    file = directory / "valid_both_original.txt"
    file.write_text(
        "1 your persona: i like cats .\n2 partner's persona: i am a chef .\n"
        "3 hello !\thi , any pets ?\t\tno .|hi , any pets ?\n4 none . you ?\tthree cats .\t\ttwo dogs .|three cats .\n"
        "1 __SILENCE__\thello ?\n2 oh , hi .\thow are you ?\n",
        encoding="utf-8",
    )
    said = [("partner", "hello !"), ("you", "hi , any pets ?"), ("partner", "none . you ?"), ("you", "three cats .")]
    first = [("you", "hello ?"), ("partner", "oh , hi ."), ("you", "how are you ?")]
    personas = (("persona:you", "i like cats ."), ("persona:partner", "i am a chef ."))
    return Settings(path=str(file)), [
        Conversation(content_id(said), tuple(Turn(*turn) for turn in said), "valid", personas),
        Conversation(content_id(first), tuple(Turn(*turn) for turn in first), "valid"),
    ]
