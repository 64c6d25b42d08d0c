"""What went wrong in; OpenAI's error shape, the right status and what to do out. No message has a secret in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from rejoinder.engine import EngineFull
from rejoinder.errors import EngineError, RejoinderError, ServingError
from serve.messages import ErrorBody, ErrorDetail
from serve.replica import TooSlow
from serve.store.turns import SessionMovedOn
from serve.store.usage import QuotaExceeded

RETRY_AFTER_S = 1
_UNREADABLE = "There was an error parsing the body"
"""FastAPI's word for a body that is no text, or nested too deeply; JSON that is none has another."""
_MOST_PROBLEMS = 20
"""That one answer names: a body can have a mistake in every few bytes."""


class Refused(Exception):
    """A request that is not answered, with OpenAI's words for why."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", param: str | None = None,
        code: str | None = None, headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.detail = ErrorDetail(message=message, type=kind, param=param, code=code)

    def response(self) -> JSONResponse:
        """As it leaves."""
        return JSONResponse(ErrorBody(error=self.detail).model_dump(), self.status, self.headers)


def refusal(error: Exception) -> Refused:
    """How any error is told to a client: what it can put right in its words, the rest as ours."""
    match error:
        case Refused():
            return error
        case RequestValidationError():
            return _invalid(list(error.errors()))
        case HTTPException(detail=detail) if detail == _UNREADABLE:
            if isinstance(error.__cause__, UnicodeDecodeError):
                return Refused(400, "the body is no text in UTF-8; send JSON in UTF-8")
            return Refused(400, "the body cannot be read as JSON: it is nested too deeply, or a number is too long")
        case HTTPException():
            return Refused(error.status_code, str(error.detail), headers=error.headers)
        case QuotaExceeded():
            return _later(429, str(error), "rate_limit_exceeded", error.retry_after_s)
        case EngineFull():
            return _later(429, str(error), "engine_full", RETRY_AFTER_S)
        case SessionMovedOn():
            return Refused(
                409, "the session was deleted or went on while this reply was written, which is not kept; ask again",
                kind="conflict_error", code="session_moved_on",
            )  # fmt: skip
        case EngineError():
            return Refused(400, str(error))
        case ServingError():
            code, wait = "timeout" if isinstance(error, TooSlow) else None, {"retry-after": str(RETRY_AFTER_S)}
            return Refused(503, str(error), kind="server_error", code=code, headers=wait)
        case RejoinderError():
            return Refused(500, str(error), kind="server_error")
    return Refused(500, "the server failed; its log says why", kind="server_error")


def speak_openai_errors(api: FastAPI) -> None:
    """Every error leaves in OpenAI's shape, so that its clients can read it."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        refused = refusal(error)
        if refused.status == 405:
            there_are = ", ".join(_methods_of(api, request))
            refused = Refused(
                405, f"{request.method} is not what {request.url.path} is for; ask with {there_are}",
                code="method_not_allowed", headers={"allow": there_are},
            )  # fmt: skip
        request.state.error = refused.detail.code or refused.detail.type
        return refused.response()

    for kind in (Refused, RequestValidationError, HTTPException, QuotaExceeded, SessionMovedOn, RejoinderError):
        api.add_exception_handler(kind, answer)


def _methods_of(api: FastAPI, request: Request) -> list[str]:
    """Of all routes of a path: each method has one of its own, and Starlette knows but the first."""
    found: set[str] = set()
    for route in api.router.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


def _later(status: int, message: str, code: str, after_s: float) -> Refused:
    headers = {"retry-after": str(max(1, math.ceil(after_s)))}
    return Refused(status, message, kind="rate_limit_error", code=code, headers=headers)


def _invalid(problems: list[Any]) -> Refused:
    """pydantic's problems, each by the name of its field."""
    said = []
    for problem in problems[:_MOST_PROBLEMS]:
        place = (
            problem["loc"][1:]
            if problem["loc"][:1] in (("body",), ("query",), ("path",), ("header",))
            else problem["loc"]
        )
        where = ".".join(map(str, place))
        match problem["type"]:
            case "json_invalid":
                where, what = "", f"the body is no JSON: {problem.get('ctx', {}).get('error', problem['msg'])}"
            case "extra_forbidden":
                what = "is not supported here; leave it out"
            case "value_error":
                what = str(problem["ctx"]["error"])
            case "missing" if not where:
                what = "the body is missing; send JSON"
            case _ if not where:
                what = f"the body: {problem['msg']}"
            case _:
                what = problem["msg"]
        said.append((where, what))
    message = "; ".join(f"{where}: {what}" if where else what for where, what in said)
    if (num_more := len(problems) - _MOST_PROBLEMS) > 0:
        message += f"; and {num_more} more"
    return Refused(400, message, param=said[0][0] or None)
