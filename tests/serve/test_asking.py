"""What else a request may ask for, and what is refused by its name: stops, several replies, batches, deadlines."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient

from rejoinder.decoding import Decoding
from rejoinder.dialogue import ReplyPart
from rejoinder.engine import Finish
from rejoinder.recipe import DecodingSection
from serve.messages import BatchRequest, ChatRequest, CompletionRequest
from serve.service import Service
from tests.serve.helpers import HELLO, assert_becomes_idle, choices_of, client_of, events_of, slow_down

CHAT = "/v1/chat/completions"


def test_what_stops_a_reply_is_not_in_it(client: TestClient) -> None:
    asked = HELLO | {"seed": 7, "max_tokens": 20}
    whole = client.post(CHAT, json=asked).json()["choices"][0]["message"]["content"]
    middle = whole[len(whole) // 2 : len(whole) // 2 + 2]
    for stop in (middle, ["nowhere in it", middle]):
        stopped = client.post(CHAT, json=asked | {"stop": stop}).json()["choices"][0]
        assert stopped["message"]["content"] == whole[: whole.index(middle)]
        assert stopped["finish_reason"] == "stop"


def test_several_replies_can_be_asked_for(client: TestClient) -> None:
    body = client.post(CHAT, json=HELLO | {"n": 3, "temperature": 1.5, "max_tokens": 6}).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in body["choices"]}) == 3
    assert body["usage"]["completion_tokens"] > 6


def test_several_replies_are_streamed_side_by_side(client: TestClient, service: Service) -> None:
    slow_down(service, seconds_per_step=0.01)
    asked = HELLO | {"n": 3, "temperature": 1.5, "seed": 3, "min_reply_tokens": 9, "max_tokens": 9}
    whole = client.post(CHAT, json=asked).json()
    answer = client.post(CHAT, json=asked | {"stream": True, "stream_options": {"include_usage": True}})
    choices = choices_of(answer.text)
    said = {index: "".join(choice["delta"]["content"] for choice in parts) for index, parts in choices.items()}
    assert sorted(said.values()) == sorted(choice["message"]["content"] for choice in whole["choices"])
    for parts in choices.values():
        assert parts[0]["delta"]["role"] == "assistant"
        assert [part["finish_reason"] for part in parts if "finish_reason" in part] == ["length"]
    events = events_of(answer.text)
    assert events[-1]["usage"] == whole["usage"]
    indexes = [choice["index"] for event in events for choice in event["choices"]]
    assert indexes != sorted(indexes)  # not one after the other
    assert_becomes_idle(service)


def test_the_best_of_beams_are_streamed_when_they_are_known(client: TestClient) -> None:
    asked = HELLO | {"n": 2, "num_beams": 3, "temperature": 0, "max_tokens": 6}
    whole = client.post(CHAT, json=asked).json()
    choices = choices_of(client.post(CHAT, json=asked | {"stream": True}).text)
    said = [
        ("".join(part["delta"]["content"] for part in parts), parts[-1]["finish_reason"]) for parts in choices.values()
    ]
    assert said == [(choice["message"]["content"], choice["finish_reason"]) for choice in whole["choices"]]


def test_a_deadline_ends_all_replies_of_a_stream(client: TestClient, service: Service) -> None:
    slow_down(service, seconds_per_step=0.05)
    answer = client.post(
        CHAT, json=HELLO | {"n": 3, "temperature": 1.5, "stream": True, "min_reply_tokens": 20},
        headers={"x-request-timeout": "0.3"},
    )  # fmt: skip
    assert '"code":"timeout"' in answer.text or answer.status_code == 408
    assert_becomes_idle(service)


def test_log_probabilities_have_openais_shape_in_a_stream_too(client: TestClient) -> None:
    asked = HELLO | {"seed": 3, "max_tokens": 5, "logprobs": True, "top_logprobs": 2}
    told = client.post(CHAT, json=asked).json()["choices"][0]["logprobs"]["content"]
    assert len(told) in (5, 6)
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in told)
    events = events_of(client.post(CHAT, json=asked | {"stream": True}).text)
    streamed = [choice for event in events for choice in event["choices"] if "logprobs" in choice]
    assert [token for choice in streamed for token in choice["logprobs"]["content"]] == told


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n": 2, "store": True}, "n: a session and what is stored have one reply"),
        ({"n": 2, "stream": True, "temperature": 0}, "num_replies = 2 with temperature = 0"),
        ({"n": 2, "temperature": 0}, "num_replies = 2 with temperature = 0"),
        ({"num_beams": 2}, "num_beams = 2 with temperature"),
        ({"num_beams": 2, "temperature": 0, "top_p": 0.95}, "top_p = 0.95 with num_beams = 2: beams look"),
        ({"num_beams": 2, "top_k": 5, "min_p": 0.1}, "min_p = 0.1 with num_beams = 2: beams look"),
        ({"top_logprobs": 2}, "set logprobs"),
        ({"stop": [""]}, "stop"),
        ({"stream_options": {"include_usage": True}}, "stream_options is for streams"),
        ({"logit_bias": {"5": 1}}, "logit_bias: is not supported here; leave it out"),
        ({"tools": [], "response_format": {}}, "response_format: is not supported"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "this model reads text alone"),
        ({"messages": None}, "messages"),
        ({"temperature": "NaN"}, "temperature"),
        ({"temperature": "0.5"}, "temperature"),
        ({"seed": True}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"num_beam_groups": 2}, "num_beam_groups"),
        ({"bad_words": ["x" * 1_000] * 6}, "bad_words: 6000 characters; this service takes up to 5000"),
    ],
)
def test_wishes_that_contradict_each_other_are_named(client: TestClient, changes: dict[str, Any], says: str) -> None:
    answer = client.post(CHAT, json=HELLO | changes)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("request_of", "switches"),
    [
        (ChatRequest, {"early_stopping", "logprobs", "store", "stream"}),
        (CompletionRequest, {"early_stopping", "stream"}),
        (BatchRequest, {"early_stopping"}),
    ],
)
def test_true_is_no_number_and_1_is_not_true(request_of: type[BaseModel], switches: set[str]) -> None:
    """As OpenAI has it; Python would take either for the other."""

    def refused(value: object) -> set[str]:
        with pytest.raises(ValidationError) as found:
            request_of.model_validate(dict.fromkeys(request_of.model_fields, value))
        return {str(problem["loc"][0]) for problem in found.value.errors()}

    assert refused(True) == set(request_of.model_fields) - switches
    assert switches <= refused(1)


def test_beams_need_not_turn_off_what_the_models_recipe_narrows_draws_with(
    make_service: Callable[..., Service],
) -> None:
    client = client_of(make_service("decoding.top_p=0.8", "decoding.top_k=7"))
    for wishes in ({}, {"top_p": 1.0, "top_k": 0}):
        assert client.post(CHAT, json=HELLO | {"num_beams": 2, "temperature": 0} | wishes).status_code == 200


def test_a_model_that_does_not_tell_where_it_looks_is_not_asked_for_coverage(
    make_service: Callable[..., Service],
) -> None:
    client = client_of(make_service("model={name: recurrent, width: 16, attention: none}"))
    answer = client.post(CHAT, json=HELLO | {"num_beams": 2, "temperature": 0, "coverage_penalty": 0.2})
    assert answer.status_code == 400
    assert "coverage_penalty = 0.2: this model does not tell where it looks" in answer.json()["error"]["message"]


def test_content_may_come_in_parts_of_text(client: TestClient) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}]
    asked = HELLO | {"seed": 4}
    in_parts = client.post(CHAT, json=asked | {"messages": [{"role": "user", "content": parts}]}).json()
    assert in_parts["choices"] == client.post(CHAT, json=asked).json()["choices"]


def test_a_stream_tells_the_tokens_it_used_when_asked_to(client: TestClient) -> None:
    asked = HELLO | {"stream": True, "max_tokens": 4, "stream_options": {"include_usage": True}}
    events = events_of(client.post(CHAT, json=asked).text)
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] <= 4
    assert all("usage" not in event for event in events[:-1])


def test_a_request_may_set_its_own_deadline(make_service: Callable[..., Service]) -> None:
    service = make_service("serving.num_slots=1")
    slow_down(service, seconds_per_step=0.1)
    client = client_of(service)
    answer = client.post(CHAT, json=HELLO | {"temperature": 0}, headers={"x-request-timeout": "0.15"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "timeout")
    assert_becomes_idle(service)
    for wrong in ("0", "-1", "nan", "inf", "soon"):
        answer = client.post(CHAT, json=HELLO, headers={"x-request-timeout": wrong})
        assert answer.status_code == 400
        assert "x-request-timeout" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("header", "kind"), [({}, "server_error"), ({"x-request-timeout": "30"}, "timeout_error")])
def test_a_stream_that_takes_too_long_ends_with_an_error(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch, header: dict[str, str], kind: str
) -> None:
    submit = service.replica.responder.submit

    def too_slow(context: list[int], decoding: Decoding, on_part: Callable[[ReplyPart], object], *rest: Any) -> Any:
        def only_the_first(part: ReplyPart) -> None:
            on_part(part)
            on_part(ReplyPart("", part.num_tokens, Finish.TIMED_OUT))

        return submit(context, decoding, only_the_first, *rest)

    monkeypatch.setattr(service.replica.responder, "submit", too_slow)
    answer = client.post(CHAT, json=HELLO | {"stream": True, "min_reply_tokens": 20}, headers=header)
    assert answer.status_code == 200
    *begun, last = [json.loads(event.removeprefix("data: ")) for event in answer.text.split("\n\n") if event]
    assert begun
    assert (last["error"]["type"], last["error"]["code"]) == (kind, "timeout")
    assert_becomes_idle(service)


def test_every_setting_of_a_recipes_decoding_can_be_asked_for() -> None:
    under_openais_names = {"num_replies": "n", "num_logprobs": "logprobs"}
    settings = {under_openais_names.get(name, name) for name in DecodingSection.model_fields}
    for request in (ChatRequest, CompletionRequest):
        assert settings <= set(request.model_fields)


def test_a_batch_replies_to_each_conversation_and_says_which_it_cannot(make_service: Callable[..., Service]) -> None:
    client = client_of(make_service("serving.num_slots=2", "serving.max_queued_requests=1"))
    said = [[{"role": "user", "content": f"Hello {n}!"}] for n in range(6)] + [[{"role": "user", "content": " "}]]
    asked = {"model": "chat", "seed": 3, "max_tokens": 5}
    body = client.post("/v1/chat/batch", json=asked | {"conversations": said}).json()
    assert [item["index"] for item in body["data"]] == list(range(7))
    assert "every turn is empty" in body["data"][6]["error"]["message"]
    alone = client.post(CHAT, json=asked | {"messages": said[3]}).json()["choices"][0]
    assert body["data"][3]["message"] == alone["message"]
    assert body["data"][3]["finish_reason"] == alone["finish_reason"]


def test_invalid_utf8_and_another_content_type_are_refused(client: TestClient) -> None:
    body = json.dumps(HELLO).encode()
    for content, kind in ((body.replace(b"Hello", b"\xff\xfe"), "application/json"), (body, "text/plain")):
        answer = client.post(CHAT, content=content, headers={"content-type": kind})
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert ("send JSON in UTF-8" in answer.json()["error"]["message"]) == (kind == "application/json")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the body is missing; send JSON"),
        (b'{"model": "chat", ', "the body is no JSON"),
        (b"null", "the body: Input should be a valid dictionary"),
        (b"[1, 2]", "the body: Input should be a valid dictionary"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"seed": ' + b"1" * 5_000 + b"}", "a number is too long"),
        (json.dumps(HELLO).encode()[:-1] + b', "temperature": NaN}', "temperature: Input should be a finite number"),
        (json.dumps(HELLO | {f"unknown_{i}": 1 for i in range(3_000)}).encode(), "and 2980 more"),
    ],
    ids=["nothing", "cut", "null", "list", "deep", "long number", "NaN", "many mistakes"],
)  # fmt: skip
def test_a_body_of_any_kind_is_refused_in_a_few_words(client: TestClient, content: bytes, says: str) -> None:
    answer = client.post(CHAT, content=content, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert says in error["message"]
    assert len(answer.content) < 2_000


def _say(role: str, text: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text}, {"role": "user", "content": "Hello!"}]}


def test_a_long_conversation_is_read_beside_the_loop_that_all_replies_share(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service("text.control_tokens=[system, persona]")
    client = client_of(service)
    on_the_loop: list[bool] = []
    responder, context = service.replica.responder, service.replica.responder.context

    def noted(*args: Any) -> list[int]:
        try:
            asyncio.get_running_loop()
            on_the_loop.append(True)
        except RuntimeError:
            on_the_loop.append(False)
        return context(*args)

    monkeypatch.setattr(responder, "context", noted)
    long = "Hello! " * 2_000
    for changes in ({}, _say("user", long), _say("system", long), {"control": {"persona": [long]}}):
        body = HELLO | {"max_tokens": 2} | changes
        assert client.post(CHAT, json=body).status_code == 200
    assert on_the_loop == [True, False, False, False]


def test_a_conversation_that_is_not_read_in_time_is_not_waited_for(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder, context, is_over = service.replica.responder, service.replica.responder.context, threading.Event()

    def slow(*args: Any) -> list[int]:
        is_over.wait(10)
        return context(*args)

    monkeypatch.setattr(responder, "context", slow)
    threading.Timer(2, is_over.set).start()
    answer = client.post(CHAT, json=HELLO | _say("user", "Hello! " * 2_000), headers={"x-request-timeout": "0.2"})
    assert answer.status_code == 408
    assert "was not read within 0.2 s" in answer.json()["error"]["message"]


def test_a_method_that_is_not_there_and_a_model_that_is(client: TestClient) -> None:
    answer = client.get(CHAT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "ask with POST" in answer.json()["error"]["message"]
    assert client.put("/v1/sessions/x").headers["allow"] == "DELETE, GET"
    assert client.get("/v1/models/chat").json()["id"] == "chat"
    assert client.get("/v1/models/gpt-9").json()["error"]["code"] == "model_not_found"


def test_a_failure_of_ours_is_told_without_its_reason(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(service.replica.responder, "context", fail)
    answer = client.post(CHAT, json=HELLO)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]


def test_the_documentation_has_an_example_for_every_body(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("ChatRequest", "CompletionRequest", "BatchRequest", "NewFeedback"):
        assert schemas[name]["examples"]
