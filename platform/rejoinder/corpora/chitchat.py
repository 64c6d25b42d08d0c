"""The `chitchat-dataset` package (or its dataset.json) in, conversations out.

7,168 real conversations between two people each, MIT licence, BYU PCC lab. A turn is a list of messages that
one sender typed in a row; they are joined by a blank. The topic that was proposed and the ratings, from 1 to 10, become
notes.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn
from rejoinder.corpora.downloads import About
from rejoinder.corpora.files import Source, files_of, opened, sources
from rejoinder.errors import CorpusError
from rejoinder.recipe.base import AbsolutePath

ABOUT = About(
    "chitchat",
    "the Chit-Chat Dataset",
    licence="MIT",
    citation="https://pypi.org/project/chitchat-dataset/",
    otherwise="`pip install chitchat-dataset`",
)


class Settings(CorpusSettings):
    name: Literal["chitchat"] = "chitchat"
    path: AbsolutePath | None = None
    """The dataset.json to read; null takes the one in the installed `chitchat-dataset` package."""


def files(settings: Settings) -> list[Path | str]:
    """The one JSON file."""
    if settings.path is not None:
        return files_of(settings.path)
    spec = importlib.util.find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise CorpusError(
            "the package chitchat-dataset is not installed; `pip install chitchat-dataset`, or point the reader's "
            "path to a dataset.json"
        )
    return [Path(spec.origin).with_name("dataset.json")]


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each key of the file, which is read whole: 50 MB."""
    for source in sources(settings.path or str(files(settings)[0])):
        for key, record in _records(source).items():
            try:
                turns = tuple(
                    Turn(messages[0]["sender"], " ".join(message["text"] for message in messages))
                    for messages in record["messages"]
                    if any(message["text"].strip() for message in messages)
                )
                notes = tuple(_notes(record))
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                yield BrokenRecord(f"{source}: record {key!r}", f"lacks what a conversation has ({error!r})")
                continue
            yield Conversation(f"chitchat/{key}", turns, notes=notes)


def _records(source: Source) -> dict[str, Any]:
    with opened(source) as stream:
        content = stream.read()
    try:
        records = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{source}: not a JSON file of UTF-8 text ({error}); it may have been cut short") from None
    if not isinstance(records, dict):
        raise CorpusError(f"{source}: holds a {type(records).__name__} instead of conversations by key; wrong file?")
    return records


def _notes(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if record.get("prompt"):
        yield "prompt", str(record["prompt"])
    for what, rating in (record.get("ratings") or {}).items():
        yield f"rating:{what}", str(rating)


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """Two conversations, one with a message in two parts and a blank one."""

    def message(sender: str, *texts: str) -> list[dict[str, str]]:
        return [{"sender": sender, "text": text, "timestamp": "2018-05-02T19:38:15Z"} for text in texts]

    file = directory / "dataset.json"
    file.write_text(
        json.dumps(
            {
                "c1": {
                    "messages": [
                        message("ann", "Hello", "How are you?"),
                        message("bob", "fine 😀"),
                        message("ann", " "),
                    ],
                    "prompt": "Who are you?",
                    "ratings": {"witty": 9, "upbeat": 10},
                },
                "c2": {"messages": [message("bob", "hm"), message("ann", "什么?")]},
            }
        ),
        encoding="utf-8",
    )
    return Settings(path=str(file)), [
        Conversation(
            "chitchat/c1",
            (Turn("ann", "Hello How are you?"), Turn("bob", "fine 😀")),
            notes=(("prompt", "Who are you?"), ("rating:witty", "9"), ("rating:upbeat", "10")),
        ),
        Conversation("chitchat/c2", (Turn("bob", "hm"), Turn("ann", "什么?"))),
    ]
