"""The unmodified `openai` client talks to the endpoint, over a real port."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from serve.api import create_api
from serve.service import Service
from tests.serve.helpers import make_key, serve_on_free_port


@pytest.fixture
def client(served: str) -> Iterator[openai.OpenAI]:
    """The client as an application would make it."""
    with openai.OpenAI(base_url=f"{served}/v1", api_key="not needed yet", max_retries=0) as client:
        yield client


def test_it_gets_a_reply(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Hi!"}], max_tokens=6)
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 6


def test_it_gets_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Hi!"}], stream=True, seed=3
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_it_lists_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()][:2] == ["chat", "chat@3"]


def test_it_understands_our_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model is called 'other'"):
        client.chat.completions.create(model="other", messages=[{"role": "user", "content": "Hi!"}])
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Hi!"}], temperature=9)


def test_it_keeps_a_session_by_our_extra_field(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Hi!"}], extra_body={"session_id": "new"}
    )
    session = first.model_extra and first.model_extra["session_id"]
    again = client.chat.completions.with_raw_response.create(
        model="chat", messages=[{"role": "user", "content": "And you?"}], extra_body={"session_id": session}
    )
    assert again.headers["x-session-id"] == session


def test_it_gets_usage_of_a_stream_several_replies_stops_and_log_probabilities(client: openai.OpenAI) -> None:
    talk: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi!"}]
    *_, last = client.chat.completions.create(
        model="chat", messages=talk, stream=True, stream_options={"include_usage": True}
    )
    assert last.usage is not None
    assert last.usage.total_tokens > 0
    several = client.chat.completions.create(
        model="chat", messages=talk, n=2, temperature=1.5, logprobs=True, top_logprobs=1, stop=["zzz"], max_tokens=5
    )
    assert len(several.choices) == 2
    told = several.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert len(told.content[0].top_logprobs) == 1
    streamed = client.chat.completions.create(model="chat", messages=talk, n=2, temperature=1.5, stream=True)
    assert {choice.index for chunk in streamed for choice in chunk.choices} == {0, 1}


def test_it_gets_completions(client: openai.OpenAI) -> None:
    assert client.completions.create(model="chat", prompt="Hi!", max_tokens=5).choices[0].text
    streamed = client.completions.create(model="chat", prompt="Hi!", max_tokens=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed)


def test_it_knows_one_of_our_models_and_the_requests_name(client: openai.OpenAI) -> None:
    assert client.models.retrieve("chat@3").id == "chat@3"
    reply = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Hi!"}])
    assert reply._request_id


def test_it_is_told_when_its_key_is_wrong(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.require_keys=true")
    for url in serve_on_free_port(create_api(service)):
        talk: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi!"}]
        stranger = openai.OpenAI(base_url=f"{url}/v1", api_key="rj-wrong-key", max_retries=0)
        with stranger, pytest.raises(openai.AuthenticationError, match="no such API key"):
            stranger.chat.completions.create(model="chat", messages=talk)
        with openai.OpenAI(base_url=f"{url}/v1", api_key=make_key(service), max_retries=0) as known:
            assert known.chat.completions.create(model="chat", messages=talk).choices
