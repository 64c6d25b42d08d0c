"""The door in Serve's proxies: answers go on when a replica dies, waiting has an end, errors have OpenAI's shape."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from rejoinder.cluster import CHECKOUT
from rejoinder.dialogue import ReplyPart
from rejoinder.errors import RecipeError
from rejoinder.recipe import Recipe
from serve import door as door_module
from serve.api import create_api
from serve.attempts import HEADER, Attempt
from serve.door import Door
from serve.mailbox import Mailbox
from serve.service import Service
from tests.serve.helpers import HELLO, events_of
from tests.serve.through_the_door import CHAT, Proxy, ask


@pytest.fixture
def one_token_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model so slow that each part is taken before the next one comes."""
    put = Mailbox.put

    def put_and_wait(mailbox: Mailbox, part: ReplyPart) -> None:
        put(mailbox, part)
        deadline = time.monotonic() + 10
        while mailbox._is_called and not mailbox._alarm.cancelled() and time.monotonic() < deadline:
            time.sleep(0.0005)

    monkeypatch.setattr(Mailbox, "put", put_and_wait)


@pytest.mark.usefixtures("one_token_a_chunk")
def test_a_stream_goes_on_where_the_replica_died(make_service: Callable[..., Service]) -> None:
    one, other = create_api(make_service()), create_api(make_service())
    wishes = {"stream": True, "max_tokens": 12, "min_reply_tokens": 12, "seed": 3, "logprobs": True}
    uncut = events_of(ask(Proxy([(one, None)]), **wishes).text)
    for lives in (0, 1, 2, 4, 9):
        proxy = Proxy([(one, lives), (other, None)])
        cut = events_of(ask(proxy, **wishes).text)
        assert len(proxy.seen) == 2
        assert len({chunk["id"] for chunk in cut}) == len({chunk["created"] for chunk in cut}) == 1
        assert {chunk["model"] for chunk in cut} == {"chat"}
        assert [chunk["choices"] for chunk in cut] == [chunk["choices"] for chunk in uncut]


@pytest.mark.usefixtures("one_token_a_chunk")
@pytest.mark.parametrize("logprobs", [True, False])
def test_a_stream_of_several_replies_goes_on_where_the_replica_died(
    make_service: Callable[..., Service], logprobs: bool
) -> None:
    one, other = create_api(make_service()), create_api(make_service())
    wishes = {"stream": True, "n": 2, "max_tokens": 6, "min_reply_tokens": 6, "logprobs": logprobs, "temperature": 1.5}

    def by_reply(text: str) -> dict[int, tuple[str, list[str], list[str]]]:
        found = {}
        for index in (0, 1):
            choices = [one for chunk in events_of(text) for one in chunk["choices"] if one["index"] == index]
            tokens = [token["token"] for one in choices for token in one.get("logprobs", {"content": []})["content"]]
            ends = [one["finish_reason"] for one in choices if "finish_reason" in one]
            assert [one["delta"]["role"] for one in choices if "role" in one["delta"]] == ["assistant"]
            found[index] = ("".join(one["delta"]["content"] for one in choices), tokens, ends)
        return found

    uncut = by_reply(ask(Proxy([(one, None)]), seed=3, **wishes).text)
    for lives in (0, 1, 2, 3, 7, 12):
        proxy = Proxy([(one, lives), (other, None)])
        assert by_reply(ask(proxy, seed=3, **wishes).text) == uncut
        assert len(proxy.seen) == 2


@pytest.mark.usefixtures("one_token_a_chunk")
def test_a_stream_of_completions_goes_on_with_the_probabilities_that_it_lacks(
    make_service: Callable[..., Service],
) -> None:
    one, other = create_api(make_service()), create_api(make_service())
    body = {"model": "chat", "prompt": "Hi!", "stream": True, "max_tokens": 9, "min_reply_tokens": 9, "logprobs": 1}
    uncut = events_of(ask(Proxy([(one, None)]), "/v1/completions", body=body, seed=3).text)
    for lives in (1, 4, 8):
        proxy = Proxy([(one, lives), (other, None)])
        cut = events_of(ask(proxy, "/v1/completions", body=body, seed=3).text)
        assert [chunk["choices"] for chunk in cut] == [chunk["choices"] for chunk in uncut]


