"""`serve deploy` with our config file, as an operator types it: a cluster of its own, its dashboard, its proxies."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from rejoinder.recipe import Recipe
from serve import config_file
from tests.jobs.conftest import BIN, Cluster
from tests.jobs.helpers import CHECKOUT, environment_of
from tests.real import free_port
from tests.serve.helpers import HELLO, events_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OURS = Path(config_file.__file__).with_name("config.yaml")
PATIENCE_S = 240.0
CHAT = "/v1/chat/completions"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """As docs/serving.md starts it, in the checkout and with its code in the path; it wants a token."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    made = Cluster(environment_of(tmp_path / "user") | token | {"PYTHONPATH": "platform:."})
    made.environment["RAY_DASHBOARD_ADDRESS"] = made.url
    made.start_head(CHECKOUT, 2)
    yield made
    made.stop()


def operate(cluster: Cluster, *command: str) -> str:
    """What a command in the checkout says; it must succeed."""
    done = subprocess.run(
        command, cwd=CHECKOUT, env=cluster.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def until(ask: Callable[[], httpx.Response], status: int, code: str | None = None) -> httpx.Response:
    """The first such answer; before, nobody may listen yet."""
    deadline, last = time.monotonic() + PATIENCE_S, "nothing"
    while time.monotonic() < deadline:
        try:
            answer = ask()
            if answer.status_code == status and (code is None or answer.json()["error"]["code"] == code):
                return answer
            last = answer.text
        except httpx.TransportError as error:
            last = repr(error)
        time.sleep(0.2)
    raise AssertionError(f"waited in vain for {status}; the last answer was {last}")


def test_our_config_file_brings_up_an_endpoint_that_answers_as_soon_as_there_is_a_champion(
    make_recipe: Callable[..., Recipe], publish: Callable[..., int], cluster: Cluster, tmp_path: Path
) -> None:
    recipe_file, config = tmp_path / "recipe.yaml", tmp_path / "config.yaml"
    recipe_file.write_text(make_recipe().to_yaml())
    tree = yaml.safe_load(OURS.read_text())
    tree["http_options"]["port"] = port = free_port()
    words = ["serving.follow_every_s=0.5", "serving.max_replicas=1", f"serving.port={port}"]
    tree["applications"][0]["args"] = {"recipe": str(recipe_file), "words": words, "edition": "1"}
    config.write_text(yaml.safe_dump(tree))
    operate(cluster, sys.executable, "-m", "serve.config_file", str(config))
    said = operate(cluster, str(BIN / "serve"), "deploy", str(config))
    assert "Warning" not in said

    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
        until(lambda: client.get("/v1/models"), 503, "no_champion")
        assert client.get("/healthz").status_code == 200
        publish("champion")
        answer = until(lambda: client.post(CHAT, json=HELLO | {"seed": 1}), 200)
        assert answer.headers["x-model-version"] == "models:/chat/1"
        assert len(answer.headers.get_list("x-request-id")) == 1
        said = answer.json()["choices"][0]["message"]["content"]
        chunks = events_of(client.post(CHAT, json=HELLO | {"seed": 1, "stream": True}).text)
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == said
        assert_what_is_wrong_is_said_through_serves_proxy_as_well(client)
        # The recipe changes where it lies, which Serve cannot see.
        recipe_file.write_text(make_recipe("serving.max_reply_tokens=1").to_yaml())
        tree["applications"][0]["args"]["edition"] = "2"
        config.write_text(yaml.safe_dump(tree))
        operate(cluster, str(BIN / "serve"), "deploy", str(config))
        deadline = time.monotonic() + PATIENCE_S
        while client.post(CHAT, json=HELLO | {"min_reply_tokens": 1}).json()["usage"]["completion_tokens"] > 1:
            assert time.monotonic() < deadline, "the recipe of before is still served"
            time.sleep(0.2)


def assert_what_is_wrong_is_said_through_serves_proxy_as_well(client: httpx.Client) -> None:
    large = json.dumps(HELLO | {"user": "x" * 10_000_000}).encode()
    for content, headers, status in (
        (large, {}, 413),
        (b"{", {}, 400),
        (b"\xff", {}, 400),
        (json.dumps(HELLO).encode(), {"x-session-id": b"\xff"}, 400),
        (json.dumps(HELLO).encode(), {"host": "evil.example.org"}, 403),
    ):
        answer = client.post(CHAT, content=content, headers={"content-type": "application/json", **headers})
        assert answer.status_code == status, answer.text
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert client.post(CHAT, json=HELLO, headers={"x-request-id": b"\xff"}).status_code == 200
