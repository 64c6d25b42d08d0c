"""What can be asked over HTTP, one file a subject; each adds its routes to the application."""

from __future__ import annotations

from fastapi import FastAPI

from serve.routes import batch, chat, completions, docs, feedback, health, models, page, sessions, websocket
from serve.service import Service


def add_all(api: FastAPI, service: Service) -> None:
    """Every route there is."""
    for subject in (chat, completions, batch, sessions, feedback, models, health, websocket, page, docs):
        subject.add(api, service)
