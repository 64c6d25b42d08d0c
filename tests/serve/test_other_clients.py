"""Clients that others wrote, as they are: LangChain's ChatOpenAI, and OpenAI's for JavaScript on a real Node.js."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.api import create_api
from serve.service import Service
from tests.serve.helpers import make_key, serve_on_free_port

CLIENTS = Path(__file__).parent / "clients"
# What npm says when nobody answers; whatever else fails is a failure.
_NOBODY = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT")


@pytest.fixture
def guarded(make_service: Callable[..., Service]) -> Iterator[tuple[str, str]]:
    """An address where keys are needed, and a key."""
    service = make_service("serving.require_keys=true")
    for url in serve_on_free_port(create_api(service)):
        yield url, make_key(service)


@pytest.fixture
def langchain(guarded: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """LangChain's chat model as an application makes it."""
    monkeypatch.setenv("LANGCHAIN_TRACING_V2", "false")
    module = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    url, key = guarded
    return module.ChatOpenAI(
        base_url=f"{url}/v1",
        api_key=key,
        model="chat",
        seed=3,
        temperature=0.9,
        max_tokens=8,
        max_retries=0,
        stream_usage=True,
    )


@pytest.mark.slow
def test_langchain_invokes_streams_and_goes_on_with_a_history(langchain: Any) -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    whole = langchain.invoke("Hello!")
    assert whole.content
    assert whole.usage_metadata["total_tokens"] == sum(
        whole.usage_metadata[kind] for kind in ("input_tokens", "output_tokens")
    )
    assert whole.response_metadata["finish_reason"] in ("stop", "length")
    chunks = list(langchain.stream("Hello!"))
    assert "".join(chunk.content for chunk in chunks) == whole.content
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 0
    history = [SystemMessage("Be kind."), HumanMessage("Hello!"), whole, HumanMessage("And you?")]
    assert isinstance(langchain.invoke(history), AIMessage)
    assert [reply.content for reply in langchain.batch(["Hello!", "Hello!"])] == [whole.content] * 2
    asked = langchain.bind(logprobs=True, top_logprobs=1, stop=["zzz"]).invoke("Hello!")
    assert asked.response_metadata["logprobs"]["content"][0]["logprob"] <= 0


@pytest.mark.slow
def test_langchain_is_told_what_is_wrong_and_takes_our_own_fields(langchain: Any) -> None:
    import openai

    ours = langchain.bind(extra_body={"min_p": 0.1, "session_id": "new"}).invoke("Hello!")
    assert ours.content
    with pytest.raises(openai.BadRequestError, match="tools: is not supported here"):
        langchain.bind(tools=[{"type": "function", "function": {"name": "x", "parameters": {}}}]).invoke("Hello!")
    with pytest.raises(openai.NotFoundError, match="no model is called"):
        langchain.model_copy(update={"model_name": "gpt-9"}).invoke("Hello!")


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Node.js, and a directory with OpenAI's client, fetched as its lock file says."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node.js or npm is not on this machine: OpenAI's client for JavaScript is not tried")
    place = tmp_path_factory.mktemp("javascript")
    for file in CLIENTS.iterdir():
        if file.is_file():
            shutil.copy(file, place)
    fetched = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"],
        cwd=place, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    if fetched.returncode and (said := _NOBODY.search(fetched.stderr)):
        pytest.skip(f"npm reaches no package registry from here ({said[0]}): the client for JavaScript is not tried")
    assert fetched.returncode == 0, fetched.stderr
    return node, place


@pytest.mark.slow
def test_openais_client_for_javascript(javascript: tuple[str, Path], guarded: tuple[str, str]) -> None:
    node, place = javascript
    done = subprocess.run(
        [node, "talk.mjs", *guarded], cwd=place, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["whole"]
    assert got["text"] == got["final"] == got["prompt"] == got["whole"]
    assert got["usage"] == got["asked"]
    assert got["next"]
    assert (got["several"], got["logprobs"]) == (2, 1)
    assert got["session"].startswith("session-")
    assert got["offsets"][0] == 0
    assert got["models"][:2] == ["chat", "chat@3"]
    told = {name: (error["kind"], error["status"], error["code"]) for name, error in got["refused"].items()}
    assert told == {
        "model": ("NotFoundError", 404, "model_not_found"),
        "field": ("BadRequestError", 400, None),
        "key": ("AuthenticationError", 401, "invalid_api_key"),
    }
    assert "tools: is not supported here" in got["refused"]["field"]["message"]
