"""A service follows the registry: a new version takes over between two replies, or never."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import safetensors.torch
import torch
from fastapi.testclient import TestClient

from rejoinder import checkpoints
from rejoinder.engine import Statistics
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry
from rejoinder.storage import sha256_of
from rejoinder.text import END_ID
from serve import versions as versions_module
from serve.api import create_api
from serve.replica import ChatReplica
from serve.service import Service
from tests.serve.helpers import HELLO, client_of

Publish = Callable[..., int]
Point = Callable[[str, int], None]
Start = Callable[..., Service]
V1, V2, V3 = (f"models:/chat/{number}" for number in (1, 2, 3))


def look(service: Service) -> None:
    """One round, as the thread makes them."""
    assert service.following is not None
    service.following.look()


def held(service: Service) -> dict[int, str]:
    """Who is loaded, and what for."""
    return {replica.version.number: role for replica, role in service.versions.held()}


def ask(client: TestClient, model: str = "chat", **more: object) -> tuple[str, str]:
    """The version that answered, and what it said."""
    answer = client.post("/v1/chat/completions", json=HELLO | {"model": model, "seed": 1, "max_tokens": 8, **more})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-model-version"], answer.json()["choices"][0]["message"]["content"]


def held_back(replica: ChatReplica) -> threading.Event:
    """Makes each step of the model wait for an event."""
    gate, model = threading.Event(), replica.responder.engine.model
    step = model.step
    model.step = lambda *args: step(*args) if gate.wait(30) else None  # type: ignore[method-assign,assignment,return-value]
    return gate


def damage(folder: Path) -> None:
    """A file that is not what the manifest says."""
    weights = folder / checkpoints.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])


def unlearn(folder: Path) -> None:
    """Weights that are no numbers, and a manifest that vouches for them."""
    weights = folder / checkpoints.WEIGHTS
    manifest, before = folder / checkpoints.MANIFEST, sha256_of(weights)
    broken = {
        name: torch.full_like(tensor, float("nan")) for name, tensor in safetensors.torch.load_file(weights).items()
    }
    safetensors.torch.save_file(broken, weights)
    manifest.write_text(manifest.read_text().replace(before, sha256_of(weights)))


def fall_silent(folder: Path) -> None:
    """A recipe with which it may end at once, and weights that always do."""
    recipe, weights = folder / checkpoints.RECIPE, folder / checkpoints.WEIGHTS
    manifest = folder / checkpoints.MANIFEST
    hashes = {file: sha256_of(file) for file in (recipe, weights)}
    recipe.write_text(recipe.read_text().replace("min_reply_tokens: 1", "min_reply_tokens: 0"))
    loaded = safetensors.torch.load_file(weights)
    loaded["output.bias"][END_ID] = 1e4
    safetensors.torch.save_file(loaded, weights)
    for file, before in hashes.items():
        manifest.write_text(manifest.read_text().replace(before, sha256_of(file)))


def test_no_reply_is_longer_than_the_service_allows(publish: Publish, start: Start) -> None:
    publish("champion")
    client = client_of(start("serving.max_reply_tokens=5"))
    for asked in ({}, {"max_tokens": 20}):
        body = client.post(
            "/v1/chat/completions", json=HELLO | {"temperature": 0, "min_reply_tokens": 5} | asked
        ).json()
        assert body["usage"]["completion_tokens"] == 5
        assert body["choices"][0]["finish_reason"] == "length"


def test_a_new_champion_takes_over_between_two_replies_and_the_way_back_is_at_once(
    publish: Publish, point: Point, start: Start
) -> None:
    publish("champion")
    service = start()
    client = client_of(service)
    assert ask(client)[0] == V1
    publish("champion")
    look(service)
    assert ask(client)[0] == V2
    assert held(service) == {1: "previous", 2: "champion"}
    point("champion", 1)
    loaded = service.versions.num_loaded
    look(service)
    assert ask(client)[0] == V1
    assert service.versions.num_loaded == loaded == 1
    assert held(service) == {1: "champion", 2: "previous"}
    publish("champion")
    look(service)
    assert held(service) == {1: "previous", 3: "champion"}  # something newer has replaced version 2
    assert ask(client)[0] == V3


def test_a_reply_ends_on_the_version_that_it_began_with_and_nobody_is_let_go_before(
    publish: Publish, start: Start
) -> None:
    publish("champion")
    service = start("serving.max_loaded=1")
    client, replica = client_of(service), service.replica
    alone = ask(client)
    gate = held_back(replica)
    said: list[tuple[str, str]] = []
    speaking = threading.Thread(target=lambda: said.append(ask(client)))
    speaking.start()
    while not replica.responder.engine.statistics().num_running:
        time.sleep(0.001)
    publish("champion")
    look(service)
    assert held(service) == {2: "champion"}
    assert speaking.is_alive()
    assert ask(client)[0] == V2
    gate.set()
    speaking.join()
    assert said == [alone]
    while replica.responder.engine._thread.is_alive():  # it ends with its last reply
        time.sleep(0.001)


def test_requests_all_the_while_are_all_answered_by_one_version_or_the_other(
    publish: Publish, point: Point, start: Start
) -> None:
    publish("champion")
    service = start()
    client, ended, answers = client_of(service), threading.Event(), set[tuple[str, str]]()
    expected = {ask(client)}

    def keep_asking() -> None:
        while not ended.is_set():
            answers.add(ask(client))

    people = [threading.Thread(target=keep_asking) for _ in range(3)]
    for person in people:
        person.start()
    publish("champion")
    look(service)
    for number in (1, 2):
        point("champion", number)
        look(service)
    ended.set()
    for person in people:
        person.join()
    assert answers <= expected | {ask(client)}
    assert {version for version, _ in answers} >= {V1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (damage, "version 2 cannot be used: .*damaged"),
        (unlearn, "no numbers|does not answer"),
        (fall_silent, "no words for any"),
    ],
)
def test_a_version_that_fails_never_takes_over_and_is_said_once(
    change: Callable[[Path], None], why: str, publish: Publish, point: Point, start: Start,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    publish("champion")
    service = start()
    client = client_of(service)
    publish("champion", change=change)
    with caplog.at_level(logging.ERROR, "rejoinder.versions"):
        for _ in range(3):
            look(service)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "rejoinder.versions"]
    assert re.search(why, line)
    assert ask(client)[0] == V1
    assert held(service) == {1: "champion"}
    assert 'rejoinder_version_changes{replica="' in (text := client.get("/metrics").text)
    assert f'what="failed"}} {1.0}' in text
    # The alias goes elsewhere and comes back: tried at once. Else after a wait.
    point("champion", 1)
    look(service)
    point("champion", 2)
    look(service)
    assert service.versions.num_failures == 2
    monkeypatch.setattr(versions_module, "FIRST_WAIT_S", 0.0)
    point("champion", 1)
    look(service)
    point("champion", 2)
    look(service)
    look(service)
    assert service.versions.num_failures == 4


def test_a_registry_that_is_away_changes_nothing(
    publish: Publish, start: Start, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    publish("champion")
    service = start()
    client = client_of(service)
    publish("champion")
    store = sqlite3.connect(Registry(recipe).uri.removeprefix("sqlite:///"))
    store.execute("ALTER TABLE registered_models RENAME TO away")
    store.commit()
    look(service)
    look(service)
    assert ask(client)[0] == V1
    assert [record.name for record in caplog.records if record.name == "rejoinder.versions"] == ["rejoinder.versions"]
    text = client.get("/metrics").text
    (away,) = [line for line in text.splitlines() if line.startswith("rejoinder_registry_away")]
    assert away.endswith(" 1.0")
    store.execute("ALTER TABLE away RENAME TO registered_models")
    store.commit()
    store.close()
    look(service)
    assert ask(client)[0] == V2


def test_a_replica_that_starts_with_a_champion_that_fails_goes_back_to_the_one_before(
    publish: Publish, start: Start, recipe: Recipe, point: Point
) -> None:
    registry = Registry(recipe)
    registry.promote(publish())
    registry.promote(publish(change=damage))
    service = start()
    assert service.replica.version.number == 1


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


def test_a_version_that_is_let_go_before_it_takes_over_is_brought_again(
    publish: Publish, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("champion")
    service = start()
    publish("champion")
    versions, bring = service.versions, service.versions.bring

    def bring_and_trim(number: int) -> ChatReplica:
        replica = bring(number)
        versions.trim()  # as somebody does at that moment who asked for another one
        return replica

    monkeypatch.setattr(versions, "bring", bring_and_trim)
    look(service)
    client = client_of(service)
    assert (ask(client)[0], held(service)) == (V1, {1: "champion"})
    monkeypatch.undo()
    look(service)
    assert (ask(client)[0], held(service)) == (V2, {1: "previous", 2: "champion"})


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


def test_an_event_loop_does_not_stand_still_while_a_version_is_loaded(publish: Publish, start: Start) -> None:
    """Loading is done by the thread that looks; what the loop needs is never held meanwhile."""
    publish("champion")
    service = start()
    publish("champion")
    load, waiting, begun = service.versions._load, threading.Event(), threading.Event()
    assert load is not None

    def slow_load(number: int) -> object:
        begun.set()
        assert waiting.wait(30)
        return load(number)

    service.versions._load = slow_load  # type: ignore[assignment]
    looking = threading.Thread(target=lambda: look(service))
    with ExitStack() as stack:
        stack.callback(waiting.set)
        looking.start()
        assert begun.wait(30)
        client = client_of(service)
        assert ask(client)[0] == V1
        assert client.get("/metrics").status_code == client.get("/v1/models").status_code == 200
        assert client.get("/readyz").json()["version"] == 1
    looking.join()
    assert ask(client)[0] == V2
