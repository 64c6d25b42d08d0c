"""JSON lines of `{"messages": [{"role", "content"}, ...]}` in, conversations out: the form that chat APIs use.

An optional `"id"` names the conversation; without one, its name is the hash of its content. The role is the speaker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, Turn
from rejoinder.recipe import PluginSettings
from rejoinder.recipe.base import AbsolutePath


class Settings(PluginSettings):
    name: Literal["chat_messages"] = "chat_messages"
    path: AbsolutePath
    """The JSON-lines file to read, UTF-8."""


def files(settings: Settings) -> list[Path]:
    """The one file."""
    return [Path(settings.path)]


def read(settings: Settings) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each line; blank lines are passed over."""
    with open(settings.path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield _conversation(json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8")))
            except (ValueError, RecursionError) as error:  # not JSON (or without end), not UTF-8, not a conversation
                yield BrokenRecord(f"{settings.path}:{number}", " ".join(str(error).split()))


def _conversation(record: Any) -> Conversation:
    if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
        raise ValueError('the line needs a list "messages"')
    turns = []
    for position, message in enumerate(record["messages"]):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str) or not message.get("role"):
            raise ValueError(f'messages[{position}] needs a "role" and a "content" of text')
        if message["content"].strip():
            turns.append(Turn(str(message["role"]), message["content"]))
    content = json.dumps([(turn.speaker, turn.text) for turn in turns])
    return Conversation(str(record.get("id") or hashlib.sha256(content.encode()).hexdigest()[:16]), tuple(turns))


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """A conversation with a name and one without, which is named by its content."""
    turns = (Turn("user", "你好!"), Turn("assistant", "Hello. 🙂"))
    file = directory / "chats.jsonl"
    lines = [
        {"id": "first", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
        {"messages": [{"role": turn.speaker, "content": turn.text} for turn in turns]},
    ]
    file.write_text("\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    content = json.dumps([(turn.speaker, turn.text) for turn in turns])
    return Settings(path=str(file)), [
        Conversation("first", (Turn("user", "hi"), Turn("assistant", "hello"))),
        Conversation(hashlib.sha256(content.encode()).hexdigest()[:16], turns),
    ]
