"""`GET /docs`: our OpenAPI document as Swagger UI shows it, all of it from this service and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse

from serve.service import Service

PATH = "/docs"
FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""Of the package fastapi-offline, which keeps them; its own code is not imported."""
_DAY_S = 86_400
_SCRIPT = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null, '
    "presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset]})"
)
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rejoinder: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="ui"><noscript>This page needs JavaScript; <a href="openapi.json">the document</a> does not.</noscript></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def add(api: FastAPI, service: Service) -> None:
    """Adds the routes. Links are relative, so that a proxy may put the service below a path of its own."""
    folder, policy = _folder(), _policy()

    @api.get(PATH, include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The page."""
        return HTMLResponse(_PAGE, headers={"content-security-policy": policy})

    def add_file(name: str, kind: str) -> None:
        @api.get(f"{PATH}/{name}", include_in_schema=False)
        async def file() -> FileResponse:
            headers = {"cache-control": f"public, max-age={_DAY_S}"}
            return FileResponse(folder / name, media_type=kind, headers=headers)

    for name, kind in FILES.items():
        add_file(name, kind)


def _folder() -> Path:
    found = importlib.util.find_spec("fastapi_offline")
    assert found is not None, "fastapi-offline belongs to the dependencies"
    assert found.origin is not None
    return Path(found.origin).with_name("static")


def _policy() -> str:
    """What a browser lets the page do. Swagger UI styles single elements; no scripts run but its own and ours."""
    ours = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    rules = {
        "default-src": "'none'", "script-src": f"'self' 'sha256-{ours}'", "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:", "font-src": "data:", "connect-src": "'self'", "base-uri": "'none'",
        "form-action": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    return "; ".join(f"{kind} {what}" for kind, what in rules.items())
