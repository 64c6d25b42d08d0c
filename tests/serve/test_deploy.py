"""The endpoint on a real Ray Serve: the `openai` client over HTTP, updates without a gap, clients that go away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest
import ray
from ray import serve as ray_serve
from websockets.sync.client import connect

from rejoinder.errors import ClusterError
from rejoinder.evaluation import Evaluation
from rejoinder.promotion import rollback_stage
from rejoinder.recipe import Recipe, override, validate
from rejoinder.registry import Registry, tracked_run
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder
from rejoinder.training import TrainedRun
from serve import Deployed, coming_up, deploy
from tests.real import free_port

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """The small recipe, on a port of its own, looking at the registry twice a second."""
    # One replica: while it is replaced two stand side by side, and other tests may leave the cluster no more room.
    words = [f"serving.port={free_port()}", "serving.follow_every_s=0.5", "serving.max_replicas=1"]
    return validate(override(recipe.model_dump(mode="json"), words))


@pytest.fixture
def register(recipe: Recipe, make_checkpoint: Callable[..., Path], prepared_set: Path) -> Callable[[int], int]:
    """Registers and promotes an untrained model; the version's number."""

    def make(seed: int) -> int:
        checkpoint = make_checkpoint(seed, recipe)
        run = TrainedRun(f"run-{seed}", checkpoint.parent, checkpoint, {}, reused=False)
        prepared = Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True)
        with tracked_run(recipe, prepared, run.name) as tracker:
            version = Registry(recipe).register(run, tracker.run_id, Evaluation("test", 1, {"test_loss": 1.0}, []))
        return Registry(recipe).promote(version.number).number

    return make


@pytest.fixture
def deployed(recipe: Recipe, register: Callable[[int], int]) -> Iterator[Deployed]:
    """A running endpoint; Serve is shut down at the end."""
    register(1)
    yield deploy(recipe)
    ray_serve.shutdown()


def client_of(deployed: Deployed) -> openai.OpenAI:
    """The client as an application would make it."""
    return openai.OpenAI(base_url=f"{deployed.url}/v1", api_key="not needed yet", max_retries=0)


