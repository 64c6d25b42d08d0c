"""DailyDialog's train.zip, validation.zip and test.zip (or their unpacked folders) in, conversations out.

Li et al. 2017, arXiv:1710.03957; CC BY-NC-SA 4.0. A dialogue a line, each turn ended by `__eou__`; in files beside it,
a line of numbers for the turns' acts and emotions. Where dialogues_topic.txt and dialogues_text.txt lie in the same
folder, the topic is found by the text. The two speakers take turns and have no names: "a" and "b".

An id is the split and the hash of what is said: many dialogues stand in two splits, and neither the order of a file nor
the absence of another split changes a name.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn
from rejoinder.corpora.downloads import About, OfficialFile, located
from rejoinder.corpora.files import Source, members_of
from rejoinder.corpora.identity import content_id, official_split
from rejoinder.corpora.lines import lines_of
from rejoinder.recipe.base import AbsolutePath

# The numbers' meanings are from the readme.txt of the corpus.
ACTS = {"1": "inform", "2": "question", "3": "directive", "4": "commissive"}
EMOTIONS = dict(
    zip("0123456", ("no emotion", "anger", "disgust", "fear", "happiness", "sadness", "surprise"), strict=True)
)
TOPICS = dict(
    enumerate(
        ("Ordinary Life", "School Life", "Culture & Education", "Attitude & Emotion", "Relationship", "Tourism",
         "Health", "Work", "Politics", "Finance"), start=1,
    )
)  # fmt: skip
# The one `__eou__` of train too many: it parts in two what one speaker says, and has neither act nor emotion.
STRAY = ("as well . __eou__ I've been using Jim's old bike", "as well . I've been using Jim's old bike")


ABOUT = About(
    "daily_dialog",
    "DailyDialog",
    licence="CC BY-NC-SA 4.0",
    citation="https://arxiv.org/abs/1710.03957",
    files=(
        OfficialFile(
            (
                "http://yanran.li/files/ijcnlp_dailydialog.zip",  # the authors' site, which is not always there
                "https://web.archive.org/web/20220516002703id_/http://yanran.li/files/ijcnlp_dailydialog.zip",
            ),
            # Size and hash: huggingface/datasets, datasets/daily_dialog/dataset_infos.json.
            "c641e88cbf21fd7c1b57289387f9107d33fe8685a2b37fe8066b82776535ea89",
            4_475_921,
            unpacked=("train.zip", "validation.zip", "test.zip", "dialogues_text.txt", "dialogues_topic.txt"),
        ),
    ),
)


class Settings(CorpusSettings):
    name: Literal["daily_dialog"] = "daily_dialog"
    path: AbsolutePath | None = None
    """The folder that holds the zips, or the folders train, validation and test that were in them. null: the official
    files, fetched once into $REJOINDER_HOME/corpora/daily_dialog."""
    splits: Annotated[tuple[Literal["train", "validation", "test"], ...], Field(min_length=1)] = (
        "train", "validation", "test",
    )  # fmt: skip
    """The parts to read; each must be there."""


def files(settings: Settings) -> list[Path | str]:
    """The zips, or the text files of an unpacked one; the topics, where they are."""
    found = {Path(source.file): None for split in settings.splits for source in _sources(settings, split).values()}
    return [*found, *_topic_files(settings)]


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each line. A dialogue without as many acts or emotions as turns is broken."""
    topics = _topics(settings)
    for split in settings.splits:
        found = _sources(settings, split)
        for together in zip_longest(*map(lines_of, found.values())):
            there = [line for line in together if line is not None]
            if len(there) < len(found):
                ended = list(found.values())[together.index(None)]
                yield BrokenRecord(str(ended), f"ends before {there[0].source} does, so the two cannot be aligned")
                break
            try:
                texts = {}
                for kind, line in zip(found, there, strict=True):
                    place = line.place
                    texts[kind] = line.text()
                place = there[0].place
                if not texts[""].strip():
                    continue
                turns, notes = _aligned(texts, found)
            except ValueError as error:
                yield BrokenRecord(place, str(error))
                continue
            said = content_id((turn.speaker, turn.text) for turn in turns)
            notes += [("topic", topics[said])] if said in topics else []
            yield Conversation(f"daily_dialog/{split}/{said}", turns, official_split(split), tuple(notes))


