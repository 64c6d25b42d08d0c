"""The HTTP side: OpenAI's chat API, with sessions and feedback, as a FastAPI application. Knows no Ray."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from rejoinder import __version__
from serve import middleware, routes
from serve.errors import speak_openai_errors
from serve.messages import ErrorBody
from serve.middleware.keys import OPEN
from serve.service import Service

ABOUT = """
OpenAI's chat API for models trained with Rejoinder: any client of OpenAI's works with `base_url` set to `/v1` here.
Beyond it: conversations that the server keeps (`/v1/sessions`), feedback, a batch endpoint and a WebSocket `/v1/chat`.
"""


def create_api(service: Service) -> FastAPI:
    """The application of one replica."""
    api = FastAPI(
        title="Rejoinder",
        version=__version__,
        description=ABOUT,
        docs_url=None,  # serve/routes/docs.py
        redoc_url=None,
        responses={"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}},
    )
    routes.add_all(api, service)
    middleware.add_all(api, service)
    speak_openai_errors(api)
    if service.serving.needs_keys:
        _say_who_needs_keys(api)
    return api


def _say_who_needs_keys(api: FastAPI) -> None:
    """Clients made of the documentation send a key where one is needed, and `/docs` asks for it."""
    described = api.openapi

    def described_with_keys() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = described()
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["key"] = {"type": "http", "scheme": "bearer", "description": "Made by jobs/keys.py create."}
            for path, operations in document["paths"].items():
                if path not in OPEN:
                    for operation in operations.values():
                        operation["security"] = [{"key": []}]
        return described()

    api.openapi = described_with_keys  # type: ignore[method-assign]