@pytest.mark.timeout(900)
def test_an_endpoint_lives_through_what_happens_to_it(
    recipe: Recipe, register: Callable[[int], int], deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One deployment for all of it: starting Serve takes longer than everything else here.
    assert_the_openai_client_gets_replies_and_streams(client_of(deployed))
    assert_many_at_once_get_the_replies_they_would_get_alone(deployed)
    assert_a_client_that_goes_away_frees_its_slot(deployed)
    assert_a_websocket_talks_and_blocks_nobody(deployed)
    session = assert_a_session_is_kept(deployed)
    assert_an_update_to_a_new_champion_drops_no_request(recipe, register, deployed)
    assert_the_new_replica_goes_on_with_the_session(deployed, session)
    assert_metrics_name_both_versions(deployed)
    assert_an_update_without_room_says_so_and_the_old_one_goes_on(recipe, deployed, monkeypatch)
    assert_a_promotion_and_a_rollback_reach_the_running_server_and_cut_no_stream(recipe, register, deployed)


def assert_the_openai_client_gets_replies_and_streams(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Hi!"}], seed=5)
    stream = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Hi!"}], seed=5, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content
    with pytest.raises(openai.NotFoundError, match="no model is called 'other'"):
        client.chat.completions.create(model="other", messages=[{"role": "user", "content": "Hi!"}])


def ask(deployed: Deployed, seed: int) -> httpx.Response:
    """One seeded request."""
    body = {"model": "chat", "messages": [{"role": "user", "content": f"Hello {seed}"}], "seed": seed}
    return httpx.post(f"{deployed.url}/v1/chat/completions", json=body, timeout=30)


def reply_of(answer: httpx.Response) -> str:
    """The text of a reply."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def assert_many_at_once_get_the_replies_they_would_get_alone(deployed: Deployed) -> None:
    alone = {seed: reply_of(ask(deployed, seed)) for seed in range(8)}
    together: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: together.update({seed: reply_of(ask(deployed, seed))}))
        for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def assert_a_client_that_goes_away_frees_its_slot(deployed: Deployed) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hi!"}], "stream": True, "temperature": 0}
    for _ in range(40):  # more than there are slots
        with httpx.stream("POST", f"{deployed.url}/v1/chat/completions", json=body, timeout=30) as answer:
            next(answer.iter_lines())
    assert reply_of(ask(deployed, 1))


def assert_a_websocket_talks_and_blocks_nobody(deployed: Deployed) -> None:
    with connect(deployed.url.replace("http://", "ws://") + "/v1/chat") as socket:
        for _ in range(2):
            socket.send(json.dumps({"model": "chat", "messages": [{"role": "user", "content": "Hi!"}]}))
            chunks = [json.loads(socket.recv(timeout=30))]
            while not chunks[-1]["choices"][0].get("finish_reason"):
                chunks.append(json.loads(socket.recv(timeout=30)))
            assert reply_of(ask(deployed, 1))


def say(deployed: Deployed, session: str, text: str) -> httpx.Response:
    """One turn of a session."""
    body = {"model": "chat", "messages": [{"role": "user", "content": text}], "session_id": session}
    return httpx.post(f"{deployed.url}/v1/chat/completions", json=body, timeout=30)


def assert_a_session_is_kept(deployed: Deployed) -> str:
    answer = say(deployed, "new", "Hello!")
    assert answer.status_code == 200, answer.text
    opinion = {"reply_id": answer.json()["id"], "thumb": "up"}
    assert httpx.post(f"{deployed.url}/v1/feedback", json=opinion, timeout=30).status_code == 200
    return str(answer.json()["session_id"])


def assert_the_new_replica_goes_on_with_the_session(deployed: Deployed, session: str) -> None:
    answer = say(deployed, session, "And you?")
    assert answer.headers["x-model-version"] == "models:/chat/2"
    turns = httpx.get(f"{deployed.url}/v1/sessions/{session}", timeout=30).json()["turns"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2


def assert_metrics_name_both_versions(deployed: Deployed) -> None:
    text = httpx.get(f"{deployed.url}/metrics", timeout=30).text
    for version in ("models:/chat/1", "models:/chat/2"):
        assert f'status="200",version="{version}"' in text


def assert_an_update_to_a_new_champion_drops_no_request(
    recipe: Recipe, register: Callable[[int], int], deployed: Deployed
) -> None:
    answers: list[httpx.Response] = []
    ended = threading.Event()

    def keep_asking() -> None:
        while not ended.is_set():
            answers.append(ask(deployed, 3))
            time.sleep(0.05)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    number = register(2)
    updated = deploy(recipe)
    time.sleep(2)
    ended.set()
    asking.join()
    assert updated.version.number == number == 2
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].headers["x-model-version"] == "models:/chat/1"
    assert answers[-1].headers["x-model-version"] == "models:/chat/2"


def assert_an_update_without_room_says_so_and_the_old_one_goes_on(
    recipe: Recipe, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = validate(override(recipe.model_dump(mode="json"), ["serving.fallback_reply=Pardon?"]))
    others = ray.util.placement_group([{"CPU": ray.available_resources()["CPU"]}])
    ray.get(others.ready(), timeout=60)
    with monkeypatch.context() as impatient:
        impatient.setattr(coming_up, "ROOM_WITHIN_S", 2.0)
        with pytest.raises(ClusterError, match=r"no node has room.* needs 1 CPU .*free are 0 CPUs of 4.* go on"):
            deploy(changed)
    assert reply_of(ask(deployed, 1))
    ray.util.remove_placement_group(others)
    deploy(changed)  # which was waiting, and finds room now
    assert reply_of(ask(deployed, 1))


def assert_a_promotion_and_a_rollback_reach_the_running_server_and_cut_no_stream(
    recipe: Recipe, register: Callable[[int], int], deployed: Deployed
) -> None:
    streams: list[tuple[str, str]] = []
    ended = threading.Event()

    def keep_streaming() -> None:
        body = {"model": "chat", "messages": [{"role": "user", "content": "Hi!"}], "stream": True, "seed": 4}
        while not ended.is_set():
            with httpx.stream("POST", f"{deployed.url}/v1/chat/completions", json=body, timeout=60) as answer:
                assert answer.status_code == 200, answer.read()
                streams.append((answer.headers["x-model-version"], "".join(answer.iter_text())))

    def wait_for(version: str) -> float:
        begun = time.monotonic()
        while ask(deployed, 3).headers["x-model-version"] != version:
            assert time.monotonic() < begun + 60, f"{version} does not answer"
            time.sleep(0.02)
        return time.monotonic() - begun

    def num_loaded() -> str:
        text = httpx.get(f"{deployed.url}/metrics", timeout=30).text
        return max(line.rpartition(" ")[2] for line in text.splitlines() if 'what="loaded"' in line)

    people = [threading.Thread(target=keep_streaming) for _ in range(3)]
    for person in people:
        person.start()
    assert register(3) == 3  # nobody deploys
    wait_for("models:/chat/3")
    loaded = num_loaded()
    assert rollback_stage(recipe, reason="a test").number == 2
    wait_for("models:/chat/2")
    assert num_loaded() == loaded  # it was at hand
    ended.set()
    for person in people:
        person.join()
    assert {version for version, _ in streams} == {"models:/chat/2", "models:/chat/3"}
    for _, text in streams:
        assert text.endswith("data: [DONE]\n\n")
        assert '"error"' not in text
    said = {(version, said_in(text)) for version, text in streams}
    assert len(said) == 2  # the same seed: each version says one thing, whatever took over meanwhile


def said_in(stream: str) -> str:
    """The text of a stream's chunks."""
    chunks = [json.loads(line.removeprefix("data: ")) for line in stream.split("\n\n") if line and "[DONE]" not in line]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
