"""Conversations that the server keeps: any replica goes on with them, in order, for whoever made them."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from rejoinder.corpora import Conversation, chat_messages
from serve.service import Service
from serve.store import StoreUnavailable, sessions, tables, tickets
from tests.serve.helpers import HELLO, client_of, make_key, slow_down

CHAT = "/v1/chat/completions"


def say(client: TestClient, session: str, text: str, **changes: Any) -> dict[str, Any]:
    """The reply's body."""
    body = {"model": "chat", "messages": [{"role": "user", "content": text}], "session_id": session, "max_tokens": 4}
    answer = client.post(CHAT, json=body | {"seed": 3} | changes)  # by chance it could say U+0000, which is not kept
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def turns_of(client: TestClient, session: str) -> list[str]:
    """What was said."""
    return [turn["content"] for turn in client.get(f"/v1/sessions/{session}?limit=1000").json()["turns"]]


def contexts_of(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The turns that the model is given, request by request."""
    seen: list[list[str]] = []
    responder = service.replica.responder
    context = responder.context
    monkeypatch.setattr(
        responder,
        "context",
        lambda turns, *rest: seen.append([turn.text for turn in turns]) or context(turns, *rest),  # type: ignore
    )
    return seen


def test_a_session_goes_on_where_it_was(client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = contexts_of(service, monkeypatch)
    first = say(client, "new", "Hello!")
    second = say(client, first["session_id"], "And you?")
    assert second["session_id"] == first["session_id"]
    reply = first["choices"][0]["message"]["content"]
    assert seen == [["Hello!"], ["Hello!", reply, "And you?"]]
    assert turns_of(client, first["session_id"]) == [*seen[1], second["choices"][0]["message"]["content"]]


def test_any_replica_answers_also_when_all_were_started_anew(make_service: Callable[..., Service]) -> None:
    one = make_service()
    session = say(client_of(one), "new", "Hello!")["session_id"]
    one.database.close()
    other = client_of(make_service())
    assert say(other, session, "And you?")["session_id"] == session
    assert len(turns_of(other, session)) == 4


def test_the_header_names_a_session_as_the_body_does(client: TestClient) -> None:
    answer = client.post(CHAT, json=HELLO, headers={"x-session-id": "new"})
    session = answer.headers["x-session-id"]
    assert answer.json()["session_id"] == session
    assert client.post(CHAT, json=HELLO, headers={"x-session-id": session}).status_code == 200
    both = client.post(CHAT, json=HELLO | {"session_id": "other"}, headers={"x-session-id": session})
    assert both.status_code == 400
    assert "differ" in both.json()["error"]["message"]


def test_a_stream_ends_only_when_its_turn_is_kept(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client.post("/v1/sessions").json()["id"]
    answer = client.post(CHAT, json=HELLO | {"session_id": session, "stream": True})
    assert answer.headers["x-session-id"] == session
    assert len(turns_of(client, session)) == 2

    def lose(*_: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("serve.store.turns.finish", lose)
    lost = client.post(CHAT, json=HELLO | {"session_id": session, "stream": True}).text
    assert "[DONE]" not in lost
    assert "finish_reason" not in lost
    assert json.loads(lost.split("data: ")[-1])["error"]["type"] == "server_error"
    assert len(turns_of(client, session)) == 2


def test_messages_at_once_are_put_in_order_and_never_mixed(make_service: Callable[..., Service]) -> None:
    services = [make_service(), make_service()]  # two replicas with one database
    for service in services:
        slow_down(service, 0.005)
    clients = [client_of(service) for service in services]
    session = clients[0].post("/v1/sessions").json()["id"]
    with ThreadPoolExecutor(6) as people:
        list(people.map(lambda i: say(clients[i % 2], session, f"turn {i}"), range(6)))
    page = clients[0].get(f"/v1/sessions/{session}").json()
    assert [turn["role"] for turn in page["turns"]] == ["user", "assistant"] * 6
    assert sorted(turn["content"] for turn in page["turns"][::2]) == [f"turn {i}" for i in range(6)]
    assert [turn["position"] for turn in page["turns"]] == list(range(12))


def newest_ticket(service: Service) -> int:
    """Of those who are answered or wait in any session; numbers only grow."""
    newest = select(func.max(tables.tickets.c.id))
    return service.database.work(lambda rows: rows.execute(newest).scalar(), writes=False) or 0


def ask_in_order(people: ThreadPoolExecutor, services: list[Service], session: str, num: int) -> list[Future[Any]]:
    """The answers to as many messages, each asked when the one before has queued up; the replicas take turns."""
    clients, answers = [client_of(service) for service in services], list[Future[Any]]()
    newest = newest_ticket(services[0])
    for number in range(num):
        said = {"messages": [{"role": "user", "content": f"turn {number}"}], "session_id": session}
        body = HELLO | said | {"max_tokens": 8, "min_reply_tokens": 8}
        before = newest
        answers.append(people.submit(clients[number % len(clients)].post, CHAT, json=body))
        while (newest := newest_ticket(services[0])) <= before:
            time.sleep(0.005)
    return answers


def test_whoever_waits_longer_than_a_lease_keeps_its_place(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = [make_service(), make_service()]
    session = client_of(services[0]).post("/v1/sessions").json()["id"]
    monkeypatch.setattr(tickets, "LEASE_S", 1.5)
    for service in services:
        slow_down(service, 0.1)
    with ThreadPoolExecutor(8) as people:
        answers = [asked.result() for asked in ask_in_order(people, services, session, 8)]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert turns_of(client_of(services[0]), session)[::2] == [f"turn {number}" for number in range(8)]


def test_a_database_that_is_away_for_a_moment_costs_nobody_its_place(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client_of(service).post("/v1/sessions").json()["id"]
    monkeypatch.setattr(tickets, "LEASE_S", 1.5)
    slow_down(service, 0.3)
    claim, num_lost = tickets.claim, 0

    def claim_later(*args: Any) -> bool:
        nonlocal num_lost
        if num_lost < 2:  # whoever is answered renews
            num_lost += 1
            raise StoreUnavailable("away")
        return claim(*args)

    with ThreadPoolExecutor(2) as people:
        (first,) = ask_in_order(people, [service], session, 1)
        monkeypatch.setattr(tickets, "claim", claim_later)
        while num_lost < 2 and not first.done():
            time.sleep(0.005)
        (second,) = ask_in_order(people, [service], session, 1)
        assert [first.result().status_code, second.result().status_code] == [200, 200]


def test_whoever_leaves_before_the_end_has_said_nothing_and_blocks_nobody(service: Service, served: str) -> None:
    slow_down(service, 0.05)
    with httpx.Client(base_url=served, timeout=30) as client:
        session = client.post("/v1/sessions").json()["id"]
        body = HELLO | {"session_id": session, "stream": True, "temperature": 0, "max_tokens": 20}
        with client.stream("POST", CHAT, json=body) as answer:
            next(answer.iter_lines())
        begun = time.monotonic()
        assert client.post(CHAT, json=HELLO | {"session_id": session, "max_tokens": 2}).status_code == 200
        assert time.monotonic() - begun < tickets.LEASE_S  # it was released, and did not expire
        assert len(client.get(f"/v1/sessions/{session}").json()["turns"]) == 2


def test_a_session_in_which_somebody_is_answered_for_too_long_says_so(make_service: Callable[..., Service]) -> None:
    service = make_service()
    client = client_of(service)
    session = client.post("/v1/sessions").json()["id"]
    service.database.work(lambda rows: tickets.take(rows, session, "", "somebody", time.time(), 60))
    answer = client.post(CHAT, json=HELLO | {"session_id": session}, headers={"x-request-timeout": "0.1"})
    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "timeout"
    assert "no turn to speak within 0.1 s" in answer.json()["error"]["message"]


def test_only_turns_that_can_fit_are_read_however_long_the_session(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client.post("/v1/sessions").json()["id"]
    for number in range(20):
        say(client, session, f"turn {number}", max_tokens=1)
    read: list[int] = []
    before = sessions.turns_before

    def note(*args: Any) -> list[sessions.StoredTurn]:
        read.append(len(found := before(*args)))
        return found

    monkeypatch.setattr("serve.store.sessions.turns_before", note)
    say(client, session, "the last")
    assert read == [24]  # the model reads 48 ids, and no turn has fewer than two


@pytest.mark.slow
def test_a_reply_takes_no_longer_in_a_session_of_ten_thousand_turns(client: TestClient, service: Service) -> None:
    num_turns, seconds = {"short": 10, "long": 10_000}, dict[str, list[float]](short=[], long=[])
    for id, number in num_turns.items():
        now = time.time()
        said = [
            {
                "session_id": id,
                "position": i,
                "role": ("user", "assistant")[i % 2],
                "text": f"turn {i}",
                "created_at": now,
            }
            for i in range(number)
        ]
        times = {"created_at": now, "used_at": now, "expires_at": now + 3_600}
        head = {"id": id, "owner": "", "system": [], "num_turns": number}
        service.database.work(lambda rows, head=head, times=times: rows.execute(tables.sessions.insert(), head | times))
        service.database.work(lambda rows, said=said: rows.execute(tables.turns.insert(), said))
    for _ in range(40):  # in turns, so that both have the same neighbours
        for id, taken in seconds.items():
            begun = time.perf_counter()
            say(client, id, "And now?", max_tokens=2, seed=1)
            taken.append(time.perf_counter() - begun)
    short, long = (statistics.median(seconds[id]) for id in ("short", "long"))
    assert long < 1.5 * short + 0.005, f"{1e3 * short:.1f} ms with 10 turns, {1e3 * long:.1f} ms with 10,000"


def test_system_messages_of_a_session_stay_until_they_are_replaced(make_service: Callable[..., Service]) -> None:
    service = make_service("text.control_tokens=[system]")
    client, submitted = client_of(service), []
    submit = service.replica.responder.engine.submit
    service.replica.responder.engine.submit = lambda *args, **more: submitted.append(args[0]) or submit(*args, **more)  # type: ignore
    session = client.post("/v1/sessions", json={"system": ["Be kind."]}).json()["id"]
    say(client, session, "a")
    asked = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "b"}]
    say(client, session, "", messages=asked)
    say(client, session, "c")
    shown = [service.replica.responder.trained.tokenizer.with_markers(ids) for ids in submitted]
    assert ["<system> Be kind." in text for text in shown] == [True, False, False]
    assert ["<system> Be brief." in text for text in shown] == [False, True, True]


def test_sessions_are_listed_fetched_exported_and_deleted(client: TestClient, tmp_path: Path) -> None:
    ids = [say(client, "new", f"hello {number}")["session_id"] for number in range(3)]
    page = client.get("/v1/sessions?limit=2").json()
    assert ([card["id"] for card in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    rest = client.get(f"/v1/sessions?limit=2&after={ids[1]}").json()
    assert ([card["id"] for card in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    assert client.get(f"/v1/sessions/{ids[0]}?start=1&limit=1").json()["turns"][0]["role"] == "assistant"
    (tmp_path / "export.jsonl").write_text(client.get(f"/v1/sessions/{ids[0]}/export").text)
    (talk,) = chat_messages.read(chat_messages.Settings(path=str(tmp_path / "export.jsonl")))
    assert isinstance(talk, Conversation)
    assert [turn.text for turn in talk.turns] == turns_of(client, ids[0])
    assert client.delete(f"/v1/sessions/{ids[0]}").json()["deleted"]
    for answer in (client.get(f"/v1/sessions/{ids[0]}"), client.delete(f"/v1/sessions/{ids[0]}")):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "session_not_found"


def test_a_session_is_readable_by_the_key_that_made_it_and_by_no_other(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.require_keys=true")
    mine, yours = (client_of(service, make_key(service)) for _ in range(2))
    session = say(mine, "new", "Hello!")["session_id"]
    said = {"model": "chat", "messages": HELLO["messages"], "session_id": session}
    answers = [
        yours.post(CHAT, json=said),
        *(yours.get(f"/v1/sessions/{session}{page}") for page in ("", "/export")),
        yours.delete(f"/v1/sessions/{session}"),
    ]
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {(404, "session_not_found")}
    assert yours.get("/v1/sessions").json()["data"] == []
    assert len(turns_of(mine, session)) == 2


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"session_id": "nobodys"}, 404, "no session of yours is called 'nobodys'"),
        ({"session_id": ""}, 400, "session_id"),
        ({"session_id": "a\0b"}, 400, "session_id"),
        ({"session_id": "new", "messages": [{"role": "system", "content": "x"}]}, 400, "nothing of it is the user's"),
        ({"session_id": "new", "messages": [{"role": "user", "content": " "}]}, 400, "every turn is empty"),
    ],
)
def test_what_cannot_be_said_in_a_session_is_refused(
    client: TestClient, changes: dict[str, Any], status: int, says: str
) -> None:
    for stream in (False, True):
        answer = client.post(CHAT, json=HELLO | changes | {"stream": stream})
        assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text


def test_a_session_that_is_deleted_while_it_is_answered_says_so(make_service: Callable[..., Service]) -> None:
    service = make_service()
    slow_down(service, 0.05)
    client, answers = client_of(service), list[httpx.Response]()
    session = client.post("/v1/sessions").json()["id"]
    body = HELLO | {"session_id": session, "temperature": 0, "max_tokens": 20}
    asking = threading.Thread(target=lambda: answers.append(client.post(CHAT, json=body)))
    asking.start()
    while not service.replica.responder.engine.statistics().num_running:
        time.sleep(0.005)
    assert client_of(service).delete(f"/v1/sessions/{session}").status_code == 200
    asking.join()
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (409, "session_moved_on")


def test_whoever_waits_in_a_session_that_is_deleted_is_told_at_once(service: Service) -> None:
    slow_down(service, 0.1)
    client = client_of(service)
    session = client.post("/v1/sessions").json()["id"]
    with ThreadPoolExecutor(2) as people:
        answers = ask_in_order(people, [service], session, 2)
        begun = time.monotonic()
        assert client.delete(f"/v1/sessions/{session}").status_code == 200
        told = [answer.result() for answer in answers]
    assert time.monotonic() - begun < service.serving.request_timeout_s / 2
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in told] == [(409, "session_moved_on")] * 2
    gone = client.post(CHAT, json=HELLO | {"session_id": session})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "session_not_found")
