"""A recipe in, a working MLflow client out; the default store is made on first use."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
from alembic.util.exc import CommandError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from rejoinder.errors import RegistryError
from rejoinder.recipe import Recipe
from rejoinder.storage import Storage, disk_errors, locked

_MLFLOW_SETTINGS = {
    # MLflow's client retries for minutes by default; a person at a prompt wants to know sooner.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A version is code and safetensors. Whoever puts a pickle into one is not let in.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow's pages then show runs and their curves first, and not traces and judges."""
_EXTRA_OF_SCHEME = {"postgresql": "psycopg", "postgres": "psycopg"}
_PROBE_S = 3.0
_SQLITE = "sqlite:///"
_OTHER_SCHEMA = re.compile(r"out-of-date database schema \(found version (?P<found>\w+)")
_PASSWORD = re.compile(r"^(\w[\w+]*://[^:/@]*):.*@(?=[^@]*$)")


def tracking_uri(recipe: Recipe) -> str:
    """`registry.tracking_uri`, or an SQLite file under storage.uri. Absolute, because workers run elsewhere."""
    return recipe.registry.tracking_uri or f"sqlite:///{Storage(recipe).mlflow / 'mlflow.db'}"


def open_client(recipe: Recipe) -> MlflowClient:
    """A client of the recipe's store, with the recipe's experiment in it.

    Raises RegistryError when the store cannot be reached.
    """
    quieten()
    uri, experiment = tracking_uri(recipe), recipe.registry.experiment
    if not uri.startswith(_SQLITE):
        _require_database(uri)
        return _client_with_experiment(uri, experiment, artifacts=None)
    file = Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()
    artifacts = Storage(recipe).mlflow / "artifacts" if recipe.registry.tracking_uri is None else None
    with disk_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that make the tables of a new SQLite store at the same time break each other.
    with locked(file.parent if file.parent.name else file, "opening the model store", wait_s=300):
        return _client_with_experiment(uri, experiment, artifacts)


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
                client.create_experiment(experiment, artifact_location=place, tags=_KIND)
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
def suppress_missing() -> Iterator[None]:
    """Lets pass that what is asked for is not there."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turns MLflow's errors into ours, naming the store."""
    try:
        yield
    except MlflowException as error:
        message = " ".join(str(error.message).split())
        if made_by := _OTHER_SCHEMA.search(message):
            raise _other_schema(uri, made_by["found"]) from error
        raise RegistryError(
            f"MLflow at {without_password(uri)}: {message[:300]}; is MLFLOW_TRACKING_URI right, and the server up?"
        ) from error
    except CommandError as error:  # alembic, of a revision that this MLflow has never heard of
        raise _other_schema(uri, str(error).rpartition(" ")[2].strip("'")) from error
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise RegistryError(
            f"the database {without_password(uri)}: {reason[:300]}; is it up, and are user and password right?"
        ) from error


def without_password(uri: str) -> str:
    """An address as it may be shown."""
    return _PASSWORD.sub(r"\1:…@", uri)


def _other_schema(uri: str, found: str) -> RegistryError:
    shown = without_password(uri)
    return RegistryError(
        f"MLflow at {shown}: the store has the tables of another MLflow (schema {found}; here is MLflow "
        f"{mlflow.__version__}); use the MLflow that made it, or, for an older store, back it up and run "
        f"`mlflow db upgrade {shown}`"
    )


def _require_database(uri: str) -> None:
    """A database that does not answer is said now: MLflow would try again for many minutes."""
    scheme, _, rest = uri.partition("://")
    kind = scheme.partition("+")[0]
    if (package := _EXTRA_OF_SCHEME.get(kind)) is None:
        return
    if importlib.util.find_spec(package) is None:
        raise RegistryError(
            f"registry.tracking_uri = {without_password(uri)}: PostgreSQL needs the extra [postgresql]; "
            "run `pip install '.[postgresql]'` in the checkout, or give the address of an `mlflow server`"
        )
    place = urlsplit(f"//{rest}")
    if place.hostname is None:  # a socket's directory, or a service file
        return
    try:
        socket.create_connection((place.hostname, place.port or 5432), timeout=_PROBE_S).close()
    except OSError as error:
        raise RegistryError(
            f"the database {without_password(uri)}: nobody listens there ({error.strerror or error}); is it up?"
        ) from None
