"""What stands around every request, one pure ASGI middleware a file, the outermost first."""

from __future__ import annotations

from fastapi import FastAPI

from serve.middleware.attempts import Attempts
from serve.middleware.cors import Cors
from serve.middleware.crowd import Crowd
from serve.middleware.failures import Failures
from serve.middleware.keys import Keys
from serve.middleware.log_line import LogLine
from serve.middleware.security_headers import SecurityHeaders
from serve.middleware.size_limit import SizeLimit
from serve.middleware.tracing import Tracing
from serve.middleware.version_header import VersionHeader
from serve.service import Service

ORDER = (Attempts, Tracing, LogLine, SecurityHeaders, VersionHeader, Cors, Crowd, Keys, SizeLimit, Failures)


def add_all(api: FastAPI, service: Service) -> None:
    """Puts them around the application."""
    for middleware in reversed(ORDER):  # who comes last is outermost
        api.add_middleware(middleware, service=service)
