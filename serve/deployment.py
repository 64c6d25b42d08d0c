"""Recipe in, a running endpoint out."""

from __future__ import annotations

import errno
import logging
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass

from ray import serve
from ray.serve.config import HTTPOptions

from rejoinder import cluster, console
from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, Version
from serve.app import build_application
from serve.keys import count_keys
from serve.store import Database, url_of


@dataclass(frozen=True)
class Deployed:
    """An endpoint that answers."""

    url: str
    version: Version


def deploy(recipe: Recipe) -> Deployed:
    """Starts Serve if it does not run, deploys the recipe's application and waits until it is ready.

    Needs a Ray connection. The tables of sessions and keys are brought up to date first. Raises RegistryError without
    a version to serve, ClusterError without room for a replica,
    ServingError when the port is taken or the application does not come up.
    """
    serving = recipe.serving
    version = Registry(recipe).find(serving.alias)
    cluster.require(
        recipe, serving.cpus_per_replica, serving.gpus_per_replica, "one replica (serving.cpus_per_replica)"
    )
    _prepare_database(recipe)
    url = f"http://{serving.host}:{serving.port}"
    if not _is_ours(url):
        _require_free_port(serving.host, serving.port)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # our own lines say the same
    serve.start(http_options=HTTPOptions(host=serving.host, port=serving.port))
    try:
        serve.run(build_application(recipe), name=serving.application, route_prefix="/")
    except RuntimeError as error:
        raise ServingError(
            f"the application {serving.application!r} did not come up: {_reason(serving.application) or error}"
        ) from error
    _require_ready(url)
    return Deployed(url, version)


def _prepare_database(recipe: Recipe) -> None:
    """Makes or changes the tables, before any replica asks for them; says when nobody could ask anything."""
    with Database(url_of(recipe)) as database:
        database.migrate()
        if recipe.serving.needs_keys and not count_keys(database):
            console.say("   requests need an API key, and there is none yet: python jobs/keys.py create")


def _reason(application: str) -> str:
    """What a replica said last, else what the application says."""
    status = serve.status().applications.get(application)
    if status is None:
        return ""
    said = [deployment.message for deployment in status.deployments.values()] + [status.message]
    lines = [line.strip() for message in said for line in message.splitlines()[-1:] if line.strip()]
    return lines[0] if lines else ""


def _is_ours(url: str) -> bool:
    """Whether a Serve of this cluster listens there already: then this is an update."""
    try:
        with urllib.request.urlopen(f"{url}/-/healthz", timeout=2) as answer:
            return bool(answer.read() == b"success") and bool(serve.status().proxies)
    except (OSError, urllib.error.URLError):
        return False


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServingError(
                    f"serving.port = {port}: another program listens on {host}:{port}; stop it, or choose another port"
                ) from None
            raise ServingError(f"serving.host = {host}, serving.port = {port}: {error.strerror}") from None


def _require_ready(url: str) -> None:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
            answer.read()
    except OSError as error:
        raise ServingError(f"{url}/readyz does not answer: {error}") from None
