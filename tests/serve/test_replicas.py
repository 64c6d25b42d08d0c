"""Replicas on a real Ray Serve: killed while they stream, updated, too many asked, scaled up, to nothing and back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from ray import serve as ray_serve
from ray._private import state

from rejoinder.recipe import Recipe, override, validate
from serve import Deployed, deploy
from serve.deployment import drain
from serve.store.turns import storable
from tests.real import free_port
from tests.serve.helpers import HELLO, events_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
LONG = 800
"""Tokens of a reply that takes a second or more."""
PATIENCE_S = 240.0


@pytest.fixture
def recipe(make_recipe: Callable[..., Recipe]) -> Recipe:
    """The small recipe with long replies, on a port of its own; it scales at once."""
    return make_recipe(
        f"serving.port={free_port()}", f"text.max_reply_tokens={LONG}", "training.batch_tokens=1024",
        "evaluation.batch_tokens=1024", "serving.num_slots=4", "serving.max_queued_requests=4",
        "serving.max_websockets=0", "serving.min_replicas=0", "serving.max_replicas=2",
        "serving.target_ongoing_requests=2", "serving.upscale_delay_s=0", "serving.downscale_delay_s=3",
        "serving.downscale_to_zero_delay_s=5", "serving.request_timeout_s=110",
    )  # fmt: skip


@pytest.fixture
def deployed(recipe: Recipe, publish: Callable[..., int]) -> Iterator[Deployed]:
    """A running endpoint; Serve is shut down at the end."""
    publish("champion")
    yield deploy(recipe)
    ray_serve.shutdown()


class Asked(threading.Thread):
    """One long request; its answer, and the time of each of its pieces."""

    def __init__(self, deployed: Deployed, stream: bool = True, num_tokens: int = LONG, **more: Any) -> None:
        super().__init__(daemon=True)
        self._url = f"{deployed.url}/v1/chat/completions"
        self._body = HELLO | {"stream": stream, "max_tokens": num_tokens, "min_reply_tokens": num_tokens} | more
        self.status, self.text, self.headers = 0, "", httpx.Headers()
        self.pieces_at: list[float] = []
        self.start()

    def run(self) -> None:
        with httpx.stream("POST", self._url, json=self._body, timeout=PATIENCE_S) as answer:
            self.status, self.headers = answer.status_code, answer.headers
            for piece in answer.iter_text():
                self.pieces_at.append(time.monotonic())
                self.text += piece

    def said(self) -> str:
        """All of a stream's text; it must have its end."""
        self.join(PATIENCE_S)
        assert self.status == 200, self.text
        chunks = events_of(self.text)
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"
        return "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)


def until(found: Callable[[], Any], what: str) -> Any:
    """Waits until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not (it := found()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)
    return it


def replica_pids() -> set[int]:
    """Of the replicas that live."""
    table = state.actors(actor_state_name="ALIVE").values()
    return {actor["Pid"] for actor in table if actor["Name"].startswith("SERVE_REPLICA::")}


def num_running(recipe: Recipe) -> int:
    """Replicas that Serve counts as running."""
    status = ray_serve.status().applications[recipe.serving.application].deployments["chat"]
    return int(status.replica_states.get("RUNNING", 0))


@pytest.mark.timeout(1200)
def test_replicas_come_and_go_and_nobody_notices(recipe: Recipe, deployed: Deployed) -> None:
    # One deployment for all of it: starting Serve takes longer than everything else here.
    seeded = Asked(deployed, seed=5).said()
    assert_a_replica_that_is_killed_loses_nothing(deployed, seeded)
    assert_too_many_are_told_to_come_again_and_no_replica_is_restarted(deployed)
    assert_a_burst_starts_another_replica_and_its_end_stops_it(recipe, deployed)
    assert_a_redeploy_cuts_no_stream(recipe, deployed, seeded)
    assert_it_goes_to_nothing_and_comes_back(recipe, deployed)
    assert_what_has_begun_is_answered_before_it_stops(recipe, deployed)


def assert_a_replica_that_is_killed_loses_nothing(deployed: Deployed, seeded: str) -> None:
    stream, whole = Asked(deployed, seed=5), Asked(deployed, stream=False, seed=5)
    session = Asked(deployed, seed=5, session_id="new")
    until(lambda: len(stream.pieces_at) > 10 and len(session.pieces_at) > 10, "the streams had begun")
    for pid in replica_pids():
        os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    assert stream.said() == session.said() == seeded
    whole.join(PATIENCE_S)
    assert whole.status == 200, whole.text
    assert stream.pieces_at[-1] > killed_at, "it had ended before"
    id = events_of(session.text)[0]["session_id"]
    turns = httpx.get(f"{deployed.url}/v1/sessions/{id}", timeout=30).json()["turns"]
    assert [turn["content"] for turn in turns] == ["Hello!", storable(seeded)]


def assert_too_many_are_told_to_come_again_and_no_replica_is_restarted(deployed: Deployed) -> None:
    many = [Asked(deployed, num_tokens=400) for _ in range(40)]
    until(lambda: any(one.pieces_at for one in many), "one of them was answered")
    before = replica_pids()
    for one in many:
        one.join(PATIENCE_S)
    statuses = Counter(one.status for one in many)
    assert set(statuses) == {200, 429}, statuses
    for one in many:
        if one.status == 429:
            assert int(one.headers["retry-after"]) > 0
            assert '"rate_limit_error"' in one.text
    assert before & replica_pids()


def assert_a_burst_starts_another_replica_and_its_end_stops_it(recipe: Recipe, deployed: Deployed) -> None:
    burst: list[Asked] = []

    def two_are_running() -> bool:
        if sum(one.is_alive() for one in burst) < 5:
            burst.append(Asked(deployed))
        return num_running(recipe) == 2

    until(two_are_running, "a second replica answered")
    until(lambda: num_running(recipe) < 2, "one of the two was stopped")
    assert all(one.said() for one in burst)


def assert_a_redeploy_cuts_no_stream(recipe: Recipe, deployed: Deployed, seeded: str) -> None:
    old = replica_pids()
    ended, statuses = threading.Event(), Counter[int]()
    streams: list[Asked] = []

    def keep_asking() -> None:
        while not ended.is_set():
            streams.append(Asked(deployed, seed=5))
            one = Asked(deployed, stream=False, num_tokens=20)
            one.join(PATIENCE_S)
            statuses[one.status] += 1

    asking = threading.Thread(target=keep_asking)
    asking.start()
    until(lambda: streams and streams[0].pieces_at, "a stream had begun")
    changed = override(recipe.model_dump(mode="json"), ["serving.fallback_reply=Pardon?", "serving.num_slots=6"])
    deploy(validate(changed))
    until(lambda: not old & replica_pids(), "the old replica was gone")
    ended.set()
    asking.join(PATIENCE_S)
    assert set(statuses) == {200}
    assert {one.said() for one in streams} == {seeded}


def assert_it_goes_to_nothing_and_comes_back(recipe: Recipe, deployed: Deployed) -> None:
    until(lambda: not replica_pids(), "nobody was left")
    first = Asked(deployed, num_tokens=5)
    assert first.said()
    assert num_running(recipe) == 1


def assert_what_has_begun_is_answered_before_it_stops(recipe: Recipe, deployed: Deployed) -> None:
    stream = Asked(deployed)
    until(lambda: stream.pieces_at, "the stream had begun")
    drain(recipe)
    assert stream.said()
    assert not replica_pids()
    late = httpx.post(f"{deployed.url}/v1/chat/completions", json=HELLO, timeout=30)
    assert late.status_code in (404, 503)
    assert late.json()["error"]["message"]
