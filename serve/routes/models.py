"""`GET /v1/models`: what `model` may be."""

from __future__ import annotations

from fastapi import FastAPI

from serve.errors import Refused
from serve.messages import ModelCard, ModelList, now
from serve.service import Service


def add(api: FastAPI, service: Service) -> None:
    """Adds the routes."""
    started = now()

    @api.get("/v1/models", tags=["models"])
    async def models() -> ModelList:
        """The models that can be asked for."""
        return ModelList(data=[ModelCard(id=name, created=started) for name in service.versions.model_names()])

    @api.get("/v1/models/{name}", tags=["models"])
    async def model(name: str) -> ModelCard:
        """One of them."""
        names = service.versions.model_names()
        if name not in names:
            there_are = ", ".join(names)
            raise Refused(404, f"no model is called {name!r}; there are: {there_are}", code="model_not_found")
        return ModelCard(id=name, created=started)
