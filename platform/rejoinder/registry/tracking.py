"""A training run in, one MLflow run out: opened by the driver, written by rank 0, the same one over all restarts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from rejoinder import cluster
from rejoinder.recipe import Recipe
from rejoinder.registry.connection import open_client, store_errors, tracking_uri
from rejoinder.shards import Prepared

RUN_TAG = "rejoinder.run"
_MAX_PARAM_CHARACTERS = 500  # what every MLflow store takes
log = logging.getLogger(__name__)


@dataclass
class MlflowTracker:
    """Logs metrics to one MLflow run. Only addresses travel; each process opens its own client."""

    uri: str
    run_id: str
    _client: MlflowClient | None = None

    def log(self, metrics: dict[str, float], step: int) -> None:
        """One point for each metric. A store that cannot be reached costs points, never the training."""
        try:
            if self._client is None:
                self._client = MlflowClient(tracking_uri=self.uri)
            now_ms = int(time.time() * 1000)
            points = [Metric(name, value, now_ms, step) for name, value in metrics.items()]
            self._client.log_batch(self.run_id, metrics=points)
        except Exception as error:
            log.warning("step %d was not recorded in MLflow at %s: %s", step, self.uri, error)

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "run_id": self.run_id, "_client": None}


@contextmanager
def tracked_run(recipe: Recipe, prepared: Prepared, run_name: str) -> Iterator[MlflowTracker]:
    """The MLflow run of a training run: found by its name when it was begun before, else begun now.

    It is FINISHED when the block ends well, KILLED after Ctrl-C, else FAILED. Raises RegistryError when the store
    cannot be reached.
    """
    uri = tracking_uri(recipe)
    client = open_client(recipe)
    with store_errors(uri):
        run_id = _find(client, recipe, run_name) or _begin(client, recipe, prepared, run_name)
        client.update_run(run_id, status="RUNNING")
    status = "FAILED"
    try:
        yield MlflowTracker(uri, run_id)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        try:
            client.set_terminated(run_id, status)
        except MlflowException as error:
            log.warning("the end of the run was not recorded in MLflow at %s: %s", uri, error)


def _find(client: MlflowClient, recipe: Recipe, run_name: str) -> str | None:
    experiment = client.get_experiment_by_name(recipe.registry.experiment)
    assert experiment is not None  # open_client made it
    found = client.search_runs([experiment.experiment_id], f"tags.`{RUN_TAG}` = '{run_name}'", max_results=1)
    return found[0].info.run_id if found else None


def _begin(client: MlflowClient, recipe: Recipe, prepared: Prepared, run_name: str) -> str:
    experiment = client.get_experiment_by_name(recipe.registry.experiment)
    assert experiment is not None
    run = client.create_run(experiment.experiment_id, run_name=run_name, tags={RUN_TAG: run_name})
    run_id: str = run.info.run_id
    settings = flatten(recipe.model_dump(mode="json", include={"data", "text", "model", "training", "scaling"}))
    params = [Param(name, value[:_MAX_PARAM_CHARACTERS]) for name, value in settings.items()]
    tags = {
        "rejoinder.data": prepared.manifest.fingerprint,
        **{f"version.{k}": v for k, v in cluster.versions().items()},
    }
    client.log_batch(run_id, params=params, tags=[RunTag(name, value) for name, value in tags.items()])
    client.log_text(run_id, recipe.to_yaml(), "recipe.yaml")
    client.log_text(run_id, prepared.manifest.model_dump_json(indent=1), "data_manifest.json")
    return run_id


def flatten(tree: Any, path: str = "") -> dict[str, str]:
    """{"a": {"b": [1]}} -> {"a.b.0": "1"}: settings as MLflow parameters."""
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        items = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {path: str(tree)}
    flat: dict[str, str] = {}
    for key, value in items:
        flat |= flatten(value, f"{path}.{key}" if path else key)
    return flat
