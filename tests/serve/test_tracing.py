"""Spans, as a real collector receives them: one a request, its children, the conventions' names, and no text."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from starlette.testclient import TestClient

from rejoinder.errors import RecipeError, ServingError
from rejoinder.recipe import Recipe
from serve import tracing
from serve.service import Service
from tests.serve.helpers import HELLO, client_of, events_of, make_key

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra [tracing] is not installed")
CHAT = "/v1/chat/completions"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Span:
    """One span as it arrived."""

    name: str
    id: str
    parent: str
    trace: str
    seconds: float
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """Receives OTLP over HTTP."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)

    def receive(self, body: bytes) -> None:
        """One batch."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = values_of(of_process.resource.attributes)
            for one in (span for scope in of_process.scope_spans for span in scope.spans):
                began, ended = one.start_time_unix_nano, one.end_time_unix_nano
                self.spans.append(
                    Span(
                        one.name, one.span_id.hex(), one.parent_span_id.hex(), one.trace_id.hex(),
                        (ended - began) / 1e9, began, ended, one.status.code == 2, values_of(one.attributes), resource,
                    )
                )  # fmt: skip

    def requests(self) -> list[Span]:
        """Those that are no other's children."""
        ours = {span.id for span in self.spans}
        return sorted((span for span in self.spans if span.parent not in ours), key=lambda span: span.began)

    def children_of(self, parent: Span) -> list[Span]:
        """In the order of their beginnings."""
        return sorted((span for span in self.spans if span.parent == parent.id), key=lambda span: span.began)