def _aligned(texts: dict[str, str], found: dict[str, Source]) -> tuple[tuple[Turn, ...], list[tuple[str, str]]]:
    said = _said(texts[""])
    numbers = {kind: texts[kind].split() for kind in texts if kind}
    for kind, of_turns in numbers.items():
        if len(of_turns) != len(said):
            raise ValueError(f"{len(said)} turns, but {found[kind]} has {len(of_turns)} numbers for them")
        known = ACTS if kind == "act" else EMOTIONS
        if unknown := [number for number in of_turns if number not in known]:
            raise ValueError(f"{found[kind]} has {unknown[0]!r} for a turn; there are: {', '.join(known)}")
    emotions: list[str | None] = [EMOTIONS[number] for number in numbers.get("emotion", ())]
    spoken = zip(said, emotions or [None] * len(said), strict=True)
    turns = tuple(Turn("ab"[position % 2], text, emotion) for position, (text, emotion) in enumerate(spoken) if text)
    return turns, [("acts", " ".join(ACTS[number] for number in numbers["act"]))] if "act" in numbers else []


def _said(text: str) -> list[str]:
    turns = [" ".join(turn.split()) for turn in text.replace(*STRAY).split("__eou__")]
    if turns.pop():
        raise ValueError("the last turn does not end with __eou__; the file may have been cut short")
    return turns


def _sources(settings: Settings, split: str) -> dict[str, Source]:
    """The text ("") and, where they are, the acts ("act") and emotions ("emotion") of one split."""
    root = located(settings.path, ABOUT)
    archive, folder = Path(root, f"{split}.zip"), Path(root, split)
    names: dict[str, str] = {kind: f"dialogues_{kind}{'_' * bool(kind)}{split}.txt" for kind in ("", "act", "emotion")}
    if folder.is_dir() and not archive.exists():
        return {
            kind: Source(str(folder / name)) for kind, name in names.items() if not kind or (folder / name).exists()
        }
    if not archive.is_file() or not zipfile.is_zipfile(archive):
        return {"": Source(str(archive), f"{split}/{names['']}")}
    there = members_of(str(archive))
    return {
        kind: Source(str(archive), f"{split}/{name}")
        for kind, name in names.items()
        if not kind or f"{split}/{name}" in there
    }


def _topic_files(settings: Settings) -> list[Path]:
    root = located(settings.path, ABOUT)
    both = [Path(root, name) for name in ("dialogues_text.txt", "dialogues_topic.txt")]
    return both if all(file.is_file() for file in both) else []


def _topics(settings: Settings) -> dict[str, str]:
    """Hash of what is said -> topic, of all dialogues."""
    topics = {}
    both = [lines_of(Source(str(file))) for file in _topic_files(settings)]
    for text, topic in zip(*both, strict=False):
        number = topic.text().strip()
        if number.isdecimal() and int(number) in TOPICS:
            said = (("ab"[i % 2], turn) for i, turn in enumerate(_said(text.text())) if turn)
            topics[content_id(said)] = TOPICS[int(number)]
    return topics


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """A zip of train and a folder of test, which hold the same dialogue; nothing of validation is asked for."""
    texts = {
        "": "Hi , Kathy . __eou__ Do you like traveling ? __eou__\n",
        "act_": "1 2 \n",
        "emotion_": "4 0 \n",
    }
    with zipfile.ZipFile(directory / "train.zip", "w") as archive:
        for kind, text in texts.items():
            archive.writestr(f"train/dialogues_{kind}train.txt", text)
    (directory / "test").mkdir()
    for kind, text in texts.items():
        (directory / "test" / f"dialogues_{kind}test.txt").write_text(text)
    turns = (Turn("a", "Hi , Kathy .", "happiness"), Turn("b", "Do you like traveling ?", "no emotion"))
    said = content_id((turn.speaker, turn.text) for turn in turns)
    return Settings(path=str(directory), splits=("train", "test")), [
        Conversation(f"daily_dialog/{split}/{said}", turns, split, (("acts", "inform question"),))
        for split in ("train", "test")
    ]
