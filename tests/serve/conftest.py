"""A replica with a small untrained model, and the API over it on a real port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from rejoinder import checkpoints
from rejoinder.dialogue import Responder
from rejoinder.recipe import Recipe
from rejoinder.registry import Version
from serve.api import create_api
from serve.replica import ChatReplica


@pytest.fixture
def make_replica(
    make_checkpoint: Callable[..., Path], make_recipe: Callable[..., Recipe]
) -> Iterator[Callable[..., ChatReplica]]:
    """A replica with these settings changed; its engine is stopped at the end."""
    made: list[ChatReplica] = []

    def make(*words: str, request_timeout_s: float = 30) -> ChatReplica:
        recipe = make_recipe(*words)
        serving, checkpoint = recipe.serving, make_checkpoint(0, recipe)
        responder = Responder(checkpoints.load(checkpoint), serving.num_slots, serving.max_queued_requests)
        responder.engine.start()
        made.append(ChatReplica(responder, Version("chat", 3, "run", {}), request_timeout_s))
        return made[-1]

    yield make
    for replica in made:
        replica.responder.engine.stop()


@pytest.fixture
def replica(make_replica: Callable[..., ChatReplica]) -> ChatReplica:
    """A replica with the small recipe's settings."""
    return make_replica()


@pytest.fixture
def served(replica: ChatReplica) -> Iterator[str]:
    """The API's address: a real server on a port of its own."""
    yield from serve_on_free_port(create_api(lambda: replica))


def serve_on_free_port(api: FastAPI) -> Iterator[str]:
    """Runs a server in a thread for as long as the generator is held."""
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
