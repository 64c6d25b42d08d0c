"""Wiring only: the API over a replica, as one autoscaled Ray Serve deployment."""

from __future__ import annotations

import logging
import sys

from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig

from rejoinder.recipe import Recipe
from serve.api import create_api
from serve.metrics import Metrics
from serve.replica import load_replica
from serve.service import Service
from serve.store import Database, url_of


@serve.deployment
@serve.ingress()
class Chat:
    """The deployment. Ingress and model are one, so that a token takes one hop to the client, not two."""

    def __init__(self, recipe: Recipe) -> None:
        _log_requests()
        database = Database(url_of(recipe))
        database.migrate()  # done at deploying; but a database may be new since
        replica = load_replica(recipe)
        metrics = Metrics(serve.get_replica_context().replica_id.unique_id)
        metrics.watch(replica.responder.engine.statistics, lambda: str(replica.version))
        self.service = Service(replica, database, recipe.serving, metrics)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve after `__init__`: FastAPI applications do not travel."""
        return create_api(self.service)

    def check_health(self) -> None:
        """Called by Serve every few seconds; a replica whose engine is stuck is started anew."""
        self.service.replica.check()

    def __del__(self) -> None:
        if hasattr(self, "service"):  # not when loading failed
            self.service.close()


def _log_requests() -> None:
    """A line a request to the replica's standard error, where Ray collects it."""
    log = logging.getLogger("rejoinder.requests")
    log.setLevel(logging.INFO)
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.stderr))


def build_application(recipe: Recipe) -> serve.Application:
    """The application for `serve.run`."""
    serving = recipe.serving
    # What waits for its turn in a session, or is read from the database, and open sockets take no slot of the engine.
    in_flight = serving.num_slots + serving.max_queued_requests + serving.max_websockets
    deployment = Chat.options(  # type: ignore[attr-defined]
        name="chat",
        ray_actor_options={"num_cpus": serving.cpus_per_replica, "num_gpus": serving.gpus_per_replica},
        autoscaling_config=AutoscalingConfig(
            min_replicas=serving.min_replicas,
            max_replicas=serving.max_replicas,
            target_ongoing_requests=serving.target_ongoing_requests,
        ),
        max_ongoing_requests=in_flight,
        max_queued_requests=in_flight,
        # Replace before stopping, so that one replica alone can be updated without a gap.
        max_surge_percent=100,
        graceful_shutdown_timeout_s=serving.request_timeout_s,
    )
    application: serve.Application = deployment.bind(recipe)
    return application
