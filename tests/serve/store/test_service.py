"""Two replicas on one PostgreSQL: what the endpoint promises holds there too."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from serve.service import Service
from serve.store import Database
from serve.store.tables import metadata
from tests.serve.helpers import HELLO, client_of, make_key


def test_replicas_with_one_postgresql_share_sessions_order_quotas_and_feedback(
    make_service: Callable[..., Service], migrated_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REJOINDER_TEST_DATABASE", migrated_server)
    with Database(migrated_server) as database:
        database.work(lambda rows: rows.execute(text(f"TRUNCATE {', '.join(metadata.tables)} CASCADE")))
    words = ("serving.database_url=env:REJOINDER_TEST_DATABASE", "serving.require_keys=true")
    services = [make_service(*words), make_service(*words)]
    key = make_key(services[0], tokens_per_day=10_000)
    clients = [client_of(service, key) for service in services]
    session = clients[0].post("/v1/sessions").json()["id"]

    def say(number: int) -> str:
        body = HELLO | {"session_id": session, "max_tokens": 3}
        answer = clients[number % 2].post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(6) as people:
        replies = list(people.map(say, range(6)))
    turns = clients[1].get(f"/v1/sessions/{session}").json()["turns"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 6
    assert {turn["reply_id"] for turn in turns[1::2]} == set(replies)
    assert clients[0].post("/v1/feedback", json={"reply_id": replies[-1], "thumb": "up"}).status_code == 200
    assert clients[1].delete(f"/v1/sessions/{session}").status_code == 200
    assert clients[0].get(f"/v1/sessions/{session}").status_code == 404
    assert clients[0].get("/metrics").status_code == 200
