"""A recipe in, a working MLflow client out; the default store is made on first use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

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
    for name, value in _MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri, directory = tracking_uri(recipe), Storage(recipe).mlflow
    with store_errors(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if uri != f"sqlite:///{directory / 'mlflow.db'}":
            if client.get_experiment_by_name(recipe.registry.experiment) is None:
                client.create_experiment(recipe.registry.experiment)
            return client
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        # Two processes that make the tables of a new SQLite store at the same time break each other.
        with locked(directory, "opening the model store", wait_s=60):
            if client.get_experiment_by_name(recipe.registry.experiment) is None:
                artifacts = directory / "artifacts" / recipe.registry.experiment
                client.create_experiment(recipe.registry.experiment, artifact_location=artifacts.as_uri())
    return client


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
