"""A finished training run to register, and an MLflow store that is made once for all tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rejoinder.evaluation import Evaluation
from rejoinder.recipe import Recipe, override, validate
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder
from rejoinder.training import TrainedRun
from tests.real import free_port


@pytest.fixture
def evaluation() -> Evaluation:
    """What was measured of a run."""
    return Evaluation("test", 10, {"test_loss": 2.5, "test_perplexity": 12.18, "test_bits_per_byte": 1.5}, [])


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


class MlflowServer:
    """A real `mlflow server` with a store of its own, that can be killed and started again at the same address."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.url, self._directory = f"http://127.0.0.1:{port}", directory
        self._command = [str(Path(sys.executable).with_name("mlflow")), "server", f"--port={port}", "--workers=1"]
        self._command.append(f"--backend-store-uri=sqlite:///{directory / 'server.db'}")
        self._command.append(f"--artifacts-destination={directory / 'artifacts'}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, cwd=self._directory, stdout=quiet, stderr=quiet, start_new_session=True,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # eight processes for judges and prompts
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                return
            except OSError:
                assert self._process.poll() is None, "the server ended"
                assert time.monotonic() < deadline
                time.sleep(0.2)

    def kill(self) -> None:
        """Ends it and its own workers at once; they are a process group."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=20)
            self._process = None


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server that has been started; a test that kills it starts it again."""
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()
