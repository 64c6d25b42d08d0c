"""`/healthz`, `/readyz`, `/metrics`: is it alive, does it answer, what did it do."""

from __future__ import annotations

from fastapi import FastAPI, Response

from serve.metrics import CONTENT_TYPE
from serve.service import Service


def add(api: FastAPI, service: Service) -> None:
    """Adds the routes."""

    @api.get("/healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "alive"}

    @api.get("/readyz", tags=["operations"])
    async def readyz() -> dict[str, str | int]:
        """Ready: a model is loaded, and answered a canary prompt within the last seconds. A full queue is no reason
        not to be: it moves."""
        replica = service.replica
        await replica.check_answers()
        return {"status": "ready", "model": replica.version.model, "version": replica.version.number}

    @api.get(
        "/metrics", tags=["operations"], response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )  # fmt: skip
    async def metrics() -> Response:
        """Prometheus' text, of all replicas: whichever is asked knows what the others wrote last."""
        return Response(await service.metrics.text_of_all(service.database), media_type=CONTENT_TYPE)
