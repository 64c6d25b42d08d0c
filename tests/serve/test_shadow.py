"""A second version is asked as well: nobody gets its answers, and nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from rejoinder.decoding import Decoding
from serve.replica import ChatReplica
from serve.service import Service
from serve.store import shadows
from serve.store.tables import shadow_replies
from tests.serve.helpers import HELLO, client_of

SHADOW = ("serving.shadow.to=next", "serving.shadow.percent=100")


@pytest.fixture
def service(publish: Callable[..., int], start: Callable[..., Service]) -> Service:
    """Version 1 answers, version 2 is asked as well."""
    publish("champion")
    publish("next")
    return start(*SHADOW, "serving.shadow.max_wait_s=60")


def outcomes(service: Service) -> dict[str, float]:
    """How often each happened."""
    found: dict[str, float] = {}
    for line in service.metrics.text().splitlines():
        if line.startswith("rejoinder_shadow_replies_total"):
            outcome = line.split('outcome="')[1].split('"')[0]
            found[outcome] = found.get(outcome, 0) + float(line.split()[-1])
    return found


def wait_for(service: Service, number: int) -> dict[str, float]:
    """Until so many questions have come to an end."""
    deadline = time.monotonic() + 60
    while sum(outcomes(service).values()) < number:
        assert time.monotonic() < deadline, outcomes(service)
        time.sleep(0.01)
    return outcomes(service)


def rows_of(service: Service) -> list[str]:
    """The replies beside which a shadow's is kept, when it is there."""
    return list(service.database.work(lambda rows: rows.execute(select(shadow_replies.c.reply_id)).scalars()))


def test_its_answers_are_counted_and_kept_no_longer_than_the_conversation_and_never_sent(service: Service) -> None:
    client = client_of(service)
    passing = client.post("/v1/chat/completions", json=HELLO | {"seed": 1}).json()
    stored = client.post("/v1/chat/completions", json=HELLO | {"seed": 1, "store": True}).json()
    in_session = client.post("/v1/chat/completions", json=HELLO | {"seed": 1, "session_id": "new"}).json()
    ended = wait_for(service, 3)
    assert set(ended) <= {"same", "other"}
    while len(rows_of(service)) < 3:
        time.sleep(0.01)
    (of_passing,), (of_stored,), (of_session,) = (
        service.database.work(lambda rows, id=reply["id"]: shadows.beside(rows, id))
        for reply in (passing, stored, in_session)
    )
    assert {one.version for one in (of_passing, of_stored, of_session)} == {"models:/chat/2"}
    assert of_passing.text is None
    assert of_stored.text == of_session.text != stored["choices"][0]["message"]["content"]
    assert not of_stored.is_same
    assert of_stored.num_reply_tokens > 0
    assert 0 < of_stored.first_token_s <= of_stored.seconds
    client.delete(f"/v1/sessions/{in_session['session_id']}")
    assert in_session["id"] not in rows_of(service)
    assert "rejoinder_shadow_time_to_first_token_seconds_count{" in client.get("/metrics").text


def test_it_waits_while_somebody_is_answered_and_gives_up_when_somebody_comes(service: Service) -> None:
    client = client_of(service)
    (shadow,) = [replica for replica, _ in service.versions.held() if replica.version.number == 2]
    engine, gate = shadow.responder.engine, threading.Event()
    step = engine.model.step
    engine.model.step = lambda *args: step(*args) if gate.wait(60) else None  # type: ignore[method-assign,assignment,return-value]
    client.post("/v1/chat/completions", json=HELLO)
    while not engine.statistics().num_running:
        time.sleep(0.001)  # the shadow has begun, and its model stands still
    somebody = service.versions.lend(1)
    assert somebody is not None
    gate.set()
    while "cancelled" not in engine.statistics().finishes:
        time.sleep(0.001)
    assert outcomes(service) == {}
    service.versions.give_back(somebody)
    assert sum(wait_for(service, 1).values()) == 1
    assert "dropped" not in outcomes(service)


def test_too_many_questions_and_old_ones_are_dropped(
    publish: Callable[..., int], start: Callable[..., Service]
) -> None:
    publish("champion")
    publish("next")
    service = start(*SHADOW, "serving.shadow.max_waiting=1", "serving.shadow.max_wait_s=0.2")
    client = client_of(service)
    somebody = service.versions.lend(1)
    assert somebody is not None
    for _ in range(4):
        client.post("/v1/chat/completions", json=HELLO | {"max_tokens": 2})
    assert wait_for(service, 4) == {"dropped": 4}
    service.versions.give_back(somebody)


def test_a_shadow_that_fails_fails_nobody(service: Service) -> None:
    client = client_of(service)

    def fail(*args: object) -> None:
        raise ArithmeticError("broken")

    (shadow,) = [replica for replica, _ in service.versions.held() if replica.version.number == 2]
    shadow.responder.engine.model.step = fail  # type: ignore[method-assign,assignment]
    assert client.post("/v1/chat/completions", json=HELLO).status_code == 200
    assert wait_for(service, 1) == {"failed": 1}
    assert client.post("/v1/chat/completions", json=HELLO).status_code == 200


def test_of_several_replies_it_makes_as_many_and_keeps_the_best(service: Service) -> None:
    asked: dict[int, Decoding] = {}
    for replica, _ in service.versions.held():
        note_decoding(replica, asked)
    body = HELLO | {"n": 3, "temperature": 1.5, "mmi_weight": 0.5, "seed": 1, "logprobs": True}
    assert client_of(service).post("/v1/chat/completions", json=body).status_code == 200
    assert set(wait_for(service, 1)) <= {"same", "other"}
    assert asked[1].num_replies == 3
    assert asked[2] == asked[1].one_reply


def note_decoding(replica: ChatReplica, asked: dict[int, Decoding]) -> None:
    """Writes down how a version was asked."""
    submit = replica.responder.submit

    def noted(context: list[int], decoding: Decoding, *rest: Any, **more: Any) -> Any:
        asked[replica.version.number] = decoding
        return submit(context, decoding, *rest, **more)

    replica.responder.submit = noted  # type: ignore[method-assign,assignment]
