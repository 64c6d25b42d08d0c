"""A finished training run to register, and an MLflow store that is made once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.evaluation import Evaluation
from rejoinder.recipe import Recipe, override, validate
from rejoinder.registry.connection import open_client
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder
from rejoinder.training import TrainedRun


@pytest.fixture
def evaluation() -> Evaluation:
    """What was measured of a run."""
    return Evaluation("test", 10, {"test_loss": 2.5, "test_perplexity": 12.18, "test_bits_per_byte": 1.5}, [])


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a new SQLite store: making its tables takes seconds, copying them nothing."""
    home = tmp_path_factory.mktemp("store")
    tree = {"name": "x", "data": {"corpora": ["made_up"]}, "model": "gru_attention", "storage": {"uri": str(home)}}
    open_client(validate(tree | {"registry": {"tracking_uri": None}}))
    return home / "mlflow"


@pytest.fixture
def recipe(recipe: Recipe, empty_store: Path) -> Recipe:
    """The small recipe, with a store of its own."""
    home = Path(recipe.storage.uri)
    shutil.copytree(empty_store, home / "mlflow")
    return recipe


@pytest.fixture
def make_run(recipe: Recipe, make_checkpoint: Callable[..., Path]) -> Callable[[int], TrainedRun]:
    """A finished run whose weights were drawn from this seed."""

    def make(seed: int) -> TrainedRun:
        checkpoint = make_checkpoint(seed, recipe)
        return TrainedRun(f"run-{seed}", checkpoint.parent, checkpoint, {"valid_loss": 2.0}, reused=False)

    return make


@pytest.fixture
def prepared(prepared_set: Path) -> Prepared:
    """The prepared set that the runs learnt from."""
    return Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True)


@pytest.fixture
def with_words(recipe: Recipe) -> Callable[..., Recipe]:
    """The recipe with its store, and some settings changed."""
    return lambda *words: validate(override(recipe.model_dump(mode="json"), words))
