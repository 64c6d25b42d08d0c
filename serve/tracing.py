"""Requests and their replies in, OpenTelemetry spans out: one a request, in it how long a reply waited and was written.

    chat MODEL ─┬─ queue         until the engine takes the reply up: its session's turn, the database, a slot
                ├─ first token   until its first text
                └─ reply         until its last, when turn and reply are kept

Attributes are named as in the semantic conventions for generative AI and HTTP (opentelemetry.io/docs/specs/semconv). No
text of anybody is among them unless `serving.log_text` asks for it. A collector that is slow or gone holds up nobody.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import Scope

from rejoinder import __version__
from rejoinder.dialogue import ReplyPart
from rejoinder.engine import Finish
from rejoinder.errors import ServingError
from serve.answering import FINISH_REASONS, Answer, Question
from serve.service import Service

if TYPE_CHECKING:
    from opentelemetry.context import Context

log = logging.getLogger(__name__)
_OTLP = "OTEL_EXPORTER_OTLP_"
_FROM_ENVIRONMENT = (f"{_OTLP}ENDPOINT", f"{_OTLP}TRACES_ENDPOINT")
_OPERATIONS = {"chatcmpl": "chat", "cmpl": "text_completion"}
"""By what a reply's id begins with."""
_OF_DECODING = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_reply_tokens": "max_tokens",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty", "seed": "seed",
    "num_replies": "choice.count",
}  # fmt: skip
_of_process: ContextVar[Tracing | None] = ContextVar("tracing", default=None)
_of_request: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


class Tracing:
    """Makes the spans of one process, and sends them from a thread of its own."""

    def __init__(self, endpoint: str | None, replica: str, with_text: bool) -> None:
        """`endpoint` takes OTLP over HTTP, such as http://127.0.0.1:4318; None is what the environment says."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        known = {"service.version": __version__, "service.instance.id": replica}
        if not os.environ.get("OTEL_SERVICE_NAME"):
            known["service.name"] = "rejoinder"
        address = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
        self._provider = TracerProvider(resource=Resource.create(known))
        patience_s = None if any(name.endswith("_TIMEOUT") for name in os.environ if name.startswith(_OTLP)) else 3.0
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address, timeout=patience_s)))
        self.tracer = self._provider.get_tracer("rejoinder", __version__)
        self.with_text = with_text

    @classmethod
    def of(cls, service: Service) -> Tracing | None:
        """As the recipe or the environment asks for it. Raises ServingError when the recipe does, without the extra."""
        asked = service.serving.tracing_endpoint
        if asked is None and not any(os.environ.get(name) for name in _FROM_ENVIRONMENT):
            return None
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return None
        if not _is_installed():
            needed = "spans need the extra [tracing]: pip install '.[tracing]' in the checkout"
            if asked is not None:
                raise ServingError(f"serving.tracing_endpoint = {asked}: {needed}")
            log.warning("the environment has an endpoint for OpenTelemetry, but %s", needed)
            return None
        return cls(asked, service.metrics.replica, service.serving.log_text)

    @contextmanager
    def process(self) -> Iterator[None]:
        """Those who answer what comes within can make requests of it: a WebSocket's messages are some."""
        token = _of_process.set(self)
        try:
            yield
        finally:
            _of_process.reset(token)

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str]) -> Iterator[RequestTrace]:
        """One request's span, which goes on with the caller's trace if its `traceparent` names one."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        caller = TraceContextTextMapPropagator().extract(dict(headers))
        span = self.tracer.start_span(name, caller, SpanKind.SERVER)
        trace = RequestTrace(self, span)
        token = _of_request.set(trace)
        try:
            yield trace
        finally:
            _of_request.reset(token)
            span.end()

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


class RequestTrace:
    """The span of one request."""

    def __init__(self, tracing: Tracing, span: Any) -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracing, self._span = tracing, span
        self._context: Context = set_span_in_context(span)
        self._num_input_tokens = self._num_output_tokens = 0
        self._finish_reasons: list[str] = []

    @property
    def id(self) -> str:
        """The trace's, as logs have it."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def ended(self, scope: Scope, status: int) -> None:
        """What HTTP says of it; `status` 0 when the client was gone before there was one."""
        from opentelemetry.trace import StatusCode

        route, state = getattr(scope.get("route"), "path", None), scope.get("state", {})
        told = {"http.request.method": scope.get("method"), "http.route": route}
        self._set(told | {"http.response.status_code": status or None})
        if not self._finish_reasons and route:
            self._span.update_name(f"{scope.get('method', 'WEBSOCKET')} {route}")
        failed = state.get("error") or (None if 0 < status < 400 else status or "client_closed_request")
        if failed is not None:
            self._set({"error.type": str(failed)})
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)

    async def watched(self, answer: Answer, question: Question, *, at_once: bool) -> AsyncGenerator[ReplyPart]:
        """The parts of a reply, whose times and figures become spans when it has ended."""
        begun_at, first_at, admitted_at = time.monotonic(), None, None
        said, finishes = defaultdict[int, list[str]](list), dict[int, Finish]()
        operation = _OPERATIONS.get(answer.id.partition("-")[0], "chat")
        self._span.update_name(f"{operation} {question.model}")
        self._set(_of_question(operation, question))
        try:
            async with aclosing(answer.parts(at_once=at_once)) as parts:
                async for part in parts:
                    if first_at is None:
                        first_at, admitted_at = time.monotonic(), part.admitted_at
                    said[part.index].append(part.text)
                    if part.finish is not None:
                        finishes[part.index] = part.finish
                    yield part
        finally:
            if first_at is not None:
                own = {"gen_ai.response.id": answer.id}
                if admitted_at is not None:
                    self._child("queue", begun_at, admitted_at, own)
                    self._child("first token", admitted_at, first_at, own)
                self._child("reply", first_at, time.monotonic(), own)
                self._set({"gen_ai.response.time_to_first_chunk": first_at - begun_at})
            self._replied(answer, [FINISH_REASONS[finish] for _, finish in sorted(finishes.items())])
            if self._tracing.with_text:
                replies = [
                    ("".join(parts), FINISH_REASONS[finishes[index]] if index in finishes else "error")
                    for index, parts in sorted(said.items())
                ]
                self._set(_texts(question, replies))

    def _replied(self, answer: Answer, finish_reasons: list[str]) -> None:
        self._num_input_tokens += answer.num_context_tokens
        self._num_output_tokens += answer.num_reply_tokens
        self._finish_reasons += finish_reasons
        version = getattr(answer, "version", None)
        self._set(
            {
                "gen_ai.response.id": answer.id, "gen_ai.response.model": None if version is None else str(version),
                "gen_ai.conversation.id": answer.session_id, "gen_ai.usage.input_tokens": self._num_input_tokens,
                "gen_ai.usage.output_tokens": self._num_output_tokens,
                "gen_ai.response.finish_reasons": self._finish_reasons or None,
            }
        )  # fmt: skip

    def _child(self, name: str, begun_at: float, ended_at: float, attributes: dict[str, str]) -> None:
        since_ns = time.time_ns() - time.monotonic_ns()  # from our clock to the calendar's
        span = self._tracing.tracer.start_span(
            name, self._context, attributes=attributes, start_time=since_ns + int(begun_at * 1e9)
        )
        span.end(since_ns + int(max(begun_at, ended_at) * 1e9))

    def _set(self, attributes: Mapping[str, Any]) -> None:
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})


