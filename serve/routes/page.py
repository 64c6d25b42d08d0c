"""`GET /`: a page to chat with, whole in one answer; a browser may load and ask nothing but this service from it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from serve.service import Service

_FILES = Path(__file__).parents[1] / "page"


def add(api: FastAPI, service: Service) -> None:
    """Adds the route."""
    text, policy = page()

    @api.get("/", include_in_schema=False)
    async def chat_page() -> HTMLResponse:
        """The page. It asks for a key where one is needed."""
        return HTMLResponse(text, headers={"content-security-policy": policy})


def page() -> tuple[str, str]:
    """The page, and the content security policy under which only its own style and script run."""
    text, allowed = (_FILES / "page.html").read_text(encoding="utf-8"), {}
    for kind, name in (("style-src", "page.css"), ("script-src", "page.js")):
        part = (_FILES / name).read_text(encoding="utf-8")
        text = text.replace(f"/*{name}*/", part)
        allowed[kind] = f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
    rules = {
        "default-src": "'none'", **allowed, "connect-src": "'self'", "img-src": "data:", "base-uri": "'none'",
        "form-action": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    return text, "; ".join(f"{kind} {what}" for kind, what in rules.items())
