"""Stores that cannot be used: of another MLflow, away, without their driver; each is one sentence with the way out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.errors import RegistryError
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, connection


@pytest.mark.parametrize(
    "revision",
    ["0c0ffee0beef", "90e64c465722"],  # of a newer MLflow, which this one has never heard of; of an old one
)
def test_a_store_of_another_schema_version_says_what_to_do(recipe: Recipe, revision: str) -> None:
    file = Path(recipe.storage.uri) / "mlflow" / "mlflow.db"
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    says = rf"tables of another MLflow \(schema {revision}; here .*back it up and run `mlflow db upgrade"
    with pytest.raises(RegistryError, match=says):
        Registry(recipe)


def test_a_database_that_is_away_is_said_at_once(with_words: Callable[..., Recipe]) -> None:
    recipe = with_words("registry.tracking_uri=postgresql://somebody:secret@127.0.0.1:9/mlflow")
    with pytest.raises(RegistryError, match=r"postgresql://somebody:…@127.0.0.1:9/mlflow: nobody listens") as said:
        Registry(recipe)
    assert "secret" not in str(said.value)


def test_a_driver_that_is_not_installed_names_its_extra(
    with_words: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(RegistryError, match=r"needs the extra \[postgresql\]; run `pip install"):
        Registry(with_words("registry.tracking_uri=postgresql://somebody@127.0.0.1:9/mlflow"))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://a:b:c@d@host/db", "postgresql://a:…@host/db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////tmp/x:y@z/mlflow.db", "sqlite:////tmp/x:y@z/mlflow.db"),
    ],
)
def test_no_password_is_shown(uri: str, shown: str) -> None:
    assert connection.without_password(uri) == shown
