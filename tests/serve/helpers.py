"""What tests of the endpoint do: ask it with a key, run it on a port, make its model slow, look who is loaded."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from rejoinder import checkpoints
from serve.api import create_api
from serve.service import Service
from serve.store import keys
from serve.store.keys import Key

Publish = Callable[..., int]
Point = Callable[[str, int], None]
Start = Callable[..., Service]

HOST = "http://127.0.0.1"
HELLO = {"model": "chat", "messages": [{"role": "user", "content": "Hello!"}]}
V1, V2, V3 = (f"models:/chat/{number}" for number in (1, 2, 3))


def client_of(service: Service, key: str | None = None) -> TestClient:
    """A client of a service, with a key or without one."""
    # For WebSockets, Starlette's client forgets its base_url.
    headers = {"host": "127.0.0.1"} | ({} if key is None else {"authorization": f"Bearer {key}"})
    return TestClient(create_api(service), base_url=HOST, raise_server_exceptions=False, headers=headers)


def make_key(service: Service, **changes: object) -> str:
    """A key for all there is, with some of it changed."""
    known = {"name": "", "scopes": ("chat", "metrics"), "requests_per_minute": None, "tokens_per_day": None}
    times = {"created_at": time.time(), "expires_at": None, "revoked_at": None}
    key = Key(**{"id": keys.new_key_id(), **known, **times, **changes})  # type: ignore[arg-type]
    return service.database.work(lambda rows: keys.create(rows, key))


def serve_on_free_port(api: FastAPI) -> Iterator[str]:
    """Runs a server in a thread for as long as the generator is held."""
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="error", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def slow_down(service: Service, seconds_per_step: float) -> None:
    """Makes each step of the model take a while."""
    step = service.replica.responder.engine.model.step

    def slow_step(*args: object) -> object:
        time.sleep(seconds_per_step)
        return step(*args)  # type: ignore[arg-type]

    service.replica.responder.engine.model.step = slow_step  # type: ignore[method-assign,assignment]


def events_of(text: str) -> list[dict[str, Any]]:
    """The JSON of each server-sent event; [DONE] must come last."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def assert_becomes_idle(service: Service, within_s: float = 5) -> None:
    """No request is left in the engine before long."""
    deadline = time.monotonic() + within_s
    while service.replica.responder.engine.statistics().num_running:
        assert time.monotonic() < deadline, "a slot is still taken"
        time.sleep(0.01)


def choices_of(text: str) -> dict[int, list[dict[str, Any]]]:
    """The choices of a stream by their index."""
    found = defaultdict(list)
    for event in events_of(text):
        for choice in event["choices"]:
            found[choice["index"]].append(choice)
    return found


def look(service: Service) -> None:
    """One round, as the thread makes them."""
    assert service.following is not None
    service.following.look()


def held(service: Service) -> dict[int, str]:
    """Who is loaded, and what for."""
    return {replica.version.number: role for replica, role in service.versions.held()}


def ask(client: TestClient, model: str = "chat", **more: object) -> tuple[str, str]:
    """The version that answered, and what it said."""
    answer = client.post("/v1/chat/completions", json=HELLO | {"model": model, "seed": 1, "max_tokens": 8, **more})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-model-version"], answer.json()["choices"][0]["message"]["content"]


def damage(folder: Path) -> None:
    """A file that is not what the manifest says."""
    weights = folder / checkpoints.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
