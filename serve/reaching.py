"""A request to our own endpoint in, its answer out. Over TLS nobody is trusted but the recipe's certificate."""

from __future__ import annotations

import ssl
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

from rejoinder.errors import ServingError
from rejoinder.recipe import ServingSection


def reach(request: str | urllib.request.Request, serving: ServingSection, timeout_s: float) -> HTTPResponse:
    """Raises what `urllib.request.urlopen` raises."""
    context = None
    if serving.tls_certificate is not None:
        context = ssl.create_default_context(cafile=serving.tls_certificate)
        # The certificate is for a name out there, and we ask by our own address: it must be this one, whoever it names.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s, context=context)
    return answer


def require_certificate(serving: ServingSection) -> None:
    """Raises ServingError when certificate and key cannot be used, before anything is started with them."""
    if serving.tls_certificate is None or serving.tls_key is None:
        return
    for setting, file in (("tls_certificate", serving.tls_certificate), ("tls_key", serving.tls_key)):
        if not Path(file).is_file():
            raise ServingError(f"serving.{setting} = {file}: there is no such file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            serving.tls_certificate, serving.tls_key, password=lambda: b""
        )
    except (ssl.SSLError, OSError) as error:
        raise ServingError(
            f"serving.tls_certificate = {serving.tls_certificate}, serving.tls_key = {serving.tls_key}: "
            f"{getattr(error, 'reason', None) or error}; give PEM files that belong together, without a password"
        ) from None