def parts_of(answer: Answer, question: Question, *, at_once: bool = False) -> AsyncGenerator[ReplyPart]:
    """An answer's parts; traced if its request is."""
    trace = _of_request.get()
    return answer.parts(at_once=at_once) if trace is None else trace.watched(answer, question, at_once=at_once)


@contextmanager
def message(scope: Scope) -> Iterator[None]:
    """Around one message of a WebSocket, which is a request too."""
    tracing = _of_process.get()
    if tracing is None:
        yield
        return
    with tracing.request("WEBSOCKET", Headers(scope=scope)) as trace:
        scope["state"]["trace_id"] = trace.id
        try:
            yield
        finally:
            trace.ended(scope, 101)


def _of_question(operation: str, question: Question) -> dict[str, Any]:
    asked = {f"gen_ai.request.{name}": question.decoding.get(own) for own, name in _OF_DECODING.items()}
    return asked | {
        "gen_ai.operation.name": operation, "gen_ai.provider.name": "rejoinder", "gen_ai.request.model": question.model,
    }  # fmt: skip


def _texts(question: Question, replies: list[tuple[str, str]]) -> dict[str, str]:
    def spelt(messages: list[dict[str, Any]]) -> str:
        return json.dumps(messages, ensure_ascii=False)

    def part(text: str) -> list[dict[str, str]]:
        return [{"type": "text", "content": text}]

    return {
        "gen_ai.input.messages": spelt([{"role": role, "parts": part(text)} for role, text in question.said]),
        "gen_ai.system_instructions": spelt([one for text in question.system for one in part(text)]),
        "gen_ai.output.messages": spelt(
            [{"role": "assistant", "parts": part(reply), "finish_reason": why} for reply, why in replies]
        ),
    }


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
