"""Wiring only: the API over a replica, as one autoscaled Ray Serve deployment."""

from __future__ import annotations

from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig

from rejoinder.recipe import Recipe
from serve.api import create_api
from serve.replica import load_replica


def _api() -> FastAPI:
    """Built inside each replica, because FastAPI applications do not travel."""
    return create_api(lambda: serve.get_replica_context().servable_object.replica)


@serve.deployment
@serve.ingress(_api)
class Chat:
    """The deployment. Ingress and model are one, so that a token takes one hop to the client, not two."""

    def __init__(self, recipe: Recipe) -> None:
        self.replica = load_replica(recipe)

    def check_health(self) -> None:
        """Called by Serve every few seconds; a replica whose engine is stuck is started anew."""
        self.replica.check()

    def __del__(self) -> None:
        if hasattr(self, "replica"):  # not when loading failed
            self.replica.responder.engine.stop()


def build_application(recipe: Recipe) -> serve.Application:
    """The application for `serve.run`."""
    serving = recipe.serving
    in_flight = serving.num_slots + serving.max_queued_requests
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
