"""Wiring only: the API over a replica, as one autoscaled Ray Serve deployment."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, BackpressureConfig, RequestRouterConfig
from starlette.applications import Starlette

from rejoinder.recipe import Recipe, load_recipe
from rejoinder.registry import Registry
from serve import scaling
from serve.api import create_api
from serve.errors import RETRY_AFTER_S
from serve.following import first_number
from serve.middleware.crowd import most_at_once
from serve.service import Load, Service, start_service
from serve.waiting import Waiting
from serve.words import require_words_of_serving

NAME = "chat"
RECIPES = Path(__file__).resolve().parents[1] / "jobs" / "recipes"
HEALTH_EVERY_S = 2.0
"""How often Serve looks whether a replica lives: another is started only when it has seen that one died (Serve's own
default is 10 s). A replica that is merely slow to say so has 30 s, three times."""
LOOK_BACK_S = 5.0
"""Serve takes a replica's load five times in it; of those the newest counts."""
TELL_EVERY_S = 1.0
"""How often replicas and proxies tell Serve their load. Ray 2.60 heeds this setting, which it calls deprecated, and not
yet the variables that are to replace it (`rejoinder.cluster` sets them): a burst would wait for 10 s."""

FAR_ABOVE = 8
"""Times what a replica lets in: it refuses the rest itself, at once. Where a proxy of Ray 2.60 has found a replica
full, it hands on what waits, one request in each pause of its two tasks (by default half a second), however empty the
replica has become."""
LONGEST_PAUSE_S = 0.05
"""Should it come to that all the same."""


@serve.deployment
@serve.ingress()
class Chat:
    """The deployment. Ingress and model are one, so that a token takes one hop to the client, not two."""

    def __init__(self, recipe: Recipe) -> None:
        _log_to_stderr()
        replica_id = serve.get_replica_context().replica_id.unique_id
        self.waiting: Waiting | None = None
        if first_number(recipe, Registry(recipe)) is None:
            self.waiting = Waiting(recipe, replica_id)
        else:
            self._service = start_service(recipe, replica_id)

    @property
    def service(self) -> Service | None:
        """None as long as there is no version to answer with."""
        return self._service if self.waiting is None else self.waiting.service

    def __serve_build_asgi_app__(self) -> Starlette:
        """Called by Serve after `__init__`: FastAPI applications do not travel."""
        return create_api(self._service) if self.waiting is None else self.waiting

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve about once a second, for `serve.scaling`."""
        load = Load.of(()) if self.service is None else self.service.load()
        return {
            scaling.REQUESTS: load.num_running + load.num_waiting,
            scaling.TOKENS: load.num_running_tokens + load.num_waiting_tokens,
        }

    def check_health(self) -> None:
        """Called by Serve every few seconds; a replica whose engine is stuck is started anew."""
        if self.service is not None:
            self.service.replica.check()

    def __del__(self) -> None:
        begun: Waiting | Service | None = getattr(self, "waiting", None) or getattr(self, "_service", None)
        if begun is not None:  # not when loading failed
            begun.close()


def _log_to_stderr() -> None:
    """A line a request, and what becomes of versions, to the replica's standard error, where Ray collects it."""
    for name in ("rejoinder.requests", "rejoinder.versions"):
        log = logging.getLogger(name)
        log.setLevel(logging.INFO)
        log.propagate = False
        if not log.handlers:
            log.addHandler(logging.StreamHandler(sys.stderr))


class Arguments(BaseModel):
    """`args` of an application in a Serve config file."""

    model_config = ConfigDict(extra="forbid")

    recipe: str
    """A recipe file, or the name of one in jobs/recipes."""
    words: list[str] = []
    """What to change of it, as at the command line: `serving.max_replicas=4`."""
    edition: str = ""
    """Any word. Serve looks at nothing but this file: for a recipe, or code, that changed where it lies, change it."""


def recipe_of(arguments: Arguments) -> Recipe:
    """The recipe that they mean. Raises RecipeError."""
    require_words_of_serving(arguments.words)
    file = Path(arguments.recipe)
    return load_recipe(file if file.suffix else RECIPES / f"{file}.yaml", arguments.words)


def build(arguments: dict[str, Any]) -> serve.Application:
    """For `serve deploy` and `serve run`, as `serve.app:build`. Raises RecipeError, and ValidationError for what is no
    argument."""
    return build_application(recipe_of(Arguments.model_validate(arguments)))


def build_application(recipe: Recipe) -> serve.Application:
    """The application for `serve.run`."""
    serving = recipe.serving
    deployment = Chat.options(  # type: ignore[attr-defined]
        name=NAME,
        ray_actor_options={"num_cpus": serving.cpus_per_replica, "num_gpus": serving.gpus_per_replica},
        autoscaling_config=autoscaling(recipe),
        max_ongoing_requests=FAR_ABOVE * most_at_once(serving),
        request_router_config=RequestRouterConfig(max_backoff_s=LONGEST_PAUSE_S),
        max_queued_requests=most_at_once(serving),
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=RETRY_AFTER_S),
        # Replace before stopping, so that one replica alone can be updated without a gap.
        max_surge_percent=100,
        # Whoever stops answers to the end what it has begun; others take what is new.
        graceful_shutdown_timeout_s=serving.request_timeout_s,
        health_check_period_s=HEALTH_EVERY_S,
    )
    application: serve.Application = deployment.bind(recipe)
    return application


def autoscaling(recipe: Recipe) -> AutoscalingConfig:
    """Serve's bounds and delays around `serve.scaling`."""
    serving, text = recipe.serving, recipe.text
    longest = text.max_context_tokens + (serving.max_reply_tokens or text.max_reply_tokens)
    tokens = serving.target_tokens or math.ceil(serving.target_ongoing_requests * longest)
    policy = AutoscalingPolicy(
        policy_function="serve.scaling.ByLoad",
        policy_kwargs={"target_requests": serving.target_ongoing_requests, "target_tokens": tokens},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=serving.min_replicas,
            max_replicas=serving.max_replicas,
            initial_replicas=max(1, serving.min_replicas),  # whoever deploys sees that it answers
            target_ongoing_requests=serving.target_ongoing_requests,
            metrics_interval_s=TELL_EVERY_S,
            look_back_period_s=LOOK_BACK_S,
            upscale_delay_s=serving.upscale_delay_s,
            downscale_delay_s=serving.downscale_delay_s,
            downscale_to_zero_delay_s=serving.downscale_to_zero_delay_s,
            policy=policy,
        )
