"""A tracking server instead of a file: the same registry over HTTP, artifacts included."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rejoinder import checkpoints
from rejoinder.evaluation import Evaluation
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, tracked_run
from rejoinder.shards import Prepared
from rejoinder.training import TrainedRun

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real `mlflow server`, stopped by its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mlflow")), "server", f"--port={port}", "--workers=1"]
    command.append(f"--backend-store-uri=sqlite:///{tmp_path / 'server.db'}")
    command.append(f"--artifacts-destination={tmp_path / 'artifacts'}")
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
            break
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline
            time.sleep(0.2)
    yield url
    process.terminate()
    process.wait(timeout=20)


def test_versions_travel_through_the_server(
    server: str, with_words: Callable[..., Recipe], prepared: Prepared, make_run: Callable[[int], TrainedRun],
    evaluation: Evaluation,
) -> None:  # fmt: skip
    recipe = with_words(f"registry.tracking_uri={server}")
    with tracked_run(recipe, prepared, "run-1") as tracker:
        tracker.log({"train_loss": 3.0}, step=1)
    registry, run = Registry(recipe), make_run(1)
    registry.register(run, tracker.run_id, evaluation)
    registry.promote(None)
    directory = registry.download(registry.find("champion"))
    assert (directory / checkpoints.WEIGHTS).read_bytes() == (run.checkpoint / checkpoints.WEIGHTS).read_bytes()
    assert registry.uri == server
