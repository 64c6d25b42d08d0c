"""A canary that is worse than the champion is called back: by all replicas, over restarts, until somebody clears it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe, RetreatSection
from serve.retreat import regressions
from serve.retreats import retreats_job
from serve.service import Service
from serve.tallies import Sum, Tally, Window, repetition_of
from tests.serve.helpers import HELLO, client_of

V1, V2 = "models:/chat/1", "models:/chat/2"
CANARY = ("serving.canary.to=next", "serving.canary.percent=50", "serving.retreat.min_replies=5")
LIMITS = RetreatSection()


def tally(number: int = 100, failed: int = 0, first_token_s: float = 0.1, repetition: float = 0.0) -> Tally:
    """So many replies, half of them a little quicker and half a little slower."""
    import math

    times = [math.log(first_token_s * (0.8 if i % 2 else 1.25)) for i in range(number)]
    shares = [repetition + (0.01 if i % 2 else 0.0) for i in range(number)]
    return Tally(Sum.of(float(i < failed) for i in range(number)), Sum.of(times), Sum.of(shares))


@pytest.mark.parametrize(
    ("canary", "says"),
    [
        (tally(), []),
        (tally(failed=1), []),
        (tally(failed=10), ["10.0% of its replies fail, of the champion's 0.0%"]),
        (tally(first_token_s=0.14), []),
        (tally(first_token_s=0.2), ["its first token comes after 0.2 s, the champion's after 0.1 s"]),
        (tally(repetition=0.3), ["30.5% of a reply was said before, of the champion's 0.5%"]),
        (tally(49, failed=49, first_token_s=9.0), []),
    ],
)
def test_a_version_is_judged_by_what_is_more_than_chance_and_more_than_allowed(canary: Tally, says: list[str]) -> None:
    assert list(regressions(canary, tally(), LIMITS)) == says


def test_nothing_is_judged_by_a_champion_that_hardly_answered() -> None:
    assert list(regressions(tally(failed=100), tally(49), LIMITS)) == []


def test_a_difference_that_chance_can_make_is_none() -> None:
    noisy = Tally(tally().failed, Sum.of([-10.0, 10.0] * 30 + [9.0]), tally().repetition)
    assert list(regressions(noisy, noisy + Tally(log_first_token_s=Sum.of([-40.0])), LIMITS)) == []


def test_sums_of_parts_are_the_sum_of_all_and_travel_as_json() -> None:
    one, other = tally(30, failed=3), tally(20, repetition=0.2)
    both = one + other
    assert (both.failed.number, both.failed.mean) == (50, 3 / 50)
    assert Tally.of_json(both.to_json()) == both
    values = [1.0, 2.0, 4.0]
    assert Sum.of(values).variance_of_mean == pytest.approx(sum((v - 7 / 3) ** 2 for v in values) / 3 / 2)


def test_a_window_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("serve.tallies.time.monotonic", lambda: now[0])
    window = Window(60)
    window.add(2, tally(3))
    now[0] += 40
    window.add(2, tally(4))
    assert window.tallies()[2].failed.number == 7
    now[0] += 30
    assert window.tallies()[2].failed.number == 4
    now[0] += 60
    assert window.tallies() == {}


@pytest.mark.parametrize(
    ("reply", "said", "share"),
    [
        ("i do not know", [], 0.0),
        ("Yes", ["yes"], 0.0),
        ("i do not know i do not know", [], 2 / 6),
        ("I do not know", ["well i do not know"], 1.0),
        ("i do not know", ["i do not know", "yes and no " * 1_000], 1.0),
        ("i do not know", ["i do not know", "yes and no " * 2_000], 0.0),
        ("i do not know", ["i do not know " + "yes and no " * 2_000 + "i do not"], 0.5),
    ],
)
def test_repetition_is_of_the_reply_and_of_what_was_said_last(reply: str, said: list[str], share: float) -> None:
    assert repetition_of(reply, said) == pytest.approx(share)


def ask(client: TestClient, user: str) -> str:
    """Which version answered, or would have."""
    body = HELLO | {"user": user, "max_tokens": 2}
    return client.post("/v1/chat/completions", json=body).headers["x-model-version"]


def break_model(service: Service) -> None:
    """Version 2 fails at every step."""

    def fail(*args: object) -> None:
        raise ArithmeticError("broken")

    (replica,) = [replica for replica, _ in service.versions.held() if replica.version.number == 2]
    replica.responder.engine.model.step = fail  # type: ignore[method-assign,assignment]


def test_a_canary_that_fails_is_called_back_everywhere_and_for_good_until_it_is_cleared(
    publish: Callable[..., int], start: Callable[..., Service], recipe: Recipe, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    publish("champion")
    publish("next")
    one, other = start(*CANARY), start(*CANARY)
    client, people = client_of(one), [f"person {number}" for number in range(12)]
    break_model(one)
    with caplog.at_level(logging.ERROR, "rejoinder.versions"):
        assert {ask(client, person) for person in people} == {V1, V2}
        one.judge.look()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "rejoinder.versions"]
    assert "version 2 is called back, models:/chat/1 answers instead: 100.0% of its replies fail" in line
    assert {ask(client, person) for person in people} == {V1}
    assert ask(client, "x") == V1
    text = client.get("/metrics").text
    assert f'rejoinder_version_retreated{{replica="{one.metrics.replica}",version="{V2}"}} 1.0' in text
    assert f'rejoinder_failed_replies_total{{replica="{one.metrics.replica}",version="{V2}"}}' in text
    # Whoever names it gets it: only the canary's traffic is gone.
    assert client.post("/v1/chat/completions", json=HELLO | {"model": "chat@2"}).status_code == 503
    # The other replica, and one that is started anew.
    other.judge.look()
    for service in (other, start(*CANARY)):
        assert {ask(client_of(service), person) for person in people} == {V1}
    retreats_job(recipe, "list", 0)
    assert "version 2  " in capsys.readouterr().out
    retreats_job(recipe, "clear", 2)
    other.judge.look()
    assert {ask(client_of(other), person) for person in people} == {V1, V2}
    other.judge.look()  # what it did before is forgotten
    assert {ask(client_of(other), person) for person in people} == {V1, V2}
    with pytest.raises(ServingError, match="version 2 of 'chat' was not called back"):
        retreats_job(recipe, "clear", 2)


def test_all_replicas_together_have_seen_enough_when_none_has_alone(
    publish: Callable[..., int], start: Callable[..., Service]
) -> None:
    publish("champion")
    publish("next")
    services = [start(*CANARY[:2], "serving.retreat.min_replies=20") for _ in range(2)]
    for service in services:
        service.window.add(1, tally(12))
        service.window.add(2, tally(12, repetition=0.5))
    services[0].judge.look()
    assert services[0].versions.retreated() == frozenset()
    services[1].judge.look()
    assert services[1].versions.retreated() == {2}
    services[0].judge.look()
    assert services[0].versions.retreated() == {2}
