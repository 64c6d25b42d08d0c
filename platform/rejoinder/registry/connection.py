"""A recipe in, a working MLflow client out; the default store is made on first use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from rejoinder.errors import RegistryError
from rejoinder.recipe import Recipe
from rejoinder.storage import Storage, disk_errors, locked

_MLFLOW_SETTINGS = {
    # MLflow's client retries for minutes by default; a person at a prompt wants to know sooner.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def tracking_uri(recipe: Recipe) -> str:
    """`registry.tracking_uri`, or an SQLite file under storage.uri. Absolute, because workers run elsewhere."""
    return recipe.registry.tracking_uri or f"sqlite:///{Storage(recipe).mlflow / 'mlflow.db'}"


def open_client(recipe: Recipe) -> MlflowClient:
    """A client of the recipe's store, with the recipe's experiment in it.

    Raises RegistryError when the store cannot be reached.
    """
    quieten()
    uri, directory = tracking_uri(recipe), Storage(recipe).mlflow
    if recipe.registry.tracking_uri is not None:
        return _client_with_experiment(uri, recipe.registry.experiment, artifacts=None)
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    # Two processes that make the tables of a new SQLite store at the same time break each other.
    with locked(directory, "opening the model store", wait_s=60):
        return _client_with_experiment(uri, recipe.registry.experiment, directory / "artifacts")


def quieten() -> None:
    """Lets MLflow's client give up in seconds, and say nothing but warnings. Each process that makes one calls it."""
    for name, value in _MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    for name, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(name).setLevel(level)


def _client_with_experiment(uri: str, experiment: str, artifacts: Path | None) -> MlflowClient:
    with store_errors(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if client.get_experiment_by_name(experiment) is None:
            place = (artifacts / experiment).as_uri() if artifacts else None
            with suppress_existing():  # another process was faster
                client.create_experiment(experiment, artifact_location=place)
    return client


@contextmanager
def suppress_existing() -> Iterator[None]:
    """Lets pass that what is to be made is there already."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turns MLflow's errors into ours, naming the store."""
    try:
        yield
    except MlflowException as error:
        message = " ".join(str(error.message).split())
        raise RegistryError(
            f"MLflow at {uri}: {message[:300]}; is MLFLOW_TRACKING_URI right, and the server up?"
        ) from error
