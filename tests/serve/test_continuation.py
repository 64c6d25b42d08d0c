"""What a client lacks of a stream is cut out of the same reply said anew, or nothing is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve.continuation import Continuation, Differs
from tests.serve.helpers import events_of


def event(content: str, finish: str | None = None, **more: Any) -> bytes:
    """A chunk as it is sent."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return (
        b"data: "
        + json.dumps({"id": "b", "created": 2, "model": "chat@3", "choices": [choice], **more}).encode()
        + b"\n\n"
    )


def test_pieces_of_another_size_are_cut_where_the_client_is() -> None:
    going_on = Continuation(event("Good m", id="a", created=1, model="chat"))
    rest = going_on.rest(event("Good") + event(" mor") + event("ning", "stop") + b"data: [DONE]\n\n")
    assert rest.endswith(b"data: [DONE]\n\n")
    chunks = events_of(rest.decode())
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["or", "ning"]
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {("a", 1, "chat")}


@pytest.mark.parametrize("said", [event("Good e"), event("Go") + event("", "stop")])
def test_another_reply_is_not_glued_to_the_first(said: bytes) -> None:
    with pytest.raises(Differs):
        Continuation(event("Good m")).rest(said)


def test_a_reason_and_a_usage_that_were_sent_are_not_sent_again() -> None:
    end, usage = event("Good", "stop"), b'data: {"id": "b", "choices": [], "usage": {"total_tokens": 3}}\n\n'
    done = b"data: [DONE]\n\n"
    (told,) = events_of(Continuation(end).rest(end + usage + done).decode())
    assert told["usage"] == {"total_tokens": 3}
    assert Continuation(end + usage).rest(end + usage + done) == done