@pytest.mark.usefixtures("one_token_a_chunk")
def test_a_failure_of_ours_ends_a_stream_and_is_not_taken_for_a_lost_replica(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    one, other = make_service(), make_service()
    monkeypatch.setattr(one.window, "add", fail)
    proxy = Proxy([(create_api(one), None), (create_api(other), None)])
    answer = ask(proxy, stream=True, max_tokens=6, min_reply_tokens=6)
    *begun, last = [json.loads(event.removeprefix("data: ")) for event in answer.text.split("\n\n") if event]
    assert begun
    assert all(choice.get("finish_reason") is None for chunk in begun for choice in chunk["choices"])
    assert last["error"]["type"] == "server_error"
    assert "secret" not in answer.text
    assert "a secret" in caplog.text
    assert len(proxy.seen) == 1


@pytest.mark.usefixtures("one_token_a_chunk")
def test_a_stream_without_a_seed_of_its_own_goes_on_just_as_well(make_service: Callable[..., Service]) -> None:
    one, other = create_api(make_service()), create_api(make_service())
    proxy = Proxy([(one, 5), (other, None)])
    chunks = events_of(
        ask(proxy, stream=True, max_tokens=12, min_reply_tokens=12, temperature=2, top_k=0, top_p=1).text
    )
    assert [chunk["choices"][0].get("finish_reason") for chunk in chunks].count("length") == 1
    told = [Attempt.read(seen[HEADER.encode()].decode()) for seen in proxy.seen]
    assert told[0] is not None
    assert told == [told[0], told[0].next()]


def test_whole_replies_are_asked_for_again(make_service: Callable[..., Service]) -> None:
    one, other = create_api(make_service()), create_api(make_service())
    bodies: dict[str, dict[str, Any]] = {
        CHAT: HELLO,
        "/v1/completions": {"model": "chat", "prompt": ["Hi!", "Bye!"]},
        "/v1/chat/batch": {"model": "chat", "conversations": [HELLO["messages"]] * 2},
    }
    for path, body in bodies.items():
        for lives in (0, 1):
            proxy = Proxy([(one, lives), (other, None)])
            answer = ask(proxy, path, body=body)
            assert answer.status_code == 200, answer.text
            assert len(proxy.seen) == 2


def test_what_kills_every_replica_does_not_go_through_all_of_them(make_service: Callable[..., Service]) -> None:
    proxy = Proxy([(create_api(make_service()), 0)])
    answer = ask(proxy)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "replica_lost"
    assert answer.headers["retry-after"] == "1"
    assert len(proxy.seen) == door_module.MAX_LOST
    begun = ask(Proxy([(create_api(make_service()), 4)]), stream=True, min_reply_tokens=12, max_tokens=12)
    assert json.loads(begun.text.split("data: ")[-1])["error"]["code"] == "replica_lost"


async def forever(scope: Scope, receive: Receive, send: Send) -> None:
    """No replica is there, and Serve waits."""
    await asyncio.sleep(3600)


def test_waiting_for_a_replica_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "GRACE_S", 0.0)
    answer = ask(Proxy([(forever, None)]), headers={"x-request-timeout": "0.05"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "timeout")
    monkeypatch.setattr(door_module, "LONGEST_WAIT_S", 0.05)
    answer = ask(Proxy([(forever, None)]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_replica")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("status", "said", "told", "code"),
    [
        (429, "Request dropped: max_queued_requests=2 in the queue", 429, "overloaded"),
        (503, "Request dropped: max_queued_requests=2 in the queue", 429, "overloaded"),
        (503, "Deployment is unavailable", 503, "unavailable"),
        (404, "Path '/v1/x' not found.", 404, "not_found"),
    ],
)
def test_what_serve_says_itself_has_openais_shape(status: int, said: str, told: int, code: str) -> None:
    async def serve_itself(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": said.encode()})

    answer = ask(serve_itself)
    assert answer.status_code == told
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert answer.json()["error"]["code"] == code
    assert ("retry-after" in answer.headers) == (told in (429, 503))


def test_an_error_of_a_replica_passes_as_it_is(make_service: Callable[..., Service]) -> None:
    proxy = Proxy([(create_api(make_service()), None)])
    answer = ask(proxy, model="gpt-9")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert len(proxy.seen) == 1


def test_a_request_is_named_once_though_serves_proxy_names_it_too(make_service: Callable[..., Service]) -> None:
    api = create_api(make_service())

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"X-Request-ID", b"mine")]}
            await send(message)

        await api(scope, receive, send_named)

    answer = ask(proxy, headers={"x-request-id": "mine"})
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_no_client_can_speak_for_the_door(make_service: Callable[..., Service]) -> None:
    proxy = Proxy([(create_api(make_service()), None)])
    answer = ask(proxy, headers={HEADER: Attempt("0" * 32, 7).header()})
    assert "0" * 32 not in answer.json()["id"]
    assert Attempt.read("anything else") is None


def test_serves_proxy_gets_no_header_that_is_for_its_operator_or_that_it_fails_at(
    make_service: Callable[..., Service],
) -> None:
    proxy = Proxy([(create_api(make_service()), None)])
    names = {"x-request-disconnect-disabled": "?1", "x-request-timeout-seconds": "0", "serve_multiplexed_model_id": "x"}
    bytes_ = {"x-session-id": b"\xff", "x-request-id": b"\xc3", "user-agent": "Grüße".encode()}
    answer = ask(proxy, headers=names | bytes_)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-session-id")
    assert answer.headers["x-request-id"].isalnum()
    (seen,) = proxy.seen
    assert not set(names) & {name.decode() for name in seen}
    assert [seen[name.encode()].decode() for name in bytes_] == ["\ufffd", "\ufffd", "Grüße"]


def test_a_client_that_goes_away_is_not_asked_for_again(make_service: Callable[..., Service]) -> None:
    async def until_gone(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    proxy = Proxy([(until_gone, None)])
    messages = [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": CHAT, "method": "POST", "headers": []}
    asyncio.run(Door(proxy)(scope, receive, send))
    assert len(proxy.seen) == 1
    assert not sent


def test_a_body_without_end_is_not_read_on_while_it_waits_for_a_replica(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    num_read = 0

    async def reads_on(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            nonlocal num_read
            num_read += 1

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(Door(reads_on))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(CHAT, content=pieces())

    with pytest.raises(RecipeError, match="max_body_bytes"):
        make_recipe(f"serving.max_body_bytes={door_module.MOST_BYTES + 1}")
    monkeypatch.setattr(door_module, "MOST_BYTES", 20_000)
    answer = asyncio.run(post())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert num_read == 20


def test_what_is_not_the_apis_passes_untouched() -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        assert HEADER.encode() not in dict(scope["headers"])
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b"another application's queue"})

    assert ask(other, path="/-/healthz").text == "another application's queue"


def test_a_proxy_needs_no_model_to_have_a_door() -> None:
    code = "import sys, serve.door; assert serve.door.middlewares(); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT / "platform"), str(CHECKOUT)])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
