"""JSON lines of `{"messages": [{"role", "content"}, ...]}` in, conversations out: the form that chat APIs use.

ShareGPT's form, `{"conversations": [{"from", "value"}, ...]}`, is read as well. An optional `"id"` names the
conversation; without one, its name is the hash of its content. The role is the speaker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn, asked_for
from rejoinder.corpora.files import Source, cut, files_of, sources
from rejoinder.corpora.identity import content_id, id_of
from rejoinder.corpora.lines import lines_of
from rejoinder.recipe.base import AbsolutePath

FORMS = {"messages": ("role", "content"), "conversations": ("from", "value")}
SYSTEM = "system"


class Settings(CorpusSettings):
    name: Literal["chat_messages"] = "chat_messages"
    path: AbsolutePath
    """File, pattern, folder, ARCHIVE.zip!MEMBER or s3:// address of JSON lines in UTF-8; packed ones are unpacked."""
    keep_system: bool = False
    """Whether a system message is a turn, so that the model reads it as context; else it is only a note."""


def files(settings: Settings) -> list[Path | str]:
    """What stands behind the path."""
    return files_of(settings.path)


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """One conversation for each line; blank lines are passed over."""
    for source in asked_for(settings.path, piece):
        for line in lines_of(source):
            if not line.content.strip():
                continue
            try:
                yield _conversation(json.loads(line.text()), settings.keep_system)
            except (ValueError, RecursionError) as error:  # not JSON (or without end), not UTF-8, not a conversation
                yield BrokenRecord(line.place, " ".join(str(error).split()))


def _conversation(record: Any, keep_system: bool) -> Conversation:
    said = _said(record)
    name = record.get("id")
    if keep_system or all(turn.speaker != SYSTEM for turn in said):
        return Conversation(str(name) if name else id_of(said), tuple(said))
    turns = tuple([turn for turn in said if turn.speaker != SYSTEM])
    notes = tuple([(SYSTEM, turn.text) for turn in said if turn.speaker == SYSTEM])
    return Conversation(str(name) if name else id_of(said), turns, notes=notes)


def _said(record: Any) -> list[Turn]:
    """Each message that is not blank."""
    form = next((form for form in FORMS if isinstance(record, dict) and isinstance(record.get(form), list)), None)
    if form is None:
        raise ValueError('the line needs a list "messages" (or, as in ShareGPT, "conversations")')
    speaker, text = FORMS[form]
    said = []
    for position, message in enumerate(record[form]):
        if not isinstance(message, dict) or not isinstance(message.get(text), str) or not message.get(speaker):
            raise ValueError(f'{form}[{position}] needs a "{speaker}" and a "{text}" of text')
        if message[text].strip():
            said.append(Turn(str(message[speaker]), message[text]))
    return said


def parts(settings: Settings, max_bytes: int) -> list[Source]:
    """Ranges of each file."""
    return [part for source in sources(settings.path) for part in cut(source, max_bytes)]


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """A conversation with a name, one without, which is named by its content, and one in ShareGPT's form."""
    said = [("user", "你好!"), ("assistant", "Hello. 🙂")]
    turns = tuple(Turn(*message) for message in said)
    file = directory / "chats.jsonl"
    texts = [
        {"id": "first", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
        {"messages": [{"role": role, "content": content} for role, content in said]},
        {"id": 7, "conversations": [{"from": role, "value": text} for role, text in [("system", "Be kind."), *said]]},
    ]
    file.write_text("\n\n".join(json.dumps(line, ensure_ascii=False) for line in texts), encoding="utf-8")
    return Settings(path=str(file)), [
        Conversation("first", (Turn("user", "hi"), Turn("assistant", "hello"))),
        Conversation(content_id(said), turns),
        Conversation("7", turns, notes=(("system", "Be kind."),)),
    ]
