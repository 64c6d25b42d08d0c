"""The HTTP API: OpenAI's shape for replies, streams and errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from rejoinder.engine import Statistics
from serve.service import Service
from tests.serve.helpers import HELLO, assert_becomes_idle, client_of, events_of, slow_down


def test_a_reply_has_openais_shape_and_names_the_version(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json=HELLO | {"temperature": 0, "max_tokens": 5})
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "models:/chat/3"
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == "length"
    usage = body["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5


def test_a_stream_adds_up_to_the_whole_reply(client: TestClient) -> None:
    asked = HELLO | {"seed": 7}
    whole = client.post("/v1/chat/completions", json=asked).json()["choices"][0]
    streamed = client.post("/v1/chat/completions", json=asked | {"stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = events_of(streamed.text)
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == whole["message"]["content"]
    assert events[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]
    assert len({event["id"] for event in events}) == 1


def test_the_same_seed_gives_the_same_reply_and_another_seed_another(client: TestClient) -> None:
    def reply(seed: int) -> str:
        asked = HELLO | {"seed": seed, "temperature": 1.5}
        return client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]

    assert reply(1) == reply(1)
    assert reply(1) != reply(2)


def test_each_decoding_field_reaches_the_engine(client: TestClient, service: Service) -> None:
    asked = {
        "temperature": 1.5, "top_p": 0.8, "top_k": 7, "min_p": 0.1, "typical_p": 0.9, "presence_penalty": -1.5,
        "frequency_penalty": 0.5, "repetition_penalty": 1.1, "no_repeat_ngram_tokens": 3, "seed": 4,
    }  # fmt: skip
    submitted = []
    submit = service.replica.responder.engine.submit
    service.replica.responder.engine.submit = lambda *args, **more: submitted.append(args[1]) or submit(*args, **more)  # type: ignore
    assert client.post("/v1/chat/completions", json=HELLO | asked).status_code == 200
    (decoding,) = submitted
    assert {name: getattr(decoding, name) for name in asked} == asked


def test_max_tokens_above_what_the_model_writes_is_kept_as_a_limit(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json=HELLO | {"max_tokens": 100_000})
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] <= 20


def test_what_the_model_was_trained_to_be_asked_for_can_be_asked_for(make_service: Callable[..., Service]) -> None:
    service = make_service("text.control_tokens=[system, emotion, persona]")
    client, submitted = client_of(service), []
    submit = service.replica.responder.engine.submit
    service.replica.responder.engine.submit = lambda *args, **more: submitted.append(args[0]) or submit(*args, **more)  # type: ignore
    asked = {
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "control": {"emotion": "joy", "persona": ["tea", "cats"]},
    }
    assert client.post("/v1/chat/completions", json=HELLO | asked).status_code == 200
    shown = service.replica.responder.trained.tokenizer.with_markers(submitted[0])
    assert shown == "<system> Be kind. <persona> tea <persona> cats <emotion> joy <other> Hi"


def test_models_and_health(client: TestClient) -> None:
    assert [card["id"] for card in client.get("/v1/models").json()["data"]] == [
        "chat", "chat@3", "chat@champion",
    ]  # fmt: skip
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "model": "chat", "version": 3}


def test_one_version_can_be_asked_for_by_number(client: TestClient) -> None:
    assert client.post("/v1/chat/completions", json=HELLO | {"model": "chat@3"}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"model": "gpt-9"}, 404, "no model is called 'gpt-9'; there are: chat, chat@3"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "every turn is empty"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, 400, "20000"),
        ({"messages": [{"role": "system", "content": "You are kind."}]}, 400, "nothing to reply to"),
        ({"temperature": -1}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"temprature": 1}, 400, "temprature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"min_p": 1.1}, 400, "min_p"),
        ({"typical_p": 0}, 400, "typical_p"),
        ({"presence_penalty": 2.1}, 400, "presence_penalty"),
        ({"frequency_penalty": -2.1}, 400, "frequency_penalty"),
        ({"no_repeat_ngram_tokens": -1}, 400, "no_repeat_ngram_tokens"),
        ({"control": {"mood": "joy"}}, 400, "control.mood"),
        (
            {"control": {"emotion": "joy"}},
            400,
            "emotion: the model was not trained to be asked for this; there are: none",
        ),
        ({"top_k": 10**30}, 400, "top_k"),
        ({"no_repeat_ngram_tokens": 10**30}, 400, "no_repeat_ngram_tokens"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_openais_error_shape(
    client: TestClient, changes: dict[str, Any], status: int, says: str
) -> None:
    for stream in (False, True):
        answer = client.post("/v1/chat/completions", json=HELLO | changes | {"stream": stream})
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
        assert says in answer.json()["error"]["message"]


def test_a_body_that_is_no_json_and_a_path_that_is_not_there(client: TestClient) -> None:
    assert client.post("/v1/chat/completions", content=b"{").json()["error"]["type"] == "invalid_request_error"
    assert client.get("/v1/nothing").json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("text", "status"), [("你好 🙂", 200), ("\u202eabc\x00", 200), ("\ud800", 400)])
def test_any_unicode_text_is_answered_and_what_is_none_is_refused(client: TestClient, text: str, status: int) -> None:
    body = json.dumps(HELLO | {"messages": [{"role": "user", "content": text}]})
    answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status


def test_a_stuck_engine_is_not_ready(client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.replica.responder.engine, "statistics", lambda: Statistics(1, 0, 0, 99.0))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "has not moved for 99 s" in answer.json()["error"]["message"]


def test_too_many_at_once_are_told_to_come_back(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.num_slots=1", "serving.max_queued_requests=1")
    slow_down(service, seconds_per_step=0.05)
    client = client_of(service)
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(client.post("/v1/chat/completions", json=HELLO | {"temperature": 0, "max_tokens": 10}))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status_code == 429]
    assert sum(answer.status_code == 200 for answer in answers) >= 2
    assert refused
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert refused[0].json()["error"]["type"] == "rate_limit_error"


def test_a_reply_that_takes_too_long_ends_with_503_and_frees_its_slot(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.num_slots=1", "serving.request_timeout_s=0.2")
    slow_down(service, seconds_per_step=0.1)
    client = client_of(service)
    answer = client.post("/v1/chat/completions", json=HELLO | {"temperature": 0})
    assert answer.status_code == 503
    assert "no reply within 0.2 s" in answer.json()["error"]["message"]
    assert_becomes_idle(service)


def test_a_client_that_goes_away_frees_its_slot(service: Service, served: str) -> None:
    slow_down(service, seconds_per_step=0.05)
    asked = HELLO | {"stream": True, "temperature": 0, "max_tokens": 20}
    with httpx.stream("POST", f"{served}/v1/chat/completions", json=asked) as answer:
        next(answer.iter_lines())
        assert service.replica.responder.engine.statistics().num_running == 1
    assert_becomes_idle(service, within_s=0.7)  # the whole reply would take a second
