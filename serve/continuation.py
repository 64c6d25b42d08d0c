"""What was sent of a stream, and the events of another try at it, in; the events that are still to be sent out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_DONE = b"[DONE]"
_SAME = ("id", "created", "model", "session_id")


class Differs(Exception):
    """The second try says something else: what was sent cannot be gone on with."""


@dataclass
class _Sent:
    """Of one reply. What the second try says of it again is taken away from here."""

    text: str = ""
    num_logprobs: int = 0
    has_finished: bool = False


class Continuation:
    """Goes on where a stream was cut. Both are server-sent events of chat or text completions."""

    def __init__(self, sent: bytes) -> None:
        """`sent` is what the client has, whole events."""
        self._head: dict[str, Any] = {}
        self._sent: dict[int, _Sent] = {}
        self._has_usage = self._is_done = False
        for data in _events(sent):
            if data == _DONE:
                self._is_done = True
                continue
            chunk = json.loads(data)
            self._head = self._head or {name: chunk[name] for name in _SAME if name in chunk}
            for choice in chunk.get("choices", ()):
                known = self._sent.setdefault(choice.get("index", 0), _Sent())
                known.text += _text_of(choice)
                known.num_logprobs += max(map(len, _logprobs_of(choice).values()), default=0)
                known.has_finished |= choice.get("finish_reason") is not None
            self._has_usage |= bool(chunk.get("usage"))

    @property
    def version(self) -> str | None:
        """The `model` that the stream's events name."""
        return self._head.get("model")

    @property
    def is_complete(self) -> bool:
        """Whether the client has all of it already."""
        return self._is_done

    def rest(self, events: bytes) -> bytes:
        """What of these whole events the client has not seen, in the words of the first try. Raises Differs."""
        return b"".join(b"data: " + data + b"\n\n" for data in self._rest(events))

    def _rest(self, events: bytes) -> Iterator[bytes]:
        for data in _events(events):
            if data == _DONE:
                yield data
                continue
            chunk = json.loads(data)
            if "error" not in chunk and not self._is_news(chunk):
                continue
            yield json.dumps({**chunk, **self._head}, ensure_ascii=False).encode() if "error" not in chunk else data

    def _is_news(self, chunk: dict[str, Any]) -> bool:
        """Takes away what the client has."""
        choices = chunk.get("choices") or []
        if not choices:
            return not self._has_usage
        news = [self._is_new_choice(choice) for choice in choices]  # each of them is looked at
        return any(news)

    def _is_new_choice(self, choice: dict[str, Any]) -> bool:
        index = choice.get("index", 0)
        is_new_reply, text = index not in self._sent, _text_of(choice)
        sent = self._sent.setdefault(index, _Sent())
        known = text[: len(sent.text)]
        if not sent.text.startswith(known):
            raise Differs
        sent.text = sent.text[len(known) :]
        ends = choice.get("finish_reason") is not None
        if ends and sent.text:
            raise Differs
        _set_text(choice, text[len(known) :])
        logprobs = _logprobs_of(choice)
        num_known = min(sent.num_logprobs, max(map(len, logprobs.values()), default=0))
        sent.num_logprobs -= num_known
        for values in logprobs.values():
            del values[:num_known]
        if ends:
            return not sent.has_finished
        return is_new_reply or bool(text[len(known) :])  # else the role at the beginning, which the client has


def _events(stream: bytes) -> Iterator[bytes]:
    for event in stream.split(b"\n\n"):
        if event.startswith(b"data: "):
            yield event.removeprefix(b"data: ")


def _text_of(choice: dict[str, Any]) -> str:
    delta = choice.get("delta")
    return str((choice.get("text") if delta is None else delta.get("content")) or "")


def _logprobs_of(choice: dict[str, Any]) -> dict[str, list[Any]]:
    """A list with something of each token; text completions have several."""
    logprobs = choice.get("logprobs") or {}
    return {name: values for name, values in logprobs.items() if isinstance(values, list)}


def _set_text(choice: dict[str, Any], text: str) -> None:
    if "delta" in choice:
        choice["delta"]["content"] = text
    else:
        choice["text"] = text
