"""HTTPS without a proxy: what is refused before it starts, and whom our own questions trust."""

from __future__ import annotations

import datetime
import ssl
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI

from rejoinder.errors import RecipeError, ServingError
from rejoinder.recipe import Recipe
from serve.api import create_api
from serve.deployment import http_options
from serve.reaching import reach, require_certificate
from serve.service import Service


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """One that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    folder.mkdir()
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


@contextmanager
def served_with(api: FastAPI, recipe: Recipe) -> Iterator[int]:
    """The API by TLS, with the options that Serve's proxies get; its port."""
    options = http_options(recipe.serving)
    server = uvicorn.Server(
        uvicorn.Config(
            api, port=0, log_level="critical", ssl_certfile=options.ssl_certfile, ssl_keyfile=options.ssl_keyfile
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_the_endpoint_speaks_https_and_we_trust_its_certificate_alone(
    service: Service, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    words = [make_certificate(tmp_path / name, "chat.example.org") for name in ("ours", "another")]
    ours, another = (
        make_recipe(f"serving.tls_certificate={certificate}", f"serving.tls_key={key}") for certificate, key in words
    )
    assert ours.serving.url == "https://127.0.0.1:8000"
    require_certificate(ours.serving)
    with served_with(create_api(service), ours) as port:
        with reach(f"https://127.0.0.1:{port}/readyz", ours.serving, 30) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.URLError) as refused:
            reach(f"https://127.0.0.1:{port}/readyz", another.serving, 30)
        assert isinstance(refused.value.reason, ssl.SSLCertVerificationError)


def test_files_that_cannot_be_used_are_named_before_anything_starts(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path / "ours", "chat.example.org")
    other_key = make_certificate(tmp_path / "another", "chat.example.org")[1]
    with pytest.raises(RecipeError, match="give both, or neither"):
        make_recipe(f"serving.tls_certificate={certificate}")
    for files, says in (
        ((tmp_path / "none.pem", key), r"serving.tls_certificate = .*none.pem: there is no such file"),
        ((certificate, other_key), "MISMATCH; give PEM files that belong together"),
        ((key, key), "give PEM files that belong together"),
    ):
        recipe = make_recipe(f"serving.tls_certificate={files[0]}", f"serving.tls_key={files[1]}")
        with pytest.raises(ServingError, match=says):
            require_certificate(recipe.serving)
    require_certificate(make_recipe().serving)
    assert make_recipe().serving.url == "http://127.0.0.1:8000"
