"""The HTTP side: OpenAI's chat API as a FastAPI application over any replica. Knows no Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from rejoinder import __version__
from rejoinder.corpora import Turn
from rejoinder.decoding import Decoding
from rejoinder.dialogue import ReplyPart
from rejoinder.engine import EngineFull, Finish
from rejoinder.errors import EngineError, RejoinderError, ServingError
from serve.messages import (
    ChatChunk,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    ErrorBody,
    ErrorDetail,
    ModelCard,
    ModelList,
    Usage,
    new_id,
    now,
)
from serve.replica import ChatReplica

FINISH_REASONS = {Finish.END: "stop", Finish.LENGTH: "length"}


def create_api(replica_of: Callable[[], ChatReplica]) -> FastAPI:
    """The API; `replica_of` gives the replica that answers, at the time of each request."""
    api = FastAPI(
        title="Rejoinder", version=__version__, responses={"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}
    )
    started = now()

    @api.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat_completions(request: ChatRequest) -> ChatCompletion | StreamingResponse:
        """The assistant's reply to a conversation; with `stream`, token by token as server-sent events.

        System messages are read by models that were trained with them (`system` in text.control_tokens), and left out
        for others, which have only learnt what people say to each other.
        """
        replica = replica_of()
        if request.model not in replica.model_names:
            raise HTTPException(
                404, f"no model is called {request.model!r}; there are: {', '.join(replica.model_names)}"
            )
        context = replica.responder.context(_turns(request), "assistant", _asked(replica, request))
        parts = replica.stream(context, _decoding(replica, request))
        first = await anext(parts)  # whatever can be refused is refused before a stream has begun
        if request.stream:
            return StreamingResponse(_events(request.model, first, parts), media_type="text/event-stream")
        text, last = first.text, first
        async for last in parts:
            text += last.text
        return ChatCompletion(
            id=new_id(),
            created=now(),
            model=request.model,
            choices=[Choice(message=ChatMessage(role="assistant", content=text), finish_reason=_reason(last))],
            usage=Usage.of(len(context), last.num_tokens),
        )

    @api.get("/v1/models")
    async def models() -> ModelList:
        """The models that can be asked for."""
        return ModelList(data=[ModelCard(id=name, created=started) for name in replica_of().model_names])

    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "alive"}

    @api.get("/readyz")
    async def readyz() -> dict[str, str | int]:
        """Ready: a model is loaded and its engine moves."""
        replica = replica_of()
        replica.check()
        return {"status": "ready", "model": replica.version.model, "version": replica.version.number}

    @api.middleware("http")
    async def name_the_version(request: Request, call_next):  # type: ignore[no-untyped-def]
        response = await call_next(request)
        response.headers["x-model-version"] = str(replica_of().version)
        return response

    _speak_openai_errors(api)
    return api


def _turns(request: ChatRequest) -> list[Turn]:
    return [Turn(message.role, message.content) for message in request.messages if message.role != "system"]


def _asked(replica: ChatReplica, request: ChatRequest) -> list[tuple[str, str]]:
    reads_system = "system" in replica.responder.trained.recipe.text.control_tokens
    asked = [("system", message.content) for message in request.messages if message.role == "system" and reads_system]
    for kind, texts in request.control.items():
        asked += [(kind, text) for text in ([texts] if isinstance(texts, str) else texts)]
    return asked


def _decoding(replica: ChatReplica, request: ChatRequest) -> Decoding:
    return replica.responder.decoding(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        typical_p=request.typical_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        no_repeat_ngram_tokens=request.no_repeat_ngram_tokens,
        max_reply_tokens=request.max_completion_tokens or request.max_tokens,
        seed=request.seed,
    )


async def _events(model: str, first: ReplyPart, rest: AsyncIterator[ReplyPart]) -> AsyncIterator[str]:
    """Server-sent events: the role, each piece of text, the reason for the end, [DONE]."""
    id, created = new_id(), now()

    def event(delta: Delta, part: ReplyPart | None = None) -> str:
        reason = _reason(part) if part is not None and part.finish else None
        chunk = ChatChunk(id=id, created=created, model=model, choices=[ChunkChoice(delta=delta, finish_reason=reason)])
        return f"data: {chunk.model_dump_json(exclude_none=True)}\n\n"

    yield event(Delta(role="assistant", content=""))
    yield event(Delta(content=first.text), first)
    try:
        async for part in rest:
            yield event(Delta(content=part.text), part)
    except RejoinderError as error:  # the status line is gone; the stream must say it
        body = ErrorBody(error=ErrorDetail(message=str(error), type="server_error"))
        yield f"data: {body.model_dump_json()}\n\n"
        return
    yield "data: [DONE]\n\n"


def _reason(part: ReplyPart) -> str:
    assert part.finish is not None
    return FINISH_REASONS[part.finish]


def _speak_openai_errors(api: FastAPI) -> None:
    """Every error leaves in OpenAI's shape, so that its clients can read it."""

    def answer(status: int, message: str, kind: str, param: str | None = None, **headers: str) -> JSONResponse:
        body = ErrorBody(error=ErrorDetail(message=message, type=kind, param=param))
        return JSONResponse(body.model_dump(), status, headers)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [(".".join(map(str, problem["loc"][1:])), problem["msg"]) for problem in error.errors()]
        message = "; ".join(f"{where}: {what}" if where else what for where, what in problems)
        return answer(400, message, "invalid_request_error", problems[0][0] or None)

    @api.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), "invalid_request_error")

    @api.exception_handler(EngineFull)
    async def busy(request: Request, error: EngineFull) -> JSONResponse:
        return answer(429, str(error), "rate_limit_error", **{"retry-after": "1"})

    @api.exception_handler(EngineError)
    async def unanswerable(request: Request, error: EngineError) -> JSONResponse:
        return answer(400, str(error), "invalid_request_error")

    @api.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return answer(500, "the server failed; its log says why", "server_error")

    @api.exception_handler(ServingError)
    async def failed(request: Request, error: ServingError) -> JSONResponse:
        return answer(503, str(error), "server_error", **{"retry-after": "1"})
