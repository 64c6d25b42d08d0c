"""The `chitchat-dataset` package (or its dataset.json) in, conversations out.

7,168 real conversations between two people each, MIT licence, BYU PCC lab. A turn is a list of messages that
one sender typed in a row; they are joined by a blank.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, Turn
from rejoinder.errors import CorpusError
from rejoinder.recipe import PluginSettings
from rejoinder.recipe.base import AbsolutePath


class Settings(PluginSettings):
    name: Literal["chitchat"] = "chitchat"
    path: AbsolutePath | None = None
    """The dataset.json to read; null takes the one in the installed `chitchat-dataset` package."""


def files(settings: Settings) -> list[Path]:
    """The one JSON file."""
    if settings.path is not None:
        return [Path(settings.path)]
    spec = importlib.util.find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise CorpusError(
            "the package chitchat-dataset is not installed; `pip install chitchat-dataset`, or point the reader's "
            "path to a dataset.json"
        )
    return [Path(spec.origin).with_name("dataset.json")]


def read(settings: Settings) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each key of the file."""
    (file,) = files(settings)
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorpusError(f"{file}: not a JSON file of UTF-8 text ({error}); it may have been cut short") from None
    if not isinstance(records, dict):
        raise CorpusError(f"{file}: holds a {type(records).__name__} instead of conversations by key; wrong file?")
    for key, record in records.items():
        try:
            turns = tuple(
                Turn(messages[0]["sender"], " ".join(message["text"] for message in messages))
                for messages in record["messages"]
                if any(message["text"].strip() for message in messages)
            )
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            yield BrokenRecord(f"{file}: record {key!r}", f"lacks what a conversation has ({error!r})")
            continue
        yield Conversation(f"chitchat/{key}", turns)


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
                    ]
                },
                "c2": {"messages": [message("bob", "hm"), message("ann", "什么?")]},
            }
        ),
        encoding="utf-8",
    )
    return Settings(path=str(file)), [
        Conversation("chitchat/c1", (Turn("ann", "Hello How are you?"), Turn("bob", "fine 😀"))),
        Conversation("chitchat/c2", (Turn("bob", "hm"), Turn("ann", "什么?"))),
    ]
