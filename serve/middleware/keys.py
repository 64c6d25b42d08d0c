"""The door: who asks, by API key, and whether it may. What is behind knows the caller as `scope["state"]["caller"]`."""

from __future__ import annotations

import ipaddress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.admission import CHAT, HOW, admitted, unknown
from serve.errors import Refused, refusal
from serve.routes import docs
from serve.service import Caller, Service
from serve.store import keys

OPEN = ("/", "/healthz", "/readyz", "/openapi.json", docs.PATH, *(f"{docs.PATH}/{name}" for name in docs.FILES))
"""What says nothing that is not public."""
SCOPE_OF_PATH = {"/metrics": "metrics"}
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


class Keys:
    """Lets in whoever has a key, where keys are needed; elsewhere whoever asks this machine by its own name."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 or 403 itself, 429 above the key's requests a minute."""
        if scope["type"] in ("http", "websocket"):
            try:
                caller = await self._caller(scope, Headers(scope=scope))
            except Exception as error:
                refused = refusal(error)
                if refused.status == 500:
                    raise
                scope["state"]["error"] = refused.detail.code
                await refused.response()(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope, headers: Headers) -> Caller:
        serving, path = self._service.serving, scope["path"]
        if path in OPEN:
            return Caller()
        if not serving.needs_keys:
            self._require_own_name(headers.get("host", ""))
            self._require_own_machine(scope.get("client"))
            return Caller()
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise unknown(f"an API key is needed; {HOW}", "missing_api_key")
        needed = SCOPE_OF_PATH.get(path, CHAT)
        counts = scope["type"] == "http"  # a socket's messages are its requests
        return await self._service.database.run(
            lambda rows: admitted(rows, keys.find(rows, presented.strip()), needed, serving, counts)
        )

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

    def _require_own_machine(self, client: tuple[str, int] | None) -> None:
        """Serve may have been told of another address than the recipe: whoever comes by it may give any host's name."""
        if self._service.serving.require_keys is False or client is None or not _is_elsewhere(client[0]):
            return
        raise Refused(
            403, f"{client[0]} is not this machine, and nobody needs a key here; set serving.host to the address that "
            "Serve listens at, or serving.require_keys, true or false", kind="permission_error",
            code="address_not_allowed",
        )  # fmt: skip


def _is_elsewhere(client: str) -> bool:
    """Whether it is an address, and of another machine. A socket of this machine has a path or nothing."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback
