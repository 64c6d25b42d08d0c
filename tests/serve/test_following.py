"""A service follows the registry: a new version takes over between two replies, or never."""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import safetensors.torch
import torch

from rejoinder import checkpoints
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry
from rejoinder.storage import sha256_of
from rejoinder.text import END_ID
from serve import versions as versions_module
from serve.replica import ChatReplica
from tests.serve.helpers import V1, V2, V3, Point, Publish, Start, ask, client_of, damage, held, look


def held_back(replica: ChatReplica) -> threading.Event:
    """Makes each step of the model wait for an event."""
    gate, model = threading.Event(), replica.responder.engine.model
    step = model.step
    model.step = lambda *args: step(*args) if gate.wait(30) else None  # type: ignore[method-assign,assignment,return-value]
    return gate


def unlearn(folder: Path) -> None:
    """Weights that are no numbers, and a manifest that vouches for them."""
    weights = folder / checkpoints.WEIGHTS
    manifest, before = folder / checkpoints.MANIFEST, sha256_of(weights)
    broken = {
        name: torch.full_like(tensor, float("nan")) for name, tensor in safetensors.torch.load_file(weights).items()
    }
    safetensors.torch.save_file(broken, weights)
    manifest.write_text(manifest.read_text().replace(before, sha256_of(weights)))


def fall_silent(folder: Path) -> None:
    """A recipe with which it may end at once, and weights that always do."""
    recipe, weights = folder / checkpoints.RECIPE, folder / checkpoints.WEIGHTS
    manifest = folder / checkpoints.MANIFEST
    hashes = {file: sha256_of(file) for file in (recipe, weights)}
    recipe.write_text(recipe.read_text().replace("min_reply_tokens: 1", "min_reply_tokens: 0"))
    loaded = safetensors.torch.load_file(weights)
    loaded["output.bias"][END_ID] = 1e4
    safetensors.torch.save_file(loaded, weights)
    for file, before in hashes.items():
        manifest.write_text(manifest.read_text().replace(before, sha256_of(file)))


def test_a_new_champion_takes_over_between_two_replies_and_the_way_back_is_at_once(
    publish: Publish, point: Point, start: Start
) -> None:
    publish("champion")
    service = start()
    client = client_of(service)
    assert ask(client)[0] == V1
    publish("champion")
    look(service)
    assert ask(client)[0] == V2
    assert held(service) == {1: "previous", 2: "champion"}
    point("champion", 1)
    loaded = service.versions.num_loaded
    look(service)
    assert ask(client)[0] == V1
    assert service.versions.num_loaded == loaded == 1
    assert held(service) == {1: "champion", 2: "previous"}
    publish("champion")
    look(service)
    assert held(service) == {1: "previous", 3: "champion"}  # something newer has replaced version 2
    assert ask(client)[0] == V3


def test_a_reply_ends_on_the_version_that_it_began_with_and_nobody_is_let_go_before(
    publish: Publish, start: Start
) -> None:
    publish("champion")
    service = start("serving.max_loaded=1")
    client, replica = client_of(service), service.replica
    alone = ask(client)
    gate = held_back(replica)
    said: list[tuple[str, str]] = []
    speaking = threading.Thread(target=lambda: said.append(ask(client)))
    speaking.start()
    while not replica.responder.engine.statistics().num_running:
        time.sleep(0.001)
    publish("champion")
    look(service)
    assert held(service) == {2: "champion"}
    assert speaking.is_alive()
    assert ask(client)[0] == V2
    gate.set()
    speaking.join()
    assert said == [alone]
    while replica.responder.engine._thread.is_alive():  # it ends with its last reply
        time.sleep(0.001)


def test_requests_all_the_while_are_all_answered_by_one_version_or_the_other(
    publish: Publish, point: Point, start: Start
) -> None:
    publish("champion")
    service = start()
    client, ended, answers = client_of(service), threading.Event(), set[tuple[str, str]]()
    expected = {ask(client)}

    def keep_asking() -> None:
        while not ended.is_set():
            answers.add(ask(client))

    people = [threading.Thread(target=keep_asking) for _ in range(3)]
    for person in people:
        person.start()
    publish("champion")
    look(service)
    for number in (1, 2):
        point("champion", number)
        look(service)
    ended.set()
    for person in people:
        person.join()
    assert answers <= expected | {ask(client)}
    assert {version for version, _ in answers} >= {V1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (damage, "version 2 cannot be used: .*damaged"),
        (unlearn, "no numbers|does not answer"),
        (fall_silent, "no words for any"),
    ],
)
def test_a_version_that_fails_never_takes_over_and_is_said_once(
    change: Callable[[Path], None], why: str, publish: Publish, point: Point, start: Start,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    publish("champion")
    service = start()
    client = client_of(service)
    publish("champion", change=change)
    with caplog.at_level(logging.ERROR, "rejoinder.versions"):
        for _ in range(3):
            look(service)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "rejoinder.versions"]
    assert re.search(why, line)
    assert ask(client)[0] == V1
    assert held(service) == {1: "champion"}
    assert 'rejoinder_version_changes{replica="' in (text := client.get("/metrics").text)
    assert f'what="failed"}} {1.0}' in text
    # The alias goes elsewhere and comes back: tried at once. Else after a wait.
    point("champion", 1)
    look(service)
    point("champion", 2)
    look(service)
    assert service.versions.num_failures == 2
    monkeypatch.setattr(versions_module, "FIRST_WAIT_S", 0.0)
    point("champion", 1)
    look(service)
    point("champion", 2)
    look(service)
    look(service)
    assert service.versions.num_failures == 4


def test_a_registry_that_is_away_changes_nothing(
    publish: Publish, start: Start, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    publish("champion")
    service = start()
    client = client_of(service)
    publish("champion")
    store = sqlite3.connect(Registry(recipe).uri.removeprefix("sqlite:///"))
    store.execute("ALTER TABLE registered_models RENAME TO away")
    store.commit()
    look(service)
    look(service)
    assert ask(client)[0] == V1
    assert [record.name for record in caplog.records if record.name == "rejoinder.versions"] == ["rejoinder.versions"]
    text = client.get("/metrics").text
    (away,) = [line for line in text.splitlines() if line.startswith("rejoinder_registry_away")]
    assert away.endswith(" 1.0")
    store.execute("ALTER TABLE away RENAME TO registered_models")
    store.commit()
    store.close()
    look(service)
    assert ask(client)[0] == V2


def test_a_replica_that_starts_with_a_champion_that_fails_goes_back_to_the_one_before(
    publish: Publish, start: Start, recipe: Recipe, point: Point
) -> None:
    registry = Registry(recipe)
    registry.promote(publish())
    registry.promote(publish(change=damage))
    service = start()
    assert service.replica.version.number == 1


def test_a_version_that_is_let_go_before_it_takes_over_is_brought_again(
    publish: Publish, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("champion")
    service = start()
    publish("champion")
    versions, bring = service.versions, service.versions.bring

    def bring_and_trim(number: int) -> ChatReplica:
        replica = bring(number)
        versions.trim()  # as somebody does at that moment who asked for another one
        return replica

    monkeypatch.setattr(versions, "bring", bring_and_trim)
    look(service)
    client = client_of(service)
    assert (ask(client)[0], held(service)) == (V1, {1: "champion"})
    monkeypatch.undo()
    look(service)
    assert (ask(client)[0], held(service)) == (V2, {1: "previous", 2: "champion"})


def test_an_event_loop_does_not_stand_still_while_a_version_is_loaded(publish: Publish, start: Start) -> None:
    """Loading is done by the thread that looks; what the loop needs is never held meanwhile."""
    publish("champion")
    service = start()
    publish("champion")
    load, waiting, begun = service.versions._load, threading.Event(), threading.Event()
    assert load is not None

    def slow_load(number: int) -> object:
        begun.set()
        assert waiting.wait(30)
        return load(number)

    service.versions._load = slow_load  # type: ignore[assignment]
    looking = threading.Thread(target=lambda: look(service))
    with ExitStack() as stack:
        stack.callback(waiting.set)
        looking.start()
        assert begun.wait(30)
        client = client_of(service)
        assert ask(client)[0] == V1
        assert client.get("/metrics").status_code == client.get("/v1/models").status_code == 200
        assert client.get("/readyz").json()["version"] == 1
    looking.join()
    assert ask(client)[0] == V2
