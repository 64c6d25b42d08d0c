"""A service with a small untrained model and a database of its own, and the API over it on a real port."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from starlette.testclient import TestClient

from rejoinder import checkpoints
from rejoinder.dialogue import Responder
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, Version
from rejoinder.registry.documents import CHECKPOINT_FOLDER
from serve.api import create_api
from serve.metrics import Metrics
from serve.replica import ChatReplica
from serve.service import Service, start_service
from serve.store import Database, url_of
from serve.versions import Versions
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
        made.append(Service(Versions(replica, serving), Database(url), serving, Metrics()))
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


@pytest.fixture
def publish(
    recipe: Recipe, make_checkpoint: Callable[..., Path], empty_store: Path, tmp_path: Path
) -> Callable[..., int]:
    """`publish("champion")`: one more version of an untrained model, of which no two say the same, and an alias that
    points at it; `change(folder)` may change its files before. Returns its number."""
    shutil.copytree(empty_store, Path(recipe.storage.uri) / "mlflow")
    registry = Registry(recipe)
    client, model = MlflowClient(registry.uri, registry.uri), recipe.registry.model
    client.create_registered_model(model)

    def make(*aliases: str, change: Callable[[Path], object] = lambda folder: None) -> int:
        number = len(registry.versions()) + 1
        source = tmp_path / f"version-{number}"
        folder = source / "artifacts" / CHECKPOINT_FOLDER
        folder.parent.mkdir(parents=True)
        checkpoints.export(make_checkpoint(number), folder)
        change(folder)
        client.create_model_version(model, source.as_uri())
        for alias in aliases:
            client.set_registered_model_alias(model, alias, str(number))
        return number

    return make


@pytest.fixture
def point(recipe: Recipe) -> Callable[[str, int], None]:
    """`point("champion", 1)` moves an alias."""

    def move(alias: str, number: int) -> None:
        uri = Registry(recipe).uri
        MlflowClient(uri, uri).set_registered_model_alias(recipe.registry.model, alias, str(number))

    return move


@pytest.fixture
def start(make_recipe: Callable[..., Recipe], migrated: bytes) -> Iterator[Callable[..., Service]]:
    """`start("serving.canary.to=candidate")`: a service of the registry's champion, as a replica starts it. What goes
    on beside the requests is done when a test says so: `service.following.look()`, `service.judge.look()`."""
    made: list[Service] = []

    def make(*words: str) -> Service:
        recipe = make_recipe("serving.follow_every_s=null", "serving.num_slots=4", *words)
        file = Path(str(url_of(recipe).database))
        if not file.exists():
            file.write_bytes(migrated)
        made.append(start_service(recipe))
        for rounds in made[-1].rounds:  # from here on a test makes them
            rounds.close(patience_s=30)
        assert made[-1].following is not None
        made[-1].following.look()
        return made[-1]

    yield make
    for service in made:
        service.close()
