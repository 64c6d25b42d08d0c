"""A service with a small untrained model and a database of its own, and the API over it on a real port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rejoinder import checkpoints
from rejoinder.dialogue import Responder
from rejoinder.recipe import Recipe
from rejoinder.registry import Version
from serve.api import create_api
from serve.metrics import Metrics
from serve.replica import ChatReplica
from serve.service import Service
from serve.store import Database, url_of
from tests.serve.helpers import client_of, serve_on_free_port


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An SQLite file with today's tables and nothing in them, made once."""
    file = tmp_path_factory.mktemp("migrated") / "serving.db"
    with Database(f"sqlite:///{file}") as database:
        database.migrate()
    return file.read_bytes()


@pytest.fixture
def make_service(
    make_checkpoint: Callable[..., Path], make_recipe: Callable[..., Recipe], migrated: bytes
) -> Iterator[Callable[..., Service]]:
    """`make_service("serving.num_slots=1")`: a service with these settings changed; all of a test share a database."""
    made: list[Service] = []

    def make(*words: str) -> Service:
        recipe = make_recipe(*words)
        serving, checkpoint = recipe.serving, make_checkpoint(0, recipe)
        responder = Responder(
            checkpoints.load(checkpoint), serving.num_slots, serving.max_queued_requests, serving.fallback_reply
        )
        responder.engine.start()
        url = url_of(recipe)
        if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
            Path(url.database).write_bytes(migrated)
        replica = ChatReplica(responder, Version("chat", 3, "run", {}), serving.request_timeout_s)
        metrics = Metrics()
        metrics.watch(responder.engine.statistics, lambda: str(replica.version))
        made.append(Service(replica, Database(url), serving, metrics))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    """A service with the small recipe's settings."""
    return make_service()


@pytest.fixture
def client(service: Service) -> TestClient:
    """A client of the service, without a network."""
    return client_of(service)


@pytest.fixture
def served(service: Service) -> Iterator[str]:
    """The API's address: a real server on a port of its own."""
    yield from serve_on_free_port(create_api(service))
