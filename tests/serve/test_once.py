"""What a replica has kept, and died with the answer in its hands, is not kept again when the door asks another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from starlette.types import ASGIApp

from serve.api import create_api
from serve.service import Service
from serve.store import feedback
from serve.store.tables import replies
from tests.serve.helpers import events_of
from tests.serve.through_the_door import Proxy, ask, text_of


@pytest.mark.parametrize("stream", [True, False])
def test_a_session_has_the_turn_once_whenever_the_replica_dies(
    make_service: Callable[..., Service], stream: bool
) -> None:
    one, other = (create_api(make_service()) for _ in range(2))  # of one database
    for lives in (0, 1, 3, 6, 100):
        proxy = Proxy([(one, lives), (other, None)])
        answer = ask(proxy, session_id="new", stream=stream, max_tokens=6, min_reply_tokens=6)
        assert answer.status_code == 200, answer.text
        if stream:
            named = {chunk["session_id"] for chunk in events_of(answer.text)}
            text = text_of(answer)
        else:
            named, text = {answer.json()["session_id"]}, answer.json()["choices"][0]["message"]["content"]
        assert len(named) == 1
        page = asyncio.run(_get(other, f"/v1/sessions/{named.pop()}"))
        assert [turn["content"] for turn in page["turns"]] == ["Hello!", text]


def test_a_reply_that_was_kept_before_the_replica_died_is_not_made_again(make_service: Callable[..., Service]) -> None:
    service, other = make_service(), make_service()
    tokens = other.replica.responder.engine.statistics
    said = tokens().num_tokens
    # It died with the answer in its hands.
    answer = ask(Proxy([(create_api(service), 0), (create_api(other), None)]), session_id="new", max_tokens=6)
    assert answer.status_code == 200, answer.text
    assert tokens().num_tokens == said
    count = other.database.work(lambda rows: rows.execute(select(func.count()).select_from(replies)).scalar())
    assert count == 1


def test_feedback_is_kept_once_though_the_replica_died_with_the_answer_in_its_hands(
    make_service: Callable[..., Service],
) -> None:
    service = make_service()
    one, other = create_api(service), create_api(make_service())
    reply = ask(Proxy([(one, None)]), store=True).json()["id"]
    proxy = Proxy([(one, 0), (other, None)])
    answer = ask(proxy, "/v1/feedback", body={"reply_id": reply, "thumb": "up"})
    assert (answer.status_code, len(proxy.seen)) == (200, 2)
    (given,) = service.database.work(lambda rows: list(feedback.everything(rows)), writes=False)
    assert given.id == answer.json()["id"]


def test_a_session_is_begun_and_deleted_once_though_the_replica_died_with_the_answer_in_its_hands(
    make_service: Callable[..., Service],
) -> None:
    one, other = create_api(make_service()), create_api(make_service())
    begun = ask(Proxy([(one, 0), (other, None)]), "/v1/sessions", body={})
    (listed,) = asyncio.run(_get(other, "/v1/sessions"))["data"]
    assert listed["id"] == begun.json()["id"]
    gone = ask(Proxy([(one, 0), (other, None)]), f"/v1/sessions/{listed['id']}", body={}, method="DELETE")
    assert (gone.status_code, gone.json()["deleted"]) == (200, True)
    assert asyncio.run(_get(other, "/v1/sessions"))["data"] == []
    assert ask(other, f"/v1/sessions/{listed['id']}", body={}, method="DELETE").status_code == 404


async def _get(api: ASGIApp, path: str) -> Any:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://127.0.0.1") as client:
        return (await client.get(path)).json()
