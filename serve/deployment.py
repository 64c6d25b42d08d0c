"""Recipe in, a running endpoint out."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import time
import urllib.error
from dataclasses import dataclass

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import HTTPOptions

from rejoinder import checkpoints, cluster, console
from rejoinder.errors import CheckpointError, RegistryError, ServingError
from rejoinder.recipe import Recipe, ServingSection
from rejoinder.registry import Registry, Version
from serve.app import build_application
from serve.coming_up import wait_until_running
from serve.door import LONGEST_WAIT_S
from serve.keys import count_keys
from serve.reaching import reach, require_certificate
from serve.replica import recipe_as_served
from serve.store import Database, url_of

STOPPING_S = 10
READY_WITHIN_S = 120
"""With no replica left (`serving.min_replicas = 0`) the question itself starts one."""


@dataclass(frozen=True)
class Deployed:
    """An endpoint that answers."""

    url: str
    version: Version


def deploy(recipe: Recipe) -> Deployed:
    """Starts Serve if it does not run, deploys the recipe's application and waits until it is ready.

    Needs a Ray connection. The tables of sessions and keys are brought up to date first. Raises RegistryError without
    a version to serve, ClusterError without room for a replica (at an update beside the one that runs, which goes on),
    ServingError when the port is taken, a version cannot reply as `serving.decoding` says or the application does not
    come up.
    """
    serving = recipe.serving
    version = Registry(recipe).find(serving.alias)
    require_decoding(recipe)
    cluster.require(
        recipe, serving.cpus_per_replica, serving.gpus_per_replica, "one replica (serving.cpus_per_replica)"
    )
    _prepare_database(recipe)
    if serving.request_timeout_s > LONGEST_WAIT_S:
        limit = f"serving.request_timeout_s = {serving.request_timeout_s:g}, but the first byte of a reply"
        console.say(f"   {limit} is waited for {LONGEST_WAIT_S:g} s; REJOINDER_DOOR_WAIT_S changes that")
    require_certificate(serving)
    if not _is_ours(serving):
        _require_free_port(serving.host, serving.port)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # our own lines say the same
    _start_serve(serving)
    target = serve.RunTarget(build_application(recipe), name=serving.application, route_prefix="/")
    serve.run_many([target], wait_for_applications_running=False)
    wait_until_running(recipe)
    _require_ready(serving)
    return Deployed(serving.url, version)


def require_decoding(recipe: Recipe) -> None:
    """Raises ServingError when a version that is to be served cannot reply as `serving.decoding` says."""
    serving, registry = recipe.serving, Registry(recipe)
    names = (serving.alias, *serving.asked_names, *serving.also_loaded) if serving.decoding else ()
    for name in names:
        # What is not there, or damaged, does not keep the others from answering: replicas say it in their log.
        with contextlib.suppress(RegistryError, CheckpointError):
            version = registry.find(name)
            recipe_as_served(checkpoints.read_recipe(registry.download(version)), serving, version)


def http_options(serving: ServingSection) -> HTTPOptions:
    """How Serve's proxies listen. They keep the options of their first start."""
    return HTTPOptions(
        host=serving.host, port=serving.port, ssl_certfile=serving.tls_certificate, ssl_keyfile=serving.tls_key
    )


def drain(recipe: Recipe) -> None:
    """Takes the application away: what is new is refused, what has begun is answered to its end. Blocks until then."""
    name = recipe.serving.application
    until = time.monotonic() + recipe.serving.request_timeout_s + STOPPING_S
    serve.delete(name, _blocking=False)
    while name in serve.status().applications and time.monotonic() < until:
        time.sleep(0.2)


def _start_serve(serving: ServingSection) -> None:
    try:
        serve.start(http_options=http_options(serving))
    except (TimeoutError, RayActorError):
        # A full machine: Serve waits a minute, and its controller, which runs, makes a proxy that was too slow anew.
        console.say("   Serve's proxy takes long to start; is the machine busy?")


def _prepare_database(recipe: Recipe) -> None:
    """Makes or changes the tables, before any replica asks for them; says when nobody could ask anything."""
    with Database(url_of(recipe)) as database:
        database.migrate()
        if recipe.serving.needs_keys and not count_keys(database):
            console.say("   requests need an API key, and there is none yet: python jobs/keys.py create")


def _is_ours(serving: ServingSection) -> bool:
    """Whether a Serve of this cluster listens there already: then this is an update."""
    try:
        with reach(f"{serving.url}/-/healthz", serving, 2) as answer:
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


def _require_ready(serving: ServingSection) -> None:
    """The proxies hear of a new application a moment after it runs; until then they know no such address, or none of
    them listens yet."""
    url, until = f"{serving.url}/readyz", time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with reach(url, serving, max(1.0, until - time.monotonic())) as answer:
                answer.read()
            return
        except OSError as error:
            nobody_yet = isinstance(getattr(error, "reason", None), ConnectionRefusedError)
            if not (nobody_yet or isinstance(error, urllib.error.HTTPError)) or time.monotonic() > until:
                raise ServingError(f"{url} does not answer: {error}") from None
        time.sleep(0.2)
