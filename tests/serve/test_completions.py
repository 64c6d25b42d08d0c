"""`POST /v1/completions`: prompts instead of conversations, as older applications ask."""

from __future__ import annotations

from starlette.testclient import TestClient

from tests.serve.helpers import choices_of, events_of


def test_completions_reply_to_each_prompt(client: TestClient) -> None:
    asked = {"model": "chat", "seed": 3, "max_tokens": 5}
    body = client.post("/v1/completions", json=asked | {"prompt": ["Hello!", "Bye!"]}).json()
    assert body["object"] == "text_completion"
    alone = client.post("/v1/completions", json=asked | {"prompt": "Bye!"}).json()
    assert body["choices"][1] == alone["choices"][0] | {"index": 1}
    assert body["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]
    streamed = client.post("/v1/completions", json=asked | {"prompt": "Bye!", "stream": True})
    events = events_of(streamed.text)
    assert "".join(event["choices"][0]["text"] for event in events) == alone["choices"][0]["text"]


def test_completions_tell_log_probabilities_and_where_each_token_begins(client: TestClient) -> None:
    asked = {"model": "chat", "prompt": "Hello!", "seed": 3, "max_tokens": 6, "temperature": 1.0, "logprobs": 2}
    choice = client.post("/v1/completions", json=asked).json()["choices"][0]
    told = choice["logprobs"]
    assert len({len(told[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}) == 1
    assert all(value <= 0 for value in told["token_logprobs"])
    assert all(1 <= len(most) <= 2 for most in told["top_logprobs"])
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        if "\ufffd" not in token and token != "<end>":  # a part of a character is shown apart
            assert (
                choice["text"][offset:].startswith(token.lstrip() if offset == 0 else token)
                or "\ufffd" in choice["text"]
            )
    events = events_of(client.post("/v1/completions", json=asked | {"stream": True}).text)
    streamed = [event["choices"][0]["logprobs"] for event in events]
    for name, values in told.items():
        assert [value for part in streamed for value in part[name]] == values


def test_completions_give_several_replies_to_each_prompt(client: TestClient) -> None:
    asked = {"model": "chat", "prompt": ["Hello!", "Bye!"], "n": 2, "temperature": 1.5, "max_tokens": 6}
    body = client.post("/v1/completions", json=asked).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    texts = [choice["text"] for choice in body["choices"]]
    assert texts[0] != texts[1]
    assert texts[2] != texts[3]


def test_completions_stream_several_replies_with_their_own_offsets(client: TestClient) -> None:
    asked = {"model": "chat", "prompt": "Hello!", "seed": 3, "n": 2, "temperature": 1.5, "max_tokens": 6, "logprobs": 0}
    whole = client.post("/v1/completions", json=asked).json()
    choices = choices_of(client.post("/v1/completions", json=asked | {"stream": True}).text)
    for parts in choices.values():
        text = "".join(part["text"] for part in parts)
        (same,) = [choice for choice in whole["choices"] if choice["text"] == text]
        offsets = [offset for part in parts for offset in part["logprobs"]["text_offset"]]
        assert offsets == same["logprobs"]["text_offset"]


def test_completions_stop_and_tell_their_usage_at_the_end_of_a_stream(client: TestClient) -> None:
    asked = {"model": "chat", "prompt": "Hello!", "seed": 7, "max_tokens": 20}
    whole = client.post("/v1/completions", json=asked).json()
    text = whole["choices"][0]["text"]
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    stopped = client.post("/v1/completions", json=asked | {"stop": [stop]}).json()["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == (text[: text.index(stop)], "stop")
    *_, last = events_of(
        client.post("/v1/completions", json=asked | {"stream": True, "stream_options": {"include_usage": True}}).text
    )
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


def test_completions_that_cannot_be_are_refused(client: TestClient) -> None:
    for changes, says in (
        ({"prompt": ["Hello!", " "]}, "every turn is empty"),
        ({"prompt": ["a", "b"], "stream": True}, "a stream replies to one prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix: is not supported here"),
        ({"prompt": "a", "best_of": 2}, "best_of: is not supported here"),
        ({"prompt": "a", "echo": True}, "echo: is not supported here"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "stream_options": {}}, "stream_options is for streams"),
    ):
        answer = client.post("/v1/completions", json={"model": "chat"} | changes)
        assert (answer.status_code, says in answer.json()["error"]["message"]) == (400, True), answer.text
