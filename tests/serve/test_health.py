"""Alive, ready, and what was counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from rejoinder.decoding import Decoding
from rejoinder.dialogue import Reply
from rejoinder.engine import EngineFull
from rejoinder.text import END_ID
from serve import replica as replica_module
from serve.metrics import Metrics, merged
from serve.service import Service
from serve.store import snapshots
from tests.serve.helpers import HELLO, client_of, slow_down


def values_of(text: str, name: str) -> dict[tuple[str, ...], float]:
    """A metric's samples by their labels but the replica."""
    return {
        tuple(value for label, value in sorted(sample.labels.items()) if label != "replica"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_a_canary_prompt_is_asked_when_nobody_else_did_for_a_while(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = service.replica.responder.engine.statistics
    assert client.get("/readyz").status_code == 200
    assert statistics().num_tokens == 0  # loading has asked
    monkeypatch.setattr(replica_module, "CANARY_EVERY_S", 0.0)
    assert client.get("/readyz").status_code == 200
    assert statistics().num_tokens > 0


def test_a_model_that_gives_several_replies_by_itself_is_asked_for_one(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service("decoding.num_replies=3", "decoding.num_candidates=3", "decoding.temperature=1.5")
    monkeypatch.setattr(replica_module, "CANARY_EVERY_S", 0.0)
    answer = client_of(service).get("/readyz")
    assert answer.status_code == 200, answer.text
    asked: list[int] = []
    responder, replies = service.replica.responder, service.replica.responder.replies

    def noted(context: list[int], decoding: Decoding, *rest: Any) -> list[Reply]:
        asked.append(decoding.num_replies)
        return replies(context, decoding, *rest)

    monkeypatch.setattr(responder, "replies", noted)
    service.replica.require_answers(service.serving)
    assert set(asked) == {1}


def test_a_model_whose_replies_all_begin_alike_is_ready(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service("decoding.prefix=Well, I say")
    monkeypatch.setattr(replica_module, "CANARY_EVERY_S", 0.0)
    answer = client_of(service).get("/readyz")
    assert answer.status_code == 200, answer.text
    service.replica.require_answers(service.serving)


def test_a_canary_prompt_that_cannot_even_be_asked_is_a_failure_of_ours(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service()
    monkeypatch.setattr(replica_module, "CANARY_EVERY_S", 0.0)
    monkeypatch.setattr(replica_module, "CANARY", " ")  # as cleaning steps can leave it
    answer = client_of(service).get("/readyz")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")


def test_however_many_want_to_know_the_canary_prompt_is_asked_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "CANARY_EVERY_S", 0.0)
    responder, submit, asked = service.replica.responder, service.replica.responder.submit, []
    monkeypatch.setattr(responder, "submit", lambda *args: asked.append(args) or submit(*args))

    async def many_at_once() -> None:
        await asyncio.gather(*(service.replica.check_answers() for _ in range(50)))

    asyncio.run(many_at_once())
    assert len(asked) == 1
    asyncio.run(many_at_once())
    assert len(asked) == 2


def test_an_engine_that_does_not_answer_is_alive_but_not_ready(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service()
    monkeypatch.setattr(replica_module, "CANARY_EVERY_S", 0.0)
    monkeypatch.setattr(replica_module, "CANARY_TIMEOUT_S", 0.1)
    slow_down(service, 1.5)
    client = client_of(service)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    service.replica.check()  # Serve would not start it anew


def test_a_full_queue_is_ready_as_long_as_it_moves(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "CANARY_EVERY_S", 0.0)
    responder, submit = service.replica.responder, service.replica.responder.submit

    def full(*args: object) -> None:
        submit(*args)  # type: ignore[arg-type]  # somebody else's reply
        while not responder.engine.statistics().num_tokens:
            time.sleep(0.001)
        raise EngineFull("full")

    monkeypatch.setattr(responder, "submit", full)
    assert client.get("/readyz").status_code == 200


def test_metrics_count_requests_tokens_and_errors_by_version(client: TestClient) -> None:
    for _ in range(2):
        used = client.post("/v1/chat/completions", json=HELLO | {"max_tokens": 5, "temperature": 0}).json()["usage"]
    client.post("/v1/chat/completions", json=HELLO | {"model": "gpt-9"})
    client.get("/nowhere")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text, version = answer.text, "models:/chat/3"
    assert values_of(text, "rejoinder_requests_total") == {
        ("/v1/chat/completions", "200", version): 2,
        ("/v1/chat/completions", "404", version): 1,
        ("other", "404", version): 1,
    }
    assert values_of(text, "rejoinder_errors_total")["model_not_found", version] == 1
    assert values_of(text, "rejoinder_tokens_total")["reply", version] == 2 * used["completion_tokens"]
    assert values_of(text, "rejoinder_time_to_first_token_seconds_count")[version,] == 2
    assert values_of(text, "rejoinder_engine_num_running")[version,] == 0
    assert values_of(text, "rejoinder_engine_queue_wait_seconds_count")[version,] == 2
    assert values_of(text, "rejoinder_engine_batch_fill_count")[version,] > 0


def test_a_reply_of_the_fallback_is_counted(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.fallback_reply=Pardon?")
    responder = service.replica.responder
    step = responder.engine.model.step

    def say_nothing(*args: object) -> object:
        logits, state = step(*args)  # type: ignore[arg-type]
        logits[:] = -100.0
        logits[:, END_ID] = 100.0
        return logits, state

    responder.engine.model.step = say_nothing  # type: ignore[method-assign,assignment]
    client = client_of(service)
    body = client.post("/v1/chat/completions", json=HELLO | {"min_reply_tokens": 0, "temperature": 0}).json()
    assert body["choices"][0]["message"]["content"] == "Pardon?"
    assert list(values_of(client.get("/metrics").text, "rejoinder_fallbacks_total").values()) == [1]


def test_any_replica_tells_the_counts_of_all(make_service: Callable[..., Service]) -> None:
    one, other = make_service(), make_service()
    for service in (one, other):
        client_of(service).post("/v1/chat/completions", json=HELLO)
    now = time.time()
    other.database.work(lambda rows: snapshots.write(rows, other.metrics.replica, other.metrics.text(), now))
    families = list(text_string_to_metric_families(client_of(one).get("/metrics").text))
    (requests,) = [family for family in families if family.name == "rejoinder_requests"]
    counted = {sample.labels["replica"] for sample in requests.samples if sample.name.endswith("_total")}
    assert counted == {one.metrics.replica, other.metrics.replica}


def test_merging_describes_each_metric_once() -> None:
    texts = [Metrics(name).text() for name in ("a", "b")]
    assert merged(texts).count("# HELP rejoinder_requests_total") == 1
    assert merged(texts[:1]) == texts[0]
