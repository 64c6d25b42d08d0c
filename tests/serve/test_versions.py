"""Versions beside the champion: asked for by name, held as long as there is room, counted apart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from rejoinder.engine import Statistics
from serve.api import create_api
from tests.serve.helpers import HELLO, V1, V2, V3, Point, Publish, Start, ask, client_of, damage, held, look


def test_no_reply_is_longer_than_the_service_allows(publish: Publish, start: Start) -> None:
    publish("champion")
    client = client_of(start("serving.max_reply_tokens=5"))
    for asked in ({}, {"max_tokens": 20}):
        body = client.post(
            "/v1/chat/completions", json=HELLO | {"temperature": 0, "min_reply_tokens": 5} | asked
        ).json()
        assert body["usage"]["completion_tokens"] == 5
        assert body["choices"][0]["finish_reason"] == "length"


def test_versions_and_aliases_are_asked_for_by_name(publish: Publish, point: Point, start: Start) -> None:
    publish("champion")
    publish("candidate")
    publish()
    service = start("serving.also_loaded=[candidate,3]", "serving.max_loaded=3")
    client = client_of(service)
    names = [card["id"] for card in client.get("/v1/models").json()["data"]]
    assert names == ["chat", "chat@1", "chat@2", "chat@3", "chat@candidate", "chat@champion"]
    asked = {name: ask(client, name)[0] for name in names}
    assert asked == dict(zip(names, (V1, V1, V2, V3, V2, V1), strict=True))
    answer = client.post("/v1/chat/completions", json=HELLO | {"model": "chat@9"})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert "'chat@9'; there are: chat, chat@1, chat@2" in error["message"]
    for unknown in ("chat@", "chat@nobody", "other@1", "@1"):
        assert client.post("/v1/chat/completions", json=HELLO | {"model": unknown}).status_code == 404
    assert client.get("/v1/models/chat@candidate").status_code == 200
    point("candidate", 3)
    look(service)
    assert ask(client, "chat@candidate")[0] == V3


def test_of_more_versions_than_are_held_the_one_asked_longest_ago_goes_and_comes_back_when_asked(
    publish: Publish, start: Start
) -> None:
    publish("champion")
    publish()
    publish()
    service = start("serving.also_loaded=[2,3]", "serving.max_loaded=2")
    client = client_of(service)
    assert set(held(service)) == {1, 2}
    assert ask(client, "chat@3")[0] == V3
    assert set(held(service)) == {1, 3}
    assert ask(client, "chat@2")[0] == V2
    assert set(held(service)) == {1, 2}
    look(service)  # brings nobody back whom nobody asks for
    assert set(held(service)) == {1, 2}


def test_who_asks_for_a_version_gets_it_though_the_way_back_is_given_up_for_it(publish: Publish, start: Start) -> None:
    publish("champion")
    publish()
    service = start("serving.also_loaded=[2]", "serving.max_loaded=2")
    client = client_of(service)
    publish("champion")
    look(service)
    assert held(service) == {1: "previous", 3: "champion"}
    assert ask(client, "chat@2")[0] == V2
    look(service)
    assert held(service) == {2: "2", 3: "champion"}


def test_a_version_that_memory_has_no_room_for_is_refused_and_not_loaded_again_at_once(
    publish: Publish, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("champion")
    publish()
    service = start("serving.also_loaded=[2]", "serving.max_loaded_mb=1")
    monkeypatch.setattr(type(service.replica), "num_bytes", 600_000)
    service.versions.trim()
    client, loaded = client_of(service), service.versions.num_loaded
    for _ in range(3):
        answer = client.post("/v1/chat/completions", json=HELLO | {"model": "chat@2"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_available")
    assert service.versions.num_loaded == loaded + 1
    assert (ask(client)[0], held(service)) == (V1, {1: "champion"})


def test_whoever_waits_for_a_version_holds_up_no_long_conversation_of_others(publish: Publish, start: Start) -> None:
    publish("champion")
    publish()
    publish()
    service = start("serving.also_loaded=[2,3]", "serving.max_loaded=2")
    load, waiting, loaded = service.versions._load, threading.Event(), list[int]()
    assert load is not None

    def slow_load(number: int) -> object:
        loaded.append(number)
        assert waiting.wait(30)
        return load(number)

    service.versions._load = slow_load  # type: ignore[assignment]
    long = {"messages": [{"role": "user", "content": "Hello! " * 2_000}]}

    async def ask_all() -> None:
        transport = httpx.ASGITransport(create_api(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

            def post(model: str, timeout_s: float = 20, **more: object) -> Coroutine[Any, Any, httpx.Response]:
                body, headers = HELLO | {"model": model, "max_tokens": 2} | more, {"x-request-timeout": f"{timeout_s}"}
                return client.post("/v1/chat/completions", json=body, headers=headers)

            assert (await post("chat@3", 0.2)).status_code == 408  # who goes away takes nothing from the others
            asking = [asyncio.create_task(post("chat@3")) for _ in range(40)]  # more than asyncio has threads
            await asyncio.sleep(0.2)
            assert (await post("chat", **long)).headers["x-model-version"] == V1
            assert not any(asked.done() for asked in asking)
            waiting.set()
            assert {(await asked).headers["x-model-version"] for asked in asking} == {V3}

    with ExitStack() as stack:
        stack.callback(waiting.set)
        asyncio.run(ask_all())
    assert loaded == [3]


def test_a_version_that_cannot_be_loaded_is_refused_in_words_without_our_files(
    publish: Publish, start: Start, tmp_path: Path
) -> None:
    publish("champion")
    publish(change=damage)
    client = client_of(start("serving.also_loaded=[2]"))
    answer = client.post("/v1/chat/completions", json=HELLO | {"model": "chat@2"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_not_available"
    assert "home" not in answer.text
    assert "/" not in answer.text
    assert ask(client)[0] == V1


def test_a_version_whose_engine_is_stuck_is_let_go_and_the_champion_answers(publish: Publish, start: Start) -> None:
    publish("champion")
    publish()
    service = start("serving.canary.to=2", "serving.canary.percent=100")
    client = client_of(service)
    assert ask(client)[0] == V2
    (canary,) = [replica for replica, _ in service.versions.held() if replica.version.number == 2]
    canary.responder.engine.statistics = lambda: Statistics(1, 0, 0, 99.0)  # type: ignore[method-assign]
    look(service)
    assert held(service) == {1: "champion"}
    assert ask(client)[0] == V1
    look(service)
    assert held(service) == {1: "champion"}  # not loaded again at once
    assert service.versions.num_failures == 1


def test_memory_bounds_what_is_held(publish: Publish, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("champion")
    publish()
    service = start("serving.also_loaded=[2]", "serving.max_loaded_mb=1")
    assert set(held(service)) == {1, 2}
    assert 10_000 < service.replica.num_bytes < 500_000
    monkeypatch.setattr(type(service.replica), "num_bytes", 600_000)
    service.versions.trim()
    assert set(held(service)) == {1}


def test_sessions_and_feedback_carry_the_version_that_answered(publish: Publish, start: Start) -> None:
    publish("champion")
    publish()
    service = start("serving.also_loaded=[2]")
    client = client_of(service)
    body = client.post("/v1/chat/completions", json=HELLO | {"model": "chat@2", "session_id": "new"}).json()
    session = body["session_id"]
    # The next turn goes to whom it asks for.
    assert ask(client, session_id=session)[0] == V1
    client.post("/v1/feedback", json={"reply_id": body["id"], "thumb": "up"})
    from serve.store import feedback

    (given,) = service.database.work(lambda rows: list(feedback.everything(rows)))
    assert given.version == V2


def test_what_is_loaded_is_in_the_load_and_the_metrics(publish: Publish, start: Start) -> None:
    publish("champion")
    publish()
    service = start("serving.also_loaded=[2]")
    client = client_of(service)
    ask(client, "chat@2")
    assert service.load().num_slots == 2 * 4
    assert (service.load().num_running, service.load().num_waiting_tokens) == (0, 0)
    text = client.get("/metrics").text
    for version, role in ((V1, "champion"), (V2, "2")):
        assert f'role="{role}",version="{version}"}} 1.0' in text or f'version="{version}",role="{role}"}} 1.0' in text
    assert text.count("# HELP rejoinder_engine_num_slots") == 1
    assert f'status="200",version="{V2}"' in text
