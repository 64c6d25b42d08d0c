"""The door: who asks, by API key, and whether it may. What is behind knows the caller as `scope["state"]["caller"]`."""

from __future__ import annotations

import time

from sqlalchemy import Connection
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import Refused, refusal
from serve.routes import docs
from serve.service import Caller, Service
from serve.store import keys, usage

OPEN = ("/", "/healthz", "/readyz", "/openapi.json", docs.PATH, *(f"{docs.PATH}/{name}" for name in docs.FILES))
"""What says nothing that is not public."""
SCOPE_OF_PATH = {"/metrics": "metrics"}
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
_ASK = "send it as `Authorization: Bearer KEY`; `jobs/keys.py create` makes one"


class Keys:
    """Lets in whoever has a key, where keys are needed; elsewhere whoever asks this machine by its own name."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 or 403 itself, 429 above the key's requests a minute."""
        if scope["type"] in ("http", "websocket"):
            try:
                caller = await self._caller(scope["path"], Headers(scope=scope))
            except Exception as error:
                refused = refusal(error)
                if refused.status == 500:
                    raise
                scope["state"]["error"] = refused.detail.code
                await refused.response()(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _caller(self, path: str, headers: Headers) -> Caller:
        if path in OPEN:
            return Caller()
        if not self._service.serving.needs_keys:
            self._require_own_name(headers.get("host", ""))
            return Caller()
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise _unknown(f"an API key is needed; {_ASK}", "missing_api_key")
        needed = SCOPE_OF_PATH.get(path, "chat")
        return await self._service.database.run(lambda rows: self._find(rows, presented.strip(), needed))

    def _find(self, rows: Connection, presented: str, needed: str) -> Caller:
        now, key = time.time(), keys.find(rows, presented)
        if key is None:
            raise _unknown(f"no such API key; {_ASK}", "invalid_api_key")
        if problem := key.problem(now):
            raise _unknown(f"the API key {key.id} {problem}; ask for a new one", "invalid_api_key")
        if needed not in key.scopes:
            raise Refused(
                403, f"the API key {key.id} is not for this; it needs the scope {needed!r}",
                kind="permission_error", code="insufficient_scope",
            )  # fmt: skip
        caller = Caller(key)
        if needed == "chat":
            usage.count_request(rows, key.id, caller.requests_per_minute(self._service.serving), now)
        return caller

    def _require_own_name(self, host: str) -> None:
        """A web page can give its own name this machine's address, and would then be let in by browsers."""
        serving = self._service.serving
        if serving.require_keys is False:
            return  # somebody decided it: a proxy stands before us, under whatever name
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.strip("[]").lower() not in (*_LOCAL_NAMES, serving.host):
            raise Refused(
                403, f"host {name!r} is not this machine; behind a proxy, set serving.require_keys, true or false",
                kind="permission_error", code="host_not_allowed",
            )  # fmt: skip


def _unknown(message: str, code: str) -> Refused:
    return Refused(401, message, kind="authentication_error", code=code, headers={"www-authenticate": "Bearer"})