def values_of(attributes: Any) -> dict[str, Any]:
    """OTLP's attributes as plain values."""

    def value(of: Any) -> Any:
        kind = of.WhichOneof("value")
        return [value(one) for one in of.array_value.values] if kind == "array_value" else getattr(of, kind)

    return {one.key: value(one.value) for one in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that runs."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                found.receive(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()


@pytest.fixture
def traced(make_service: Callable[..., Service], collector: Collector) -> Callable[..., tuple[Service, TestClient]]:
    """`traced("serving.log_text=true")`: a service whose spans the collector has as soon as the client is closed."""

    def make(*words: str, key: bool = False) -> tuple[Service, TestClient]:
        service = make_service(f"serving.tracing_endpoint={collector.url}", *words)
        return service, client_of(service, make_key(service) if key else None)

    return make


def test_a_request_is_one_span_with_its_queue_first_token_and_reply(traced: Any, collector: Collector) -> None:
    _, client = traced()
    with client:
        asked = HELLO | {"temperature": 1.5, "top_p": 0.9, "seed": 3, "max_tokens": 6, "session_id": "new"}
        body = client.post(CHAT, json=asked | {"stop": ["a secret"]}).json()
        events_of(client.post(CHAT, json=asked | {"stream": True}).text)
        assert client.get("/healthz").status_code == 200
    whole, streamed = collector.requests()
    for span in (whole, streamed):
        assert [child.name for child in collector.children_of(span)] == ["queue", "first token", "reply"]
        assert all(child.trace == span.trace for child in collector.children_of(span))
        assert span.began <= collector.children_of(span)[0].began
        assert collector.children_of(span)[-1].ended <= span.ended + 1_000_000
    told = whole.attributes
    assert whole.name == "chat chat"
    assert told["http.route"] == CHAT
    assert told["http.response.status_code"] == 200
    expected = {
        "operation.name": "chat", "provider.name": "rejoinder", "request.model": "chat", "request.seed": 3,
        "request.temperature": 1.5, "request.top_p": 0.9, "request.max_tokens": 6, "request.choice.count": 1,
        "response.id": body["id"], "response.model": "models:/chat/3", "conversation.id": body["session_id"],
        "response.finish_reasons": [body["choices"][0]["finish_reason"]],
        "usage.input_tokens": body["usage"]["prompt_tokens"],
        "usage.output_tokens": body["usage"]["completion_tokens"],
    }  # fmt: skip
    assert {name: told[f"gen_ai.{name}"] for name in expected} == expected
    assert whole.resource["service.name"] == "rejoinder"
    assert whole.resource["service.instance.id"].startswith("replica-")


def test_no_text_and_no_key_is_in_any_span_unless_texts_are_asked_for(traced: Any, collector: Collector) -> None:
    said = HELLO | {"messages": [{"role": "system", "content": "Be kind."}, *HELLO["messages"]], "stop": ["Hello!"]}
    _, client = traced("serving.require_keys=true", key=True)
    with client:
        body = client.post(CHAT, json=said).json()
    everything = repr(collector.spans)
    for secret in ("Hello!", "Be kind.", body["choices"][0]["message"]["content"], client.headers["authorization"][7:]):
        assert secret not in everything
    _, client = traced("serving.log_text=true")
    with client:
        body = client.post(CHAT, json=said | {"stop": None}).json()
    told = collector.requests()[-1].attributes
    assert json.loads(told["gen_ai.input.messages"])[0]["parts"][0]["content"] == "Hello!"
    assert json.loads(told["gen_ai.system_instructions"])[0]["content"] == "Be kind."
    (reply,) = json.loads(told["gen_ai.output.messages"])
    assert reply["parts"][0]["content"] == body["choices"][0]["message"]["content"]


def test_a_callers_trace_goes_on_and_the_log_line_names_it(
    traced: Any, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rejoinder.requests")
    _, client = traced()
    with client:
        client.post(CHAT, json=HELLO, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        client.post(CHAT, json=HELLO, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})  # sampled by nobody
        client.post(CHAT, json=HELLO, headers={"traceparent": "nonsense"})
    first, other = collector.requests()
    assert (first.trace, first.parent) == (TRACE, PARENT)
    assert other.trace != TRACE
    assert json.loads(caplog.records[0].getMessage())["trace_id"] == TRACE


def test_what_is_refused_is_a_span_that_says_why(
    traced: Any, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, client = traced()
    with client:
        client.post(CHAT, json=HELLO | {"model": "gpt-9"})
        client.post(CHAT, json=HELLO | {"messages": [{"role": "user", "content": " "}]})
        client.get("/v1/sessions/nobodys")
        monkeypatch.setattr(service.versions.champion.responder, "context", lambda *_: 1 / 0)
        client.post(CHAT, json=HELLO)
    unknown, empty, session, failed = collector.requests()
    assert (unknown.name, unknown.attributes["error.type"]) == (f"POST {CHAT}", "model_not_found")
    assert (empty.attributes["http.response.status_code"], empty.failed) == (400, False)
    assert (session.name, session.attributes["error.type"]) == ("GET /v1/sessions/{id}", "session_not_found")
    assert (failed.attributes["http.response.status_code"], failed.failed) == (500, True)
    assert "ZeroDivisionError" not in repr(collector.spans)


def test_each_message_of_a_socket_and_each_prompt_has_its_times(traced: Any, collector: Collector) -> None:
    _, client = traced()
    with client:
        with client.websocket_connect("/v1/chat") as socket:
            for _ in range(2):
                socket.send_text(json.dumps(HELLO | {"max_tokens": 3}))
                while not socket.receive_json()["choices"][0].get("finish_reason"):
                    pass
            socket.send_text("{")
            socket.receive_json()
        client.post("/v1/completions", json={"model": "chat", "prompt": ["Hi!", "Bye!"], "max_tokens": 3})
    *messages, wrong, prompts = collector.requests()
    assert [span.name for span in messages] == ["chat chat"] * 2
    assert wrong.attributes["error.type"] == "invalid_request_error"
    assert (prompts.name, len(collector.children_of(prompts))) == ("text_completion chat", 6)
    assert len(prompts.attributes["gen_ai.response.finish_reasons"]) == 2


def test_spans_are_made_when_the_recipe_or_the_environment_asks_and_else_not(
    make_service: Callable[..., Service], make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    service = make_service()
    assert tracing.Tracing.of(service) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    found = tracing.Tracing.of(service)
    assert found is not None
    found.close()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert tracing.Tracing.of(service) is None
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setattr(tracing, "_is_installed", lambda: False)
    assert tracing.Tracing.of(service) is None
    with pytest.raises(ServingError, match=r"needs? the extra \[tracing\]"):
        tracing.Tracing.of(make_service("serving.tracing_endpoint=http://127.0.0.1:1"))
    with pytest.raises(RecipeError, match="tracing_endpoint"):
        make_recipe("serving.tracing_endpoint=http://user:secret@collector:4318")


def test_a_collector_that_is_not_there_disturbs_nobody(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")  # the end of the service waits for it no longer
    with client_of(make_service("serving.tracing_endpoint=http://127.0.0.1:1")) as client:
        assert client.post(CHAT, json=HELLO).status_code == 200
