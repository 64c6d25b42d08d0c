"""More requests than a replica takes: the rest is told at once, and whoever looks after it still gets an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from rejoinder.recipe import Recipe
from serve.api import create_api
from serve.app import FAR_ABOVE, build_application
from serve.middleware.crowd import most_at_once
from serve.service import Service
from tests.serve.helpers import HELLO, serve_on_free_port, slow_down

SMALL = ("serving.num_slots=1", "serving.max_queued_requests=1", "serving.max_websockets=2")


@pytest.fixture
def slow(make_service: Callable[..., Service]) -> Iterator[str]:
    """The address of a service that takes four requests at a time."""
    service = make_service(*SMALL)
    slow_down(service, seconds_per_step=0.05)
    yield from serve_on_free_port(create_api(service))


def ask(url: str, **wishes: object) -> httpx.Response:
    """A reply of some tokens."""
    body = HELLO | {"min_reply_tokens": 8, "max_tokens": 8} | wishes
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)


def test_the_rest_is_told_at_once_to_come_again(slow: str) -> None:
    session = httpx.post(f"{slow}/v1/sessions", json={}).json()["id"]
    with ThreadPoolExecutor(6) as pool:  # one takes the slot; the others wait for their turn in the session
        answers = list(pool.map(lambda _: ask(slow, session_id=session), range(6)))
    refused = [answer for answer in answers if answer.status_code == 429]
    answered = [answer.elapsed for answer in answers if answer.status_code == 200]
    assert (len(answered), len(refused)) == (4, 2)
    assert {answer.json()["error"]["code"] for answer in refused} == {"overloaded"}
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert max(answer.elapsed for answer in refused) < min(answered)
    assert ask(slow).status_code == 200


def test_probes_and_counts_are_answered_however_many_ask(slow: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        crowd = [pool.submit(ask, slow, session_id="new") for _ in range(8)]
        probes = [httpx.get(f"{slow}{path}").status_code for path in ("/healthz", "/metrics", "/healthz")]
        assert probes == [200, 200, 200]
        assert {answer.result().status_code for answer in crowd} == {200, 429}


def test_serves_own_limit_is_never_the_first(make_recipe: Callable[..., Recipe]) -> None:
    """Its proxies fall behind once they have found a replica full."""
    recipe = make_recipe(*SMALL)
    deployment = build_application(recipe)._bound_deployment
    assert most_at_once(recipe.serving) == 4
    assert deployment.max_ongoing_requests == 4 * FAR_ABOVE
