"""Everything is killed in the midst and started anew: what was acknowledged is there, and nothing half."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rejoinder.recipe import Recipe

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]
CHAT = "/v1/chat/completions"
NUM_PEOPLE, NUM_TURNS = 4, 24
PATIENCE_S = 120.0
_SERVER = """
import sys, uvicorn
from pathlib import Path
from rejoinder.recipe import Recipe
from serve.api import create_api
from serve.service import start_service
api = create_api(start_service(Recipe.model_validate_json(Path(sys.argv[1]).read_text())))
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        Path(sys.argv[2]).write_text(str(self.servers[0].sockets[0].getsockname()[1]))
Server(uvicorn.Config(api, port=0, log_level="error")).run()
"""


@contextmanager
def endpoint(recipe: Recipe, place: Path) -> Iterator[str]:
    """A process of its own; it is killed at the end, without a word before."""
    place.mkdir()
    (place / "recipe.json").write_text(recipe.model_dump_json())
    roots = os.pathsep.join(map(str, (CHECKOUT / "platform", CHECKOUT)))
    running = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(place / "recipe.json"), str(place / "port")],
        env=os.environ | {"PYTHONPATH": roots},
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (place / "port").exists() or not (port := (place / "port").read_text()):
            assert running.poll() is None, "the endpoint did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.kill()
        running.wait()


class Person:
    """Talks in one session, and remembers what was acknowledged: each second reply is streamed."""

    def __init__(self, url: str) -> None:
        self.said: list[str] = []
        self.replies: list[str] = []
        self.session = httpx.post(f"{url}/v1/sessions", timeout=PATIENCE_S).json()["id"]

    def talk(self, url: str, num_turns: int) -> None:
        """Until so many more turns are kept, or the endpoint is gone."""
        for number in range(num_turns):
            text = f"turn {len(self.said)}"
            body = {
                "model": "chat", "messages": [{"role": "user", "content": text}], "session_id": self.session,
                "max_tokens": 4, "stream": number % 2 == 1,
            }  # fmt: skip
            try:
                answer = httpx.post(url + CHAT, json=body, timeout=PATIENCE_S)
                assert answer.status_code == 200, answer.text
                if body["stream"] and "[DONE]" not in answer.text:
                    return
                id = answer.text.partition('"id":"')[2].partition('"')[0]
            except httpx.HTTPError:
                return
            self.said.append(text)
            self.replies.append(id)

    def must_find_everything(self, url: str) -> None:
        """What was acknowledged, in order; after it at most what was kept while its answer was on the way."""
        turns = httpx.get(f"{url}/v1/sessions/{self.session}?limit=1000", timeout=PATIENCE_S).json()["turns"]
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert [turn["content"] for turn in turns[::2]][: len(self.said)] == self.said
        assert [turn["reply_id"] for turn in turns[1::2]][: len(self.replies)] == self.replies
        assert len(turns) <= 2 * len(self.said) + 2


@pytest.mark.timeout(400)
def test_killing_everything_loses_no_acknowledged_turn_and_no_opinion(
    recipe: Recipe, publish: Callable[..., int], tmp_path: Path
) -> None:
    publish("champion")
    with endpoint(recipe, tmp_path / "first") as url:
        people = [Person(url) for _ in range(NUM_PEOPLE)]
        threads = [threading.Thread(target=person.talk, args=(url, 10_000)) for person in people]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while sum(len(person.said) for person in people) < NUM_TURNS:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        opinion = {"reply_id": people[0].replies[0], "thumb": "up"}
        assert httpx.post(f"{url}/v1/feedback", json=opinion, timeout=PATIENCE_S).status_code == 200
    for thread in threads:
        thread.join()
    with endpoint(recipe, tmp_path / "second") as url:
        for person in people:
            person.must_find_everything(url)
        another = Person(url)  # a reply that was being written holds its session for as long as its lease
        another.talk(url, 2)
        assert len(another.said) == 2
        assert httpx.post(f"{url}/v1/feedback", json=opinion, timeout=PATIENCE_S).status_code == 200
