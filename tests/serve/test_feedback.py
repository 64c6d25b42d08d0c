"""What people thought of replies: tied to reply, session and version, and a corpus in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rejoinder.corpora import Conversation, chat_messages
from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe
from rejoinder.shards import prepare
from serve.exporting import export_feedback
from serve.service import Service
from serve.store import feedback
from tests.serve.helpers import client_of, make_key

CHAT = "/v1/chat/completions"


def reply_to(client: TestClient, text: str, **changes: Any) -> dict[str, Any]:
    """A reply's body."""
    body = {"model": "chat", "messages": [{"role": "user", "content": text}], "max_tokens": 4}
    return dict(client.post(CHAT, json=body | changes).json())


def test_feedback_is_tied_to_reply_session_and_version(client: TestClient, service: Service) -> None:
    reply = reply_to(client, "Hello!", session_id="new")
    card = client.post("/v1/feedback", json={"reply_id": reply["id"], "thumb": "up", "rating": 5}).json()
    assert card["session_id"] == reply["session_id"]
    assert card["model_version"] == "models:/chat/3"
    (given,) = service.database.work(lambda rows: list(feedback.everything(rows)))
    assert (given.thumb, given.rating, given.messages) == ("up", 5, [("user", "Hello!")])
    assert given.reply == reply["choices"][0]["message"]["content"]


def test_a_reply_outside_of_sessions_is_kept_when_it_is_asked_for(client: TestClient) -> None:
    kept, lost = (reply_to(client, "Hello!", store=store) for store in (True, False))
    opinion = {"correction": "Hi!", "regenerate": True}
    assert client.post("/v1/feedback", json={"reply_id": kept["id"]} | opinion).status_code == 200
    answer = client.post("/v1/feedback", json={"reply_id": lost["id"]} | opinion)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "reply_not_found")


def test_nobody_gives_feedback_on_a_reply_to_somebody_else(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.require_keys=true")
    mine, yours = (client_of(service, make_key(service)) for _ in range(2))
    reply = reply_to(mine, "Hello!", store=True)
    assert yours.post("/v1/feedback", json={"reply_id": reply["id"], "thumb": "up"}).status_code == 404


@pytest.mark.parametrize(
    ("opinion", "says"),
    [({}, "say something"), ({"thumb": "sideways"}, "thumb"), ({"rating": 6}, "rating"), ({"stars": 3}, "stars")],
)
def test_an_opinion_that_is_none_is_refused(client: TestClient, opinion: dict[str, Any], says: str) -> None:
    answer = client.post("/v1/feedback", json={"reply_id": "x"} | opinion)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


def test_what_was_liked_or_corrected_becomes_a_corpus_that_prepare_reads(
    client: TestClient, recipe: Recipe, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    file = tmp_path / "feedback.jsonl"
    with pytest.raises(ServingError, match="nothing to export"):
        export_feedback(recipe, str(file), 4)
    liked, bad, corrected = (reply_to(client, f"Hello {n}!", session_id="new") for n in range(3))
    regretted = reply_to(client, "Hello 3!", store=True)
    for reply, opinion in (
        (liked, {"rating": 4}),
        (bad, {"thumb": "down"}),
        (corrected, {"rating": 1, "correction": "I am fine, thanks."}),
        (regretted, {"thumb": "up"}),
        (regretted, {"thumb": "down"}),
    ):
        answer = client.post("/v1/feedback", json={"reply_id": reply["id"]} | opinion)
        assert answer.status_code == 200, answer.text
    assert export_feedback(recipe, str(file), 4) == (2, 2)
    talks = [
        talk for talk in chat_messages.read(chat_messages.Settings(path=str(file))) if isinstance(talk, Conversation)
    ]
    assert [[turn.text for turn in talk.turns] for talk in talks] == [
        ["Hello 0!", liked["choices"][0]["message"]["content"]],
        ["Hello 2!", "I am fine, thanks."],
    ]
    assert [talk.id for talk in talks] == [liked["id"], corrected["id"]]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_prepare_learns_from_exported_feedback(
    make_service: Callable[..., Service], recipe: Recipe, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    client, file = client_of(make_service()), tmp_path / "feedback.jsonl"
    for number in range(30):
        reply = reply_to(client, f"Hello number {number}, how are you?", session_id="new")
        opinion = {"reply_id": reply["id"], "correction": f"I am fine, number {number}."}
        assert client.post("/v1/feedback", json=opinion).status_code == 200
    export_feedback(recipe, str(file), 4)
    learnt = prepare(make_recipe("data.corpora=[{name: chat_messages, path: " + str(file) + "}]"))
    assert learnt.manifest.num_conversations == 30
    assert learnt.manifest.num_turns == 60
