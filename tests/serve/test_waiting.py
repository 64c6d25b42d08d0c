"""An endpoint without a version to answer with: it says so, and answers as soon as there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rejoinder.recipe import Recipe
from rejoinder.registry import Decision, Registry
from serve import waiting as waiting_module
from serve.following import first_number
from serve.store import url_of
from serve.waiting import Waiting
from tests.serve.helpers import HELLO, HOST

CHAT = "/v1/chat/completions"
Publish = Callable[..., int]


@pytest.fixture
def waiting(publish: Publish, make_recipe: Callable[..., Recipe], migrated: bytes) -> Iterator[Waiting]:
    """An endpoint over a registry without versions. A test makes its rounds: `look()`."""
    recipe = make_recipe("serving.follow_every_s=3600", "serving.num_slots=2")
    Path(str(url_of(recipe).database)).write_bytes(migrated)
    endpoint = Waiting(recipe)
    endpoint._rounds.close(patience_s=30)
    yield endpoint
    endpoint.close()


def test_it_says_what_lacks_in_openais_shape_and_answers_once_there_is_a_champion(
    waiting: Waiting, publish: Publish
) -> None:
    with TestClient(waiting, base_url=HOST) as client:
        for answer in (client.post(CHAT, json=HELLO), client.get("/v1/models"), client.get("/readyz")):
            assert answer.status_code == 503
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("server_error", "no_champion")
            assert "jobs/promote.py" in error["message"]
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-model-version"] == "none"  # else the door takes it for Serve's own words
        assert client.get("/healthz").json() == {"status": "alive"}
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/chat"):
            pass
        waiting.look()
        assert waiting.service is None
        publish("champion")
        waiting.look()
        answered = client.post(CHAT, json=HELLO)
        assert answered.status_code == 200, answered.text
        assert answered.headers["x-model-version"] == "models:/chat/1"
        assert client.get("/readyz").status_code == 200


def test_a_first_version_that_is_damaged_is_tried_again_only_after_a_while(
    waiting: Waiting, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Recipe] = []

    def start(recipe: Recipe, replica_id: str | None) -> None:
        tries.append(recipe)
        raise ArithmeticError("damaged")

    monkeypatch.setattr(waiting_module, "start_service", start)
    publish("champion")
    with pytest.raises(ArithmeticError):
        waiting.look()
    waiting.look()
    assert len(tries) == 1
    assert TestClient(waiting, base_url=HOST).get("/readyz").status_code == 503


def test_a_replica_that_starts_after_the_alias_was_taken_away_goes_on_like_the_others(
    recipe: Recipe, publish: Publish
) -> None:
    registry = Registry(recipe)
    assert first_number(recipe, registry) is None
    publish()
    registry.decide(Decision("promoted", "champion", 1, None, "a test"))
    MlflowClient(registry.uri, registry.uri).delete_registered_model_alias(recipe.registry.model, "champion")
    assert registry.ledger.pointed_at("champion") is None
    assert first_number(recipe, registry) == 1
