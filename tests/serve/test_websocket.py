"""`WS /v1/chat`: chunks of one reply after the other, errors that do not end the talk, sockets that do."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

from serve.service import Service
from serve.store import keys
from tests.serve.helpers import HELLO, assert_becomes_idle, client_of, make_key


def chunks_of(socket: Any, body: dict[str, Any] | None) -> list[dict[str, Any]]:
    """All that is said until the reply has ended; to a request, or None for one that was sent before."""
    if body is not None:
        socket.send_text(json.dumps(body))
    chunks = [socket.receive_json()]
    while "error" not in chunks[-1] and not chunks[-1]["choices"][0].get("finish_reason"):
        chunks.append(socket.receive_json())
    return chunks


def text_of(chunks: list[dict[str, Any]]) -> str:
    """What was said."""
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def test_replies_are_those_of_the_chat_endpoint(client: TestClient) -> None:
    asked = HELLO | {"seed": 3}
    whole = client.post("/v1/chat/completions", json=asked).json()["choices"][0]
    with client.websocket_connect("/v1/chat") as socket:
        for _ in range(2):
            assert text_of(chunks_of(socket, asked)) == whole["message"]["content"]


def test_a_session_goes_on_over_a_socket(client: TestClient) -> None:
    with client.websocket_connect("/v1/chat") as socket:
        session = chunks_of(socket, HELLO | {"session_id": "new"})[-1]["session_id"]
        chunks_of(socket, HELLO | {"session_id": session})
    assert client.get(f"/v1/sessions/{session}").json()["num_turns"] == 4


def test_an_error_does_not_end_the_talk(client: TestClient) -> None:
    with client.websocket_connect("/v1/chat") as socket:
        for wrong in ("{", "[]", json.dumps(HELLO | {"model": "gpt-9"}), json.dumps(HELLO | {"temprature": 1})):
            socket.send_text(wrong)
            assert socket.receive_json()["error"]["type"] == "invalid_request_error"
        assert text_of(chunks_of(socket, HELLO))


def test_more_sockets_than_there_may_be_are_told_to_come_back(make_service: Callable[..., Service]) -> None:
    client = client_of(make_service("serving.max_websockets=1"))
    with client.websocket_connect("/v1/chat"):
        with client.websocket_connect("/v1/chat") as second, pytest.raises(WebSocketDisconnect) as closed:
            second.receive_text()
        assert closed.value.code == 1013
    with client.websocket_connect("/v1/chat") as third:
        assert text_of(chunks_of(third, HELLO))


def test_a_message_that_is_too_large_or_no_text_closes_the_socket(make_service: Callable[..., Service]) -> None:
    client = client_of(make_service("serving.max_body_bytes=2000"))
    with client.websocket_connect("/v1/chat") as socket:
        socket.send_text("x" * 3_000)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 1009
    with client.websocket_connect("/v1/chat") as socket:
        socket.send_bytes(b"{}")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 1003


def test_a_mistake_of_ours_is_not_told_as_one_of_the_clients(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("of ours")

    monkeypatch.setattr(service.replica.responder, "context", fail)
    with pytest.raises(KeyError, match="of ours"), client.websocket_connect("/v1/chat") as socket:
        chunks_of(socket, HELLO)


def test_a_client_of_websockets_talks_over_a_real_port(served: str) -> None:
    with connect(served.replace("http://", "ws://") + "/v1/chat") as socket:
        socket.send(json.dumps(HELLO | {"max_tokens": 4}))
        chunks = [json.loads(socket.recv(timeout=30))]
        while not chunks[-1]["choices"][0].get("finish_reason"):
            chunks.append(json.loads(socket.recv(timeout=30)))
    assert text_of(chunks)


def test_a_client_that_goes_away_frees_its_slot_though_nothing_fails_to_be_sent(service: Service) -> None:
    """Behind Serve's proxy what is sent to nobody is sent all the same: only a message says that it has gone."""
    engine, gate = service.replica.responder.engine, threading.Event()
    step = engine.model.step
    engine.model.step = lambda *args: step(*args) if gate.wait(60) else None  # type: ignore[method-assign,assignment,return-value]
    with client_of(service).websocket_connect("/v1/chat") as socket:
        socket.send_text(json.dumps(HELLO | {"max_tokens": 20, "min_reply_tokens": 20}))
        while not engine.statistics().num_running:
            time.sleep(0.005)
        socket.close()
        deadline = time.monotonic() + 60
        while service.versions.num_replies:  # the model stands still: the reply does not end by itself
            assert time.monotonic() < deadline, "it is still being answered"
            time.sleep(0.005)
    gate.set()
    assert_becomes_idle(service, within_s=60)
    assert set(engine.statistics().finishes) == {"cancelled"}


def test_a_message_that_comes_while_another_is_answered_waits_for_its_turn(client: TestClient) -> None:
    asked = HELLO | {"seed": 3, "max_tokens": 6}
    with client.websocket_connect("/v1/chat") as socket:
        alone = text_of(chunks_of(socket, asked))
        for _ in range(3):
            socket.send_text(json.dumps(asked))
        socket.send_text(json.dumps(asked | {"model": "gpt-9"}))
        said = [text_of(chunks_of(socket, None)) for _ in range(3)]
        assert said == [alone] * 3
        assert socket.receive_json()["error"]["code"] == "model_not_found"


def test_the_log_has_a_line_for_each_message_and_one_for_the_socket(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rejoinder.requests")
    with client.websocket_connect("/v1/chat") as socket:
        replies = [chunks_of(socket, HELLO | {"max_tokens": 3})[-1]["id"] for _ in range(2)]
        socket.send_text("{")
        socket.receive_json()
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "rejoinder.requests"]
    assert [(line["method"], line["status"]) for line in lines] == [
        ("MESSAGE", 200), ("MESSAGE", 200), ("MESSAGE", 400), ("WEBSOCKET", 101)
    ]  # fmt: skip
    assert [line.get("reply_id") for line in lines] == [*replies, None, None]
    assert [line.get("error") for line in lines] == [None, None, "invalid_request_error", None]
    assert all(line["path"] == "/v1/chat" and line["request_id"] == lines[0]["request_id"] for line in lines)
    assert all(line["finish"] in ("stop", "length") and line["num_reply_tokens"] for line in lines[:2])
    assert "Hello!" not in caplog.text


def test_each_message_is_a_request_of_its_key(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.require_keys=true")
    client = client_of(service, make_key(service, requests_per_minute=2))
    with client.websocket_connect("/v1/chat") as socket:
        codes = [chunks_of(socket, HELLO | {"max_tokens": 2})[-1].get("error", {}).get("code") for _ in range(5)]
    # A minute may end between two of them.
    assert codes.count(None) >= 2
    assert set(codes) == {None, "rate_limit_exceeded"}


def test_a_key_that_is_revoked_says_no_more_on_a_socket_that_is_open(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.require_keys=true")
    key = make_key(service)
    with client_of(service, key).websocket_connect("/v1/chat") as socket:
        assert text_of(chunks_of(socket, HELLO))
        service.database.work(lambda rows: keys.revoke(rows, key.split("-")[1], time.time()))
        (refused,) = chunks_of(socket, HELLO)
        assert refused["error"]["type"] == "authentication_error"
        assert "was revoked" in refused["error"]["message"]
