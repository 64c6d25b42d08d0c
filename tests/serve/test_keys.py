"""Who is let in: keys, their scopes and quotas, this machine's own name, other origins, sizes, headers."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient, WebSocketDenialResponse

from rejoinder.errors import RecipeError, ServingError
from rejoinder.recipe import Recipe
from serve.answering import Answer, Question
from serve.api import create_api
from serve.keys import create_key, list_keys, revoke_key
from serve.routes.asking import whole
from serve.service import Caller, Service
from serve.store import keys, tables, usage
from tests.serve.helpers import HELLO, client_of, make_key

CHAT = "/v1/chat/completions"


@pytest.fixture
def guarded(make_service: Callable[..., Service]) -> Service:
    """A service that needs keys."""
    return make_service("serving.require_keys=true")


def test_a_key_opens_the_door_and_nothing_else_does(guarded: Service) -> None:
    key = make_key(guarded)
    assert client_of(guarded, key).post(CHAT, json=HELLO).status_code == 200
    name = key.split("-")[1]
    for wrong in (None, "", "x", key[:-1], f"rj-{name}-", f"rj-{name}-x", "rj-0-x"):
        answer = client_of(guarded, wrong).post(CHAT, json=HELLO)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert key not in answer.text
    basic = client_of(guarded).post(CHAT, json=HELLO, headers={"authorization": f"Basic {key}"})
    assert basic.status_code == 401


def test_every_path_but_health_and_the_documentation_needs_a_key(guarded: Service) -> None:
    client = client_of(guarded)
    paths = client.get("/openapi.json").json()["paths"]
    is_open = {path for path in paths if client.request("GET", path).status_code != 401}
    assert is_open == {"/healthz", "/readyz"}
    says_so = {path for path, found in paths.items() if all("security" not in one for one in found.values())}
    assert says_so == is_open
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/v1/chat"):
        pass
    assert denied.value.status_code == 401


def test_a_key_is_compared_in_constant_time_whether_its_name_is_known_or_not(
    guarded: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[tuple[int, int]] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(
        "serve.store.keys.hmac.compare_digest", lambda a, b: lengths.append((len(a), len(b))) or compare(a, b)
    )
    key, client = make_key(guarded), client_of(guarded)
    name = key.split("-")[1]
    for presented in (key, f"rj-{name}-x", "rj-0123456789ab-x", "sk-of-somebody-else", "x"):
        client.get("/v1/models", headers={"authorization": f"Bearer {presented}"})
    assert lengths == [(32, 32)] * 5


def test_the_database_and_its_errors_have_no_key_and_no_words_in_them(
    guarded: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = make_key(guarded)
    secret = key.split("-", 2)[2]
    rows = guarded.database.work(lambda rows: str(rows.execute(select(tables.keys)).all()))
    assert key.split("-")[1] in rows
    assert secret not in rows
    session = client_of(guarded, key).post("/v1/sessions").json()["id"]
    with guarded.database._engine.connect() as connection:  # a table that is not as we know it
        connection.exec_driver_sql("ALTER TABLE turns ADD COLUMN other INTEGER NOT NULL CHECK (other > 0) DEFAULT -1")
        connection.commit()
    caplog.set_level(logging.DEBUG)
    answer = client_of(guarded, key).post(CHAT, json=HELLO | {"session_id": session})
    assert answer.status_code == 500
    assert "CHECK constraint failed" in caplog.text
    assert not any(words in caplog.text + answer.text for words in ("Hello!", secret))


def test_an_expired_or_revoked_key_is_told_so(guarded: Service) -> None:
    now = time.time()
    for changes, says in (({"expires_at": now - 1}, "has expired"), ({"revoked_at": now}, "was revoked")):
        answer = client_of(guarded, make_key(guarded, **changes)).post(CHAT, json=HELLO)
        assert answer.status_code == 401
        assert says in answer.json()["error"]["message"]


def test_a_key_is_for_its_scopes_only(guarded: Service) -> None:
    for scope, path, other in (("chat", "/v1/models", "/metrics"), ("metrics", "/metrics", "/v1/models")):
        client = client_of(guarded, make_key(guarded, scopes=(scope,)))
        assert client.get(path).status_code == 200
        assert client.get(other).json()["error"]["code"] == "insufficient_scope"


def test_quotas_hold_over_all_replicas(make_service: Callable[..., Service]) -> None:
    words = ("serving.require_keys=true", "serving.requests_per_minute=1000")
    one, other = make_service(*words), make_service(*words)
    key = make_key(one, requests_per_minute=3)
    answers = [client_of(service, key).get("/v1/models") for service in (one, other) * 3]
    statuses = [answer.status_code for answer in answers]
    # A minute may end between two of them.
    assert statuses.count(200) >= 3
    assert 429 in statuses
    refused = answers[statuses.index(429)]
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_tokens_of_a_day_are_counted_as_they_were_used(guarded: Service) -> None:
    key = make_key(guarded, tokens_per_day=60)
    client = client_of(guarded, key)
    used = 0
    while (answer := client.post(CHAT, json=HELLO | {"max_tokens": 10})).status_code == 200:
        used += answer.json()["usage"]["total_tokens"]
    assert answer.status_code == 429
    assert 0 < used <= 60
    counted = guarded.database.work(lambda rows: usage.used(rows, key.split("-")[1], "day", time.time()))
    assert counted.num_tokens == used


def counted_today(service: Service, key: str) -> tuple[int, int]:
    """Replies and tokens of a key, once nothing changes them any more."""
    seen, since = None, 0.0
    while seen is None or time.monotonic() - since < 0.5:
        used = service.database.work(lambda rows: usage.used(rows, key.split("-")[1], "day", time.time()), writes=False)
        if (used.num_requests, used.num_tokens) != seen:
            seen, since = (used.num_requests, used.num_tokens), time.monotonic()
        time.sleep(0.02)
    return seen


@pytest.mark.parametrize("moment", ["reserve_tokens", "settle"])
def test_who_leaves_while_its_tokens_are_counted_pays_for_what_it_got_and_once(
    guarded: Service, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    key = make_key(guarded)
    is_counting, gate = threading.Event(), threading.Event()
    count = getattr(usage, moment)

    def count_slowly(*args: Any, **more: Any) -> Any:
        counted = count(*args, **more)
        is_counting.set()
        assert gate.wait(60)
        return counted

    async def ask_and_leave() -> Answer:
        caller = Caller(guarded.database.work(lambda rows: keys.named(rows, key.split("-")[1]), writes=False))
        question = Question("chat", [("user", "Hello!")], decoding={"stop": tuple("abcdefghijklmnopqrstuvwxyz")})
        answer = Answer(guarded, caller, question, 60)
        asking = asyncio.create_task(whole(answer, question))
        assert await asyncio.to_thread(is_counting.wait, 60)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        gate.set()
        return answer

    monkeypatch.setattr(usage, moment, count_slowly)
    answer = asyncio.run(ask_and_leave())
    num_tokens = answer.num_context_tokens + answer.num_reply_tokens
    assert (answer.num_reply_tokens > 0) == (moment == "settle")
    assert counted_today(guarded, key) == (int(num_tokens > 0), num_tokens)


def test_what_a_full_engine_refuses_costs_nothing(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.require_keys=true", "serving.num_slots=1", "serving.max_queued_requests=1")
    engine, gate, key = service.replica.responder.engine, threading.Event(), make_key(service)
    step = engine.model.step
    engine.model.step = lambda *args: step(*args) if gate.wait(20) else None  # type: ignore[method-assign,assignment,return-value]
    others, client = client_of(service, make_key(service)), client_of(service, key)
    with ThreadPoolExecutor(2) as people:
        for where in ("num_running", "num_waiting"):
            filling = people.submit(others.post, CHAT, json=HELLO)
            while not getattr(engine.statistics(), where):
                assert not filling.done(), filling.result().text
                time.sleep(0.005)
        assert client.post(CHAT, json=HELLO).json()["error"]["code"] == "engine_full"
        asked = {"model": "chat", "conversations": [HELLO["messages"]] * 2}
        batch = client.post("/v1/chat/batch", json=asked, headers={"x-request-timeout": "0.6"}).json()
        num_read = service.metrics.tokens.of("context", str(service.replica.version))._value.get()
        gate.set()
    assert {item["error"]["code"] for item in batch["data"]} <= {"engine_full", "timeout"}
    assert batch["usage"]["total_tokens"] == num_read == 0
    assert counted_today(service, key) == (0, 0)


def test_an_address_others_can_reach_needs_keys(make_recipe: Callable[..., Recipe]) -> None:
    assert not make_recipe().serving.needs_keys
    assert not make_recipe("serving.host=::1").serving.needs_keys
    for host in ("0.0.0.0", "10.0.0.7", "chat.example.org"):
        assert make_recipe(f"serving.host={host}").serving.needs_keys
        with pytest.raises(RecipeError, match="anybody could talk to it"):
            make_recipe(f"serving.host={host}", "serving.require_keys=false")


def test_without_keys_only_this_machines_own_name_is_answered(service: Service) -> None:
    client = client_of(service)
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000", "LOCALHOST:1"):
        assert client.get("/v1/models", headers={"host": host}).status_code == 200
    answer = client.get("/v1/models", headers={"host": "evil.example.org:8000"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")


def test_without_keys_only_this_machine_is_answered_whatever_host_it_names(
    make_service: Callable[..., Service],
) -> None:
    """Serve may have been told to listen elsewhere than the recipe says."""
    guarded = make_service("serving.require_keys=true")
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {make_key(guarded)}"}
    by_itself, decided, with_keys = map(
        create_api, (make_service(), make_service("serving.require_keys=false"), guarded)
    )
    for address, status in (
        ("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("10.0.0.7", 403), ("2001:db8::7", 403),
        ("::ffff:10.0.0.7", 403),
    ):  # fmt: skip
        answers = [
            TestClient(api, client=(address, 4711)).get("/v1/models", headers=headers)
            for api in (by_itself, decided, with_keys)
        ]
        assert [answer.status_code for answer in answers] == [status, 200, 200]
        assert status == 200 or answers[0].json()["error"]["code"] == "address_not_allowed"


def test_other_origins_are_closed_unless_they_are_named(make_service: Callable[..., Service]) -> None:
    page = {"origin": "https://chat.example.org"}
    ask = page | {"access-control-request-method": "POST"}
    closed = client_of(make_service())
    assert "access-control-allow-origin" not in closed.get("/v1/models", headers=page).headers
    assert closed.options(CHAT, headers=ask).status_code == 405
    with pytest.raises(WebSocketDenialResponse) as denied, closed.websocket_connect("/v1/chat", headers=page):
        pass
    assert denied.value.status_code == 403
    opened = client_of(make_service("serving.cors_origins=[https://chat.example.org]"))
    assert opened.options(CHAT, headers=ask).headers["access-control-allow-origin"] == page["origin"]
    other = opened.get("/v1/models", headers={"origin": "https://other.example.org"})
    assert "access-control-allow-origin" not in other.headers
    with opened.websocket_connect("/v1/chat", headers=page):
        pass


def test_a_page_of_another_origin_cannot_change_anything(make_service: Callable[..., Service]) -> None:
    evil = {"origin": "https://evil.example.org"}
    client = client_of(make_service())  # where no key is needed, a browser of this machine would be let in
    for kind in (None, "text/plain", "application/x-www-form-urlencoded"):  # which browsers send without asking
        headers = evil if kind is None else evil | {"content-type": kind}
        answer = client.post("/v1/sessions", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert client.get("/v1/sessions").json()["data"] == []
    for own in ({"origin": "http://127.0.0.1"}, evil | {"sec-fetch-site": "same-origin"}):
        assert client.post("/v1/sessions", headers=own).status_code == 200


def test_a_body_that_is_too_large_is_not_read(make_service: Callable[..., Service]) -> None:
    client = client_of(make_service("serving.max_body_bytes=2000"))

    def pieces() -> Iterator[bytes]:
        yield from [b"x" * 1_000] * 10

    for body in (b"x" * 10_000_000, pieces()):
        answer = client.post(CHAT, content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_a_turn_that_is_too_long_is_refused(make_service: Callable[..., Service]) -> None:
    client = client_of(make_service("serving.max_turn_characters=10"))
    answer = client.post(CHAT, json=HELLO | {"messages": [{"role": "user", "content": "x" * 11}]})
    assert answer.status_code == 400
    assert "a turn of 11 characters; this service reads up to 10" in answer.json()["error"]["message"]


def test_every_answer_has_the_headers_that_browsers_heed(client: TestClient) -> None:
    for answer in (client.get("/healthz"), client.get("/nothing"), client.post(CHAT, content=b"{")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_log_has_a_line_for_each_request_and_neither_keys_nor_texts(
    make_service: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rejoinder.requests")
    guarded = make_service("serving.require_keys=true")
    key = make_key(guarded)
    client = client_of(guarded, key)
    client.post(CHAT, json=HELLO, headers={"x-request-id": "mine"})
    client_of(guarded, "rj-wrong-secret").post(CHAT, json=HELLO)
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "rejoinder.requests"]
    assert [line["status"] for line in lines] == [200, 401]
    assert lines[0]["request_id"] == "mine"
    assert lines[0]["key"] == key.split("-")[1]
    assert lines[0]["num_context_tokens"] > 0
    assert lines[0]["version"] == "models:/chat/3"
    assert lines[1]["error"] == "invalid_api_key"
    assert not any(secret in caplog.text for secret in ("Hello!", key, "secret"))


def test_the_log_has_texts_where_it_is_asked_to(
    make_service: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rejoinder.requests")
    client_of(make_service("serving.log_text=true")).post(CHAT, json=HELLO)
    assert "Hello!" in caplog.text


def test_keys_are_made_listed_and_revoked_at_the_command_line(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    text = create_key(recipe, "for tests", "chat, metrics", 30, None, 1_000)
    assert capsys.readouterr().out.splitlines()[-1] == text
    name = text.split("-")[1]
    list_keys(recipe)
    listed = capsys.readouterr().out
    assert name in listed
    assert "for tests" in listed
    assert text not in listed
    revoke_key(recipe, name)
    list_keys(recipe)
    assert "was revoked" in capsys.readouterr().out
    with pytest.raises(ServingError, match="no key is called other"):
        revoke_key(recipe, "other")
    with pytest.raises(ServingError, match="no scope is called 'admin'"):
        create_key(recipe, "", "chat,admin", 30, None, None)
