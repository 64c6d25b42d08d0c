"""The unmodified `openai` client talks to the endpoint, over a real port."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest


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
    assert [model.id for model in client.models.list()] == ["chat", "chat@3"]


def test_it_understands_our_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model is called 'other'"):
        client.chat.completions.create(model="other", messages=[{"role": "user", "content": "Hi!"}])
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Hi!"}], temperature=9)
